//! What the guest remembers of what was written.

use std::{
    collections::VecDeque,
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fuse_guest_protocol::verb::LogSource;
use tokio::sync::Notify;

/// Bytes of each log, at most. The oldest goes first.
pub(crate) const LIMIT: usize = 256 * 1024;

/// One log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    kept: Mutex<Kept>,
    grew: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// Bytes that were ever written.
    total: u64,
}

impl Log {
    /// Appends.
    pub(crate) fn append(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        let tail = &bytes[bytes.len().saturating_sub(LIMIT)..];
        let excess = (kept.bytes.len() + tail.len()).saturating_sub(LIMIT);
        kept.bytes.drain(..excess);
        kept.bytes.extend(tail);
        kept.total += bytes.len() as u64;
        drop(kept);
        self.grew.notify_waiters();
    }

    /// What was written since position `from`, as far as it is kept, at most `limit` bytes of it from its beginning; and
    /// the position after it.
    pub(crate) fn since(&self, from: u64, limit: usize) -> (Vec<u8>, u64) {
        let kept = self.kept();
        let oldest = kept.total - kept.bytes.len() as u64;
        let from = from.clamp(oldest, kept.total);
        let skip = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let bytes: Vec<u8> = kept.bytes.iter().skip(skip).take(limit).copied().collect();
        let next = from + bytes.len() as u64;
        (bytes, next)
    }

    /// The position of the last `bytes`.
    pub(crate) fn tail(&self, bytes: u64) -> u64 {
        self.kept().total.saturating_sub(bytes)
    }

    /// Waits until there is something after `position`.
    pub(crate) async fn grown(&self, position: u64) {
        loop {
            let grew = self.grew.notified();
            if self.kept().total > position {
                return;
            }
            grew.await;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The logs of a guest.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    startup: Log,
    workload: Log,
    agent: Log,
}

impl Logs {
    /// The log of `source`; the kernel keeps its own.
    pub(crate) fn of(&self, source: LogSource) -> Option<&Log> {
        match source {
            LogSource::Startup => Some(&self.startup),
            LogSource::Workload => Some(&self.workload),
            LogSource::Agent => Some(&self.agent),
            LogSource::Kernel => None,
        }
    }

    /// Something that the agent itself has to say: to its log, and to standard error (the console, the journal).
    pub(crate) fn say(&self, text: &str) {
        let line = format!("fused: {text}\n");
        self.agent.append(line.as_bytes());
        // There is nobody to tell that standard error is closed.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_end() {
        let log = Log::default();
        for number in 0..100_000 {
            log.append(format!("{number:07}\n").as_bytes());
        }
        let (bytes, next) = log.since(0, usize::MAX);
        assert_eq!((bytes.len(), next), (LIMIT, 800_000));
        assert!(bytes.ends_with(b"0099999\n"));
        let (tail, _) = log.since(log.tail(16), usize::MAX);
        assert_eq!(tail, b"0099998\n0099999\n");
        assert_eq!(log.since(next, 10), (Vec::new(), next));
        assert_eq!(log.since(u64::MAX, 10), (Vec::new(), next), "a position from nowhere");
    }
}
