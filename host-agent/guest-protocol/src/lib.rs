//! What a host agent and a guest agent say to each other.
//!
//! One byte stream (vsock, a virtio-serial port, TCP, TLS) carries many streams at once: each request of the host is a
//! stream of its own, with its input, its output and one answer. The host asks and the guest answers; the guest never
//! opens a stream.
//!
//! ```text
//! host ── SYNC nonce ─────────────────────────────▶ guest    forget everything before
//!      ◀──────────────────────────── SYNCED nonce ──
//!      ── OPEN 1 hello {token} ───────────────────▶
//!      ◀────────────────────── RESULT 1 ok {agent} ──
//!      ── OPEN 2 exec {argv} ─────────────────────▶
//!      ── OPEN 3 upload {path} · DATA 3 · END 3 ──▶
//!      ◀──────────────────────────── DATA 2 stdout ──
//!      ◀──────────────────────────── RESULT 3 ok {} ──
//!      ◀─────────────────── RESULT 2 ok {exit_code} ──
//! ```
//!
//! - [`frame`], [`sync`] and [`decode`] are the wire: pure functions of bytes, without I/O, clock or threads.
//! - [`window`] is the flow control: how much either side may send before the other has taken it.
//! - [`verb`] holds what can be asked, as types.
//! - `client` (feature `client`) is the host's side, over tokio.
//!
//! `docs/guest-protocol.md` describes the same for authors of other guest agents, byte by byte.
//!
//! # Limits
//! A frame carries at most [`MAX_PAYLOAD`] bytes; a connection has at most [`MAX_STREAMS`] streams; a stream has at most
//! [`WINDOW`] bytes under way in each direction. What breaks a limit ends the connection.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
pub mod decode;
mod error;
pub mod frame;
pub mod sync;
pub mod token;
pub mod verb;
pub mod window;

pub use error::{ErrorCode, GuestError, WireError};
pub use frame::{Channel, Frame, Kind};
pub use token::Token;
pub use verb::Verb;

/// The version of this protocol. A guest that speaks another says so in its answer to SYNC.
pub const VERSION: u16 = 1;
/// Payload bytes of one frame, at most.
pub const MAX_PAYLOAD: usize = 32 * 1024;
/// Bytes of the arguments of a verb, at most; they may take several OPEN frames.
pub const MAX_ARGUMENTS: usize = 1024 * 1024;
/// Bytes of a frame's header.
pub const HEADER: usize = 16;
/// Streams that are open at once on one connection, at most.
pub const MAX_STREAMS: usize = 64;
/// Bytes that may be under way on one stream in one direction: what a stream may send before the first CREDIT.
pub const WINDOW: u32 = 256 * 1024;
/// What a DATA frame costs of the window beside its payload, in bytes.
pub const FRAME_COST: u32 = 16;
/// Bytes of the message of an error, at most.
pub const MAX_MESSAGE: usize = 4096;
/// The vsock port on which the guest agent listens.
pub const VSOCK_PORT: u32 = 9550;
/// The name of the virtio-serial port that the guest agent opens.
pub const SERIAL_PORT: &str = "agent.0";
/// The TCP port on which the guest agent listens.
pub const TCP_PORT: u16 = 9550;
