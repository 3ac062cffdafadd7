//! `fuse doctor`.

use std::io::{self, Write as _};

use clap::Args;
use serde_json::json;

use super::settings::SettingArgs;
use crate::outcome::{Outcome, Verdict};
use crate::output;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    settings: SettingArgs,
}

impl Doctor {
    pub(crate) fn run(self, json: bool) -> Outcome {
        let (settings, _) = self.settings.resolve()?;
        let found = super::block_on(async move { Ok(fuse_server::doctor(&settings, None).await) })?;
        let mut text = String::new();
        if json {
            let findings: Vec<_> = found
                .findings
                .iter()
                .map(|finding| {
                    let verdict = finding.verdict.to_string();
                    json!({"about": finding.about, "verdict": verdict, "seen": finding.seen, "advice": finding.advice})
                })
                .collect();
            text = output::to_json(&json!({"findings": findings}));
        } else {
            for finding in &found.findings {
                let seen = output::printable(&finding.seen);
                text.push_str(&format!("{:<5} {}: {seen}\n", finding.verdict.to_string(), finding.about));
                if !finding.advice.is_empty() {
                    text.push_str(&format!("      {}\n", output::printable(&finding.advice)));
                }
            }
        }
        io::stdout().lock().write_all(text.as_bytes()).map_err(super::unwritten)?;
        Ok(if found.verdict() == fuse_server::Verdict::Bad { Verdict::Problems } else { Verdict::Fine })
    }
}
