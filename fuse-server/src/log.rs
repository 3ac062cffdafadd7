//! Log lines, for people or for programs.

use std::io;

use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

use crate::settings::{LogFormat, SettingsError};

/// Writes log lines to standard error from now on. The second call in a process changes nothing.
///
/// # Errors
/// [`SettingsError`] when `level` is not a filter.
pub fn start_logging(format: LogFormat, level: &str) -> Result<(), SettingsError> {
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|error| SettingsError(vec![format!("log-level: {level:?} is not a filter: {error}")]))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_span_events(FmtSpan::NONE);
    let started = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
    };
    // Somebody else's log lines are as good.
    drop(started);
    Ok(())
}
