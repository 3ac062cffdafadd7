//! What is shown while an application runs: log entries as they come, and a progress bar on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::LogEntry;
use crate::output::printable;

/// Most log entries that are kept for `--json`.
const ENTRIES_MAX: usize = 100_000;

/// The screen, or the list of entries for programs.
pub(super) struct Progress {
    bar: ProgressBar,
    json: bool,
    pub(super) entries: Vec<LogEntry>,
    /// Entries that were not kept.
    pub(super) dropped: u64,
}

impl Progress {
    /// A progress of `total`, if the run has an end; on a terminal only.
    pub(super) fn new(total: Option<Duration>, json: bool) -> Self {
        let bar = if json || !io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let length = total.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
            ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr())
        };
        let template =
            if total.is_some() { "[{bar:30}] {percent:>3} % {msg}" } else { "{spinner} {elapsed} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, json, entries: Vec::new(), dropped: 0 }
    }

    /// How far the run is.
    pub(super) fn show(&self, elapsed: Duration, message: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            self.bar.set_message(message());
        }
    }

    /// A log entry: printed for people, kept for programs.
    pub(super) fn log(&mut self, entry: LogEntry) {
        if !self.json {
            let seconds = entry.time_us as f64 / 1e6;
            let module = entry.module.as_deref().unwrap_or("-");
            let mark = if entry.source == "security" { "SECURITY " } else { "" };
            let line = format!("{seconds:10.6}  {:5}  {module}  {mark}{}", entry.level, entry.text);
            self.bar.suspend(|| {
                // Nothing is left to tell anybody when standard output is closed.
                let _ = writeln!(io::stdout(), "{}", printable(&line));
            });
        } else if self.entries.len() < ENTRIES_MAX {
            self.entries.push(entry);
        } else {
            self.dropped += 1;
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
