//! Reads a log out.

use fuse_guest_protocol::{
    Channel, GuestError, MAX_PAYLOAD,
    verb::{LogSource, Logs},
};

use crate::{log::LIMIT, verbs::Context};

/// Sends the end of a log, and what is written later if that is asked for.
pub(crate) async fn run(context: Context<'_>, logs: Logs) -> Result<(), GuestError> {
    let Context { agent, output, .. } = context;
    let Some(log) = agent.logs.of(logs.source) else {
        let kernel = tokio::task::spawn_blocking(kernel).await.unwrap_or_default();
        let most = usize::try_from(logs.max_bytes).unwrap_or(usize::MAX).min(LIMIT);
        let tail = &kernel[kernel.len().saturating_sub(most)..];
        output.send(Channel::Output, tail).await?;
        output.end(Channel::Output).await;
        return Ok(());
    };
    debug_assert_ne!(logs.source, LogSource::Kernel);
    let mut position = log.tail(logs.max_bytes.min(LIMIT as u64));
    loop {
        let (bytes, next) = log.since(position, MAX_PAYLOAD);
        position = next;
        if !bytes.is_empty() {
            output.send(Channel::Output, &bytes).await?;
        } else if logs.follow {
            log.grown(position).await;
        } else {
            output.end(Channel::Output).await;
            return Ok(());
        }
    }
}

/// The kernel's messages, as `/dev/kmsg` has them: one record at a read, until it would wait.
fn kernel() -> Vec<u8> {
    use rustix::fs::{Mode, OFlags};
    let Ok(file) =
        rustix::fs::open("/dev/kmsg", OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
    else {
        return Vec::new();
    };
    let mut text = Vec::new();
    let mut record = vec![0; 8192];
    loop {
        match rustix::io::read(&file, &mut record) {
            Ok(0) => return text,
            Ok(count) => text.extend_from_slice(&record[..count]),
            // Older records were overwritten meanwhile; the next read goes on with what is there.
            Err(rustix::io::Errno::PIPE) => {}
            Err(_) => return text,
        }
        if text.len() > 4 * LIMIT {
            text.drain(..2 * LIMIT);
        }
    }
}
