//! The log: reading it, or having it told.

use alloc::boxed::Box;
use core::ffi::{c_char, c_void};

use fuse_edge::log::{LOG_TEXT_BYTES, LogRecord, LogSource};

use super::{fuse_module_id_t, fuse_runtime_t};
use crate::crossing::{Crossing, Out, Place};
use crate::finalizer::{Lent, fuse_finalizer_t};
use crate::handle::{Refusal, call};
use crate::status::*;
use crate::text::inline;

/// A record for developers.
pub const FUSE_LOG_LEVEL_DEBUG: i32 = 0;
/// A record for operators.
pub const FUSE_LOG_LEVEL_INFO: i32 = 1;
/// Something failed. Security records are always of this level.
pub const FUSE_LOG_LEVEL_FATAL: i32 = 2;

/// Written by a module.
pub const FUSE_LOG_SOURCE_MODULE: i32 = 0;
/// Written by the runtime, about a violation, trap, quota or refused load. Modules can neither forge nor flush these.
pub const FUSE_LOG_SOURCE_SECURITY: i32 = 1;

/// Bytes of the text of a record in a struct: at most 127, and a zero.
pub const FUSE_LOG_TEXT_CAPACITY: usize = 128;

const _: () = assert!(FUSE_LOG_TEXT_CAPACITY == LOG_TEXT_BYTES + 1);

/// One record of the log.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_log_record_t {
    /// sizeof(fuse_log_record_t).
    pub struct_size: u32,
    /// FUSE_LOG_LEVEL_.
    pub level: i32,
    /// Position in the whole log: from 0, one more with each record of either source.
    pub sequence: u64,
    /// When, in microseconds of the platform's clock.
    pub timestamp_us: u64,
    /// The module that wrote it, or that it is about; 0 for a refused load.
    pub module: fuse_module_id_t,
    /// FUSE_LOG_SOURCE_.
    pub source: i32,
    /// Length of the text, in bytes.
    pub text_length: u32,
    /// What it says: printable UTF-8 with a zero at its end.
    pub text: [c_char; FUSE_LOG_TEXT_CAPACITY],
}

// SAFETY: numbers only.
unsafe impl Crossing for fuse_log_record_t {
    const FIRST_SIZE: usize = 40 + FUSE_LOG_TEXT_CAPACITY;
    const NAME: &'static str = "fuse_log_record_t";
}

fn record(from: &LogRecord) -> fuse_log_record_t {
    let text = from.text.as_str();
    fuse_log_record_t {
        struct_size: size_of::<fuse_log_record_t>() as u32,
        level: from.level as i32,
        sequence: from.sequence,
        timestamp_us: from.timestamp_us,
        module: from.module.map_or(0, |id| id.to_u64()),
        source: match from.source {
            LogSource::Module => FUSE_LOG_SOURCE_MODULE,
            LogSource::Security => FUSE_LOG_SOURCE_SECURITY,
        },
        text_length: text.len() as u32,
        text: inline(text),
    }
}

/// Reads the oldest kept record whose number is at least `*sequence`, and sets `*sequence` to one past its number: the
/// log is read by calling this, first with 0, until it returns FUSE_END. A gap in the numbers is what was overwritten in
/// between. `out`: set its struct_size first.
///
/// FUSE_END when there is none; nothing is written then.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_log_next(
    runtime: *mut fuse_runtime_t,
    sequence: *mut u64,
    out: *mut fuse_log_record_t,
) -> fuse_status_t {
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe {
        call(runtime, |inner| {
            let rt = inner.rt()?;
            if sequence.is_null() {
                return Err(Refusal::Null { what: "sequence" }.into());
            }
            let out = Out::new(out)?;
            let Some(found) = rt.log().read_from(sequence.read_unaligned()).next() else {
                return Ok(FUSE_END);
            };
            out.fill(&record(found));
            sequence.write_unaligned(found.sequence + 1);
            Ok(FUSE_OK)
        })
    }
}

/// Figures of the log: the number that the next record will get, and how many records of modules and how many security
/// records were overwritten. Each pointer may be NULL.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_log_counts(
    runtime: *mut fuse_runtime_t,
    out_next_sequence: *mut u64,
    out_lost: *mut u64,
    out_lost_security: *mut u64,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let log = inner.rt()?.log();
            Place::optional(out_next_sequence).put(log.next_sequence());
            Place::optional(out_lost).put(log.lost());
            Place::optional(out_lost_security).put(log.lost_security());
            Ok(FUSE_OK)
        })
    }
}

/// Gets each record of the log as it is written, on the thread that steps or loads, inside that call. It must not call
/// its runtime, except to post events; `record` lives until it returns; it must not unwind.
pub type fuse_log_sink_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, record: *const fuse_log_record_t)>;

/// Sets the log's sink. The records are kept in the log all the same. `sink` NULL: there is none. `finalizer` (may be
/// NULL) is called with `user` once, when the sink is replaced, the runtime is closed, or this call fails.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_set_log_sink(
    runtime: *mut fuse_runtime_t,
    sink: fuse_log_sink_fn,
    user: *mut c_void,
    finalizer: fuse_finalizer_t,
) -> fuse_status_t {
    let lent = Lent::new(user, finalizer);
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let rt = inner.rt()?;
            let Some(sink) = sink else {
                rt.set_log_sink(None);
                return Ok(FUSE_OK);
            };
            rt.set_log_sink(Some(Box::new(move |written: &LogRecord| {
                let record = record(written);
                // SAFETY: the host's function, with its pointer; the record is there until it returns.
                sink(lent.user(), &raw const record);
            })));
            Ok(FUSE_OK)
        })
    }
}
