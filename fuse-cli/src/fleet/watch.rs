//! Answers that are asked for again and again.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;

use super::format;
use crate::outcome::{Outcome, Verdict};

/// How often an answer is asked for again.
const PERIOD: Duration = Duration::from_secs(2);
/// Clears the screen and goes to its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Whether to go on.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Show the answer again whenever it changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

impl Watch {
    /// Prints what `look` finds: once, or whenever it changes.
    pub(crate) async fn show(&self, look: impl AsyncFn() -> Outcome<String>) -> Outcome {
        let clear = if self.watch && io::stdout().is_terminal() { CLEAR } else { "" };
        let mut last = None;
        loop {
            let text = look().await?;
            if last.as_ref() != Some(&text) {
                format::write(&format!("{clear}{text}"));
            }
            if !self.watch {
                return Ok(Verdict::Fine);
            }
            last = Some(text);
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                _ = tokio::signal::ctrl_c() => return Ok(Verdict::Fine),
            }
        }
    }
}
