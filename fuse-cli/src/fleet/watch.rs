//! Answers that are asked for again and again.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;

use super::{format, interrupt::Interrupt};
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
        let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
        if !self.watch {
            format::write(&look().await?);
            return Ok(Verdict::Fine);
        }
        let (mut interrupt, mut last) = (Interrupt::listen(), None);
        loop {
            let text = tokio::select! {
                text = look() => text?,
                () = interrupt.wait() => return Ok(Verdict::Fine),
            };
            if last.as_ref() != Some(&text) {
                format::write(&format!("{clear}{text}"));
            }
            last = Some(text);
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = interrupt.wait() => return Ok(Verdict::Fine),
            }
        }
    }
}
