//! The figures as text, in both forms that are understood.

use prometheus_client::{encoding::text, registry::Registry};

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The old text form, version 0.0.4.
    Plain,
    /// OpenMetrics 1.0.
    Open,
}

impl Format {
    /// What a client that sends this `Accept` header gets.
    pub(crate) fn for_accept(accept: Option<&str>) -> Self {
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            Self::Open
        } else {
            Self::Plain
        }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes all figures.
///
/// # Errors
/// When a figure cannot be written.
pub(crate) fn render(registry: &Registry, format: Format) -> Result<String, std::fmt::Error> {
    let mut open = String::with_capacity(16 * 1024);
    text::encode(&mut open, registry)?;
    Ok(match format {
        Format::Open => open,
        Format::Plain => plain(&open),
    })
}

/// OpenMetrics names a counter without `_total` in its description; the old form names what is written.
fn plain(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            if let Some((_, text)) = help.take() {
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn counters_are_described_under_the_name_that_they_have() {
        let metrics = Metrics::default();
        metrics.reconcile.cycles.inc();
        let text = render(&metrics.registry(), Format::Plain).unwrap();
        assert!(
            text.contains(
                "# TYPE orchestrator_reconcile_cycles_total counter\norchestrator_reconcile_cycles_total 1\n"
            ),
            "{text}"
        );
        assert!(text.contains("# TYPE orchestrator_build_info gauge\n"), "{text}");
        assert!(!text.contains("# EOF"));
        let open = render(&metrics.registry(), Format::Open).unwrap();
        assert!(open.contains("# TYPE orchestrator_reconcile_cycles counter\n") && open.ends_with("# EOF\n"));
    }
}
