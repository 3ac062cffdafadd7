//! `fuse serve`.

use std::io::{self, Write as _};
use std::sync::Arc;

use clap::Args;
use fuse_server::{LocalHost, ProviderChoice, Server, Sources, start_logging};
use serde_json::json;

use super::local::LocalVms;
use super::settings::SettingArgs;
use crate::outcome::{Outcome, Verdict};
use crate::output;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Say what the settings come to, and end: nothing is opened, nothing is served
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

impl Serve {
    pub(crate) fn run(self, json: bool) -> Outcome {
        let (settings, sources) = self.settings.resolve()?;
        if self.check_config {
            show(&sources, &settings.warnings, json)?;
            return Ok(Verdict::Fine);
        }
        start_logging(settings.log_format, &settings.log_level)
            .map_err(|problem| super::refused("the settings", problem))?;
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        super::block_on(async move {
            // Where another provider was chosen, the VMs of this machine are left to whoever has them.
            let wanted = match settings.provider {
                ProviderChoice::Auto => settings.agent_url.is_none(),
                ProviderChoice::Local => true,
                ProviderChoice::Stub | ProviderChoice::Remote => false,
            };
            let local: Option<Arc<dyn LocalHost>> = match wanted {
                true => Some(Arc::new(LocalVms::open().await)),
                false => None,
            };
            let served = fuse_server::serve(settings, local, |server| announce(server, scheme)).await;
            served.map_err(|error| super::refused("the server", error))
        })?;
        Ok(Verdict::Fine)
    }
}

/// Says what was chosen, on standard error, where the log lines go.
fn announce(server: &Server, scheme: &str) {
    for choice in server.choices() {
        tracing::info!("{choice}");
    }
    tracing::info!("listening on {scheme}://{}", server.address());
}

fn show(sources: &Sources, warnings: &[String], json: bool) -> Outcome<()> {
    let mut text = String::new();
    if json {
        let values: serde_json::Map<_, _> = sources
            .shown()
            .map(|(name, value, origin)| {
                let origin = origin.map_or_else(|| "default".to_owned(), |origin| origin.to_string());
                (name.to_owned(), json!({"value": value, "from": origin}))
            })
            .collect();
        text = output::to_json(&json!({"settings": values, "warnings": warnings}));
    } else {
        for (name, value, origin) in sources.shown() {
            let origin = origin.map_or_else(|| "default".to_owned(), |origin| origin.to_string());
            text.push_str(&format!("{name:<28} {:<40} {origin}\n", output::printable(&value)));
        }
        for warning in warnings {
            text.push_str(&format!("note: {}\n", output::printable(warning)));
        }
        text.push_str("The settings can be used.\n");
    }
    io::stdout().lock().write_all(text.as_bytes()).map_err(super::unwritten)
}
