//! The log: two rings of fixed capacity, one for modules and one for the runtime's own security entries,
//! so that a module that logs a lot can neither forge nor flush what the runtime says about it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::fmt::{self, Write};

use crate::module::ModuleId;

/// Longest text of a record, in bytes.
pub const LOG_TEXT_BYTES: usize = 127;

/// How grave a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    /// For developers.
    Debug = 0,
    /// For operators.
    Info = 1,
    /// Something failed.
    Fatal = 2,
}

impl LogLevel {
    /// The level that a module's number means: anything but 0 and 1 is fatal.
    #[must_use]
    pub const fn from_raw(raw: i32) -> Self {
        match raw {
            0 => Self::Debug,
            1 => Self::Info,
            _ => Self::Fatal,
        }
    }

    /// The name, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Fatal => "fatal",
        }
    }
}

/// Who wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// A module, with `module_log_event`. [`LogRecord::module`] says which.
    Module,
    /// The runtime, about a violation, trap, quota or refused load.
    Security,
}

/// Printable text of at most [`LOG_TEXT_BYTES`] bytes. What does not fit is cut at a character.
#[derive(Clone, Copy)]
pub struct LogText {
    len: u8,
    bytes: [u8; LOG_TEXT_BYTES],
}

impl LogText {
    pub(crate) const fn new() -> Self {
        Self { len: 0, bytes: [0; LOG_TEXT_BYTES] }
    }

    /// Text of a module: control bytes and what is not UTF-8 become `\n`, `\t`, `\r`, `\\` or `\xNN`.
    pub(crate) fn escaped(raw: &[u8]) -> Self {
        let mut text = Self::new();
        // More than this many bytes cannot fit whatever they are.
        let raw = &raw[..raw.len().min(LOG_TEXT_BYTES)];
        for chunk in raw.utf8_chunks() {
            for c in chunk.valid().chars() {
                let written = match c {
                    '\n' => text.push("\\n"),
                    '\r' => text.push("\\r"),
                    '\t' => text.push("\\t"),
                    '\\' => text.push("\\\\"),
                    c if c.is_control() => text.push_hex(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    c => text.push(c.encode_utf8(&mut [0; 4])),
                };
                if !written {
                    return text;
                }
            }
            // A character cut by the length limit above is dropped, not shown as broken.
            let cut = chunk.invalid().len() < 4
                && core::ptr::eq(raw.as_ptr_range().end, chunk.invalid().as_ptr_range().end)
                && raw.len() == LOG_TEXT_BYTES;
            if !cut && !text.push_hex(chunk.invalid()) {
                return text;
            }
        }
        text
    }

    fn push(&mut self, s: &str) -> bool {
        let start = usize::from(self.len);
        let Some(room) = self.bytes.get_mut(start..start + s.len()) else { return false };
        room.copy_from_slice(s.as_bytes());
        self.len += s.len() as u8; // at most 127 in all
        true
    }

    fn push_hex(&mut self, bytes: &[u8]) -> bool {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        bytes.iter().all(|b| {
            let escape = [b'\\', b'x', DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]];
            core::str::from_utf8(&escape).is_ok_and(|s| self.push(s))
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Write for LogText {
    /// Takes what fits, up to a character, and is never an error: a message is cut, not lost.
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = LOG_TEXT_BYTES - usize::from(self.len);
        let end = s.floor_char_boundary(room);
        self.push(&s[..end]);
        Ok(())
    }
}

impl fmt::Debug for LogText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// One entry of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord {
    /// Position in the whole log; starts at 0, grows by one with each record of either source.
    pub sequence: u64,
    /// When, in microseconds of the platform's clock.
    pub timestamp_us: u64,
    /// The module that wrote it, or that it is about; none for a refused load.
    pub module: Option<ModuleId>,
    /// How grave it is. Security records are always fatal.
    pub level: LogLevel,
    /// Who wrote it.
    pub source: LogSource,
    /// What it says.
    pub text: LogText,
}

/// Called with each record as it is written, on the thread that steps.
pub type LogSink = Box<dyn FnMut(&LogRecord) + Send>;

struct Ring {
    records: VecDeque<LogRecord>,
    capacity: usize,
    lost: u64,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self { records: VecDeque::with_capacity(capacity), capacity, lost: 0 }
    }

    fn push(&mut self, record: LogRecord) {
        if self.records.len() == self.capacity {
            self.records.pop_front();
            self.lost += 1;
        }
        self.records.push_back(record);
    }

    fn from(&self, sequence: u64) -> impl Iterator<Item = &LogRecord> {
        let start = self.records.partition_point(|r| r.sequence < sequence);
        self.records.range(start..)
    }
}

/// The log of one runtime. It keeps the newest records of each source and counts those it had to drop.
pub struct Log {
    modules: Ring,
    security: Ring,
    next: u64,
    sink: Option<LogSink>,
}

/// How many bytes of `log_pool_bytes` one record takes.
pub const LOG_RECORD_BYTES: usize = size_of::<LogRecord>();

/// Fewest records that each ring holds, whatever `log_pool_bytes` says.
pub const LOG_RECORDS_MIN: usize = 16;

impl Log {
    /// A log in `pool_bytes` bytes: three quarters for modules, one quarter for security entries, never less
    /// than [`LOG_RECORDS_MIN`] records each.
    pub(crate) fn new(pool_bytes: usize) -> Self {
        let (modules, security) = Self::records(pool_bytes);
        Self { modules: Ring::new(modules), security: Ring::new(security), next: 0, sink: None }
    }

