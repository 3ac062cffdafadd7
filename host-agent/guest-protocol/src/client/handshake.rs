//! How a connection begins.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::ClientError;
use crate::{
    VERSION,
    decode::HostDecoder,
    sync::{Nonce, PADDING, Sync},
};

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A connection of its own, which ends with the stream: vsock, TCP, TLS.
    Socket,
    /// A port that outlives its connections, as virtio-serial: half of a frame of an earlier host may be under way.
    Serial,
}

/// Sends SYNC, and drops what comes until the guest's answer to it.
pub(super) async fn agree<R, W>(
    read: &mut R,
    write: &mut W,
    transport: Transport,
) -> Result<HostDecoder, ClientError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut nonce: Nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| ClientError::Io(std::io::Error::other(error.to_string())))?;
    let mut hello = match transport {
        Transport::Socket => Vec::new(),
        Transport::Serial => vec![0; PADDING],
    };
    hello.extend_from_slice(&Sync { version: VERSION, nonce }.encode());

    let mut decoder = HostDecoder::new(nonce);
    let mut sent = 0;
    let mut buffer = [0; 4096];
    // A guest that is itself about to send must not wait for us while we wait for it, so both go on at once.
    loop {
        tokio::select! {
            written = write.write(&hello[sent..]), if sent < hello.len() => match written.map_err(ClientError::Io)? {
                0 => return Err(ClientError::Io(std::io::ErrorKind::WriteZero.into())),
                count => {
                    sent += count;
                    write.flush().await.map_err(ClientError::Io)?;
                }
            },
            count = read.read(&mut buffer) => {
                let count = count.map_err(ClientError::Io)?;
                if count == 0 {
                    return Err(ClientError::Io(std::io::ErrorKind::UnexpectedEof.into()));
                }
                decoder.feed(&buffer[..count]);
                if decoder.synced()? {
                    return Ok(decoder);
                }
            }
        }
    }
}

/// Asks Firecracker for a connection to `port` of the guest, on the Unix socket of its vsock device. Afterwards `socket`
/// is the connection.
///
/// # Errors
/// The guest does not listen (yet), or the socket failed.
pub async fn connect_vsock<S>(socket: &mut S, port: u32) -> Result<(), ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.write_all(format!("CONNECT {port}\n").as_bytes()).await.map_err(ClientError::Io)?;
    socket.flush().await.map_err(ClientError::Io)?;
    // Byte by byte, since what follows the line belongs to the connection.
    let mut line = Vec::with_capacity(16);
    while line.last() != Some(&b'\n') {
        match socket.read_u8().await {
            Ok(byte) if line.len() < 64 => line.push(byte),
            Ok(_) => return Err(refused(port, "the answer is no line")),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(refused(port, "nothing listens there"));
            }
            Err(error) => return Err(ClientError::Io(error)),
        }
    }
    if line.starts_with(b"OK ") { Ok(()) } else { Err(refused(port, &String::from_utf8_lossy(&line))) }
}

fn refused(port: u32, why: &str) -> ClientError {
    let text = format!("vsock port {port} of the guest: {}", why.trim_end());
    ClientError::Io(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, text))
}