    /// How many records of modules and of security a pool holds.
    fn records(pool_bytes: usize) -> (usize, usize) {
        let records = pool_bytes / LOG_RECORD_BYTES;
        let security = (records / 4).max(LOG_RECORDS_MIN);
        (records.saturating_sub(security).max(LOG_RECORDS_MIN), security)
    }

    /// How many bytes a log in such a pool takes.
    pub(crate) fn bytes(pool_bytes: usize) -> u64 {
        let (modules, security) = Self::records(pool_bytes);
        ((modules + security) * LOG_RECORD_BYTES) as u64
    }

    pub(crate) fn set_sink(&mut self, sink: Option<LogSink>) {
        self.sink = sink;
    }

    pub(crate) fn write(
        &mut self,
        timestamp_us: u64,
        module: Option<ModuleId>,
        level: LogLevel,
        source: LogSource,
        text: LogText,
    ) {
        let record = LogRecord { sequence: self.next, timestamp_us, module, level, source, text };
        self.next += 1;
        if let Some(sink) = &mut self.sink {
            sink(&record);
        }
        match source {
            LogSource::Module => self.modules.push(record),
            LogSource::Security => self.security.push(record),
        }
    }

    /// The kept records whose sequence number is at least `sequence`, oldest first. Draining is to ask again
    /// from one past the last number seen; a gap in the numbers is what was overwritten in between.
    pub fn read_from(&self, sequence: u64) -> impl Iterator<Item = &LogRecord> {
        let mut modules = self.modules.from(sequence).peekable();
        let mut security = self.security.from(sequence).peekable();
        core::iter::from_fn(move || match (modules.peek(), security.peek()) {
            (Some(m), Some(s)) if m.sequence < s.sequence => modules.next(),
            (_, Some(_)) => security.next(),
            (_, None) => modules.next(),
        })
    }

    /// The sequence number that the next record will get.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.next
    }

    /// How many records of modules were overwritten.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.modules.lost
    }

    /// How many security records were overwritten.
    #[must_use]
    pub const fn lost_security(&self) -> u64 {
        self.security.lost
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("next", &self.next).field("lost", &self.lost()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn log_with(records: usize) -> Log {
        Log::new(records * LOG_RECORD_BYTES)
    }

    fn say(log: &mut Log, source: LogSource, text: &str) {
        log.write(0, None, LogLevel::Info, source, LogText::escaped(text.as_bytes()));
    }

    #[test]
    fn overwrites_the_oldest_and_counts_what_was_lost() {
        let mut log = log_with(0);
        for i in 0..20 {
            say(&mut log, LogSource::Module, &alloc::format!("{i}"));
        }
        let kept: Vec<u64> = log.read_from(0).map(|r| r.sequence).collect();
        assert_eq!(kept, (4..20).collect::<Vec<_>>());
        assert_eq!((log.lost(), log.lost_security()), (4, 0));
        assert_eq!(log.read_from(18).count(), 2);
    }

    #[test]
    fn modules_cannot_flush_security_records() {
        let mut log = log_with(0);
        say(&mut log, LogSource::Security, "module failed");
        for _ in 0..1000 {
            say(&mut log, LogSource::Module, "noise");
        }
        let first = log.read_from(0).next().unwrap();
        assert_eq!((first.source, first.sequence), (LogSource::Security, 0));
    }

    #[test]
    fn both_rings_read_as_one_in_order() {
        let mut log = log_with(64);
        for i in 0..10 {
            say(&mut log, if i % 3 == 0 { LogSource::Security } else { LogSource::Module }, "x");
        }
        let order: Vec<u64> = log.read_from(3).map(|r| r.sequence).collect();
        assert_eq!(order, (3..10).collect::<Vec<_>>());
    }

    #[test]
    fn text_is_escaped_and_cut() {
        assert_eq!(LogText::escaped(b"a\nb\x1b[0m\\\xff").as_str(), "a\\nb\\x1b[0m\\\\\\xff");
        assert_eq!(LogText::escaped(&[b'x'; 500]).as_str().len(), 127);
        // 126 bytes and a two-byte character: the character does not fit and is left out whole.
        let text = [&[b'x'; 126], "é".as_bytes()].concat();
        assert_eq!(LogText::escaped(&text).as_str().len(), 126);
        let escapes = LogText::escaped(&[1; 127]);
        assert_eq!(escapes.as_str().len(), 124, "31 whole escapes of 4 bytes");
    }

    #[test]
    fn formatted_text_is_cut_at_a_character() {
        let mut text = LogText::new();
        write!(text, "{}é", "x".repeat(126)).unwrap();
        assert_eq!(text.as_str().len(), 126);
    }
}
