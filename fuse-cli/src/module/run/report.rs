//! What modules did in a run, as a table and for programs.

use std::cell::RefCell;

use fuse_edge::ModuleInfo;
use fuse_edge::stats::Histogram;
use serde::Serialize;

use super::sink::Taken;
use crate::outcome::{Failure, Outcome};
use crate::output::{Page, Report, Table, bytes, counted, grouped, nanos};

/// Durations of one kind, in nanoseconds. Quantiles are upper bounds, right to a factor of two.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Times {
    count: u64,
    p50: u64,
    p99: u64,
    max: u64,
    mean: u64,
}

impl From<&Histogram> for Times {
    fn from(h: &Histogram) -> Self {
        let (p50, p99) = (h.quantile_ns(500), h.quantile_ns(990));
        Self { count: h.count(), p50, p99, max: h.max_ns(), mean: h.mean_ns() }
    }
}

/// Instructions, where they are counted.
#[derive(Clone, Copy, Debug, Serialize)]
struct Fuel {
    peak: u64,
    total: u64,
}

/// One module at the end of a run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ModuleReport {
    name: String,
    state: &'static str,
    /// How it failed, if it did.
    failure: Option<String>,
    steps: u64,
    traps: u64,
    violations: u64,
    quota_hits: u64,
    step_time_ns: Times,
    event_latency_ns: Times,
    fuel: Option<Fuel>,
    memory_peak_bytes: u64,
}

impl ModuleReport {
    pub(super) fn of(info: &ModuleInfo<'_>, counts_fuel: bool) -> Self {
        let stats = info.stats;
        Self {
            name: info.name.into(),
            state: info.state.name(),
            failure: info.failure.map(|f| f.to_string()),
            steps: stats.steps,
            traps: stats.traps,
            violations: stats.violations,
            quota_hits: stats.quota_hits,
            step_time_ns: (&stats.step_time).into(),
            event_latency_ns: (&stats.event_latency).into(),
            fuel: counts_fuel.then_some(Fuel { peak: stats.fuel_peak, total: stats.fuel_total }),
            memory_peak_bytes: stats.memory_peak_bytes,
        }
    }
}

/// One log entry.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LogEntry {
    pub(super) sequence: u64,
    /// Since the start of the run.
    pub(super) time_us: u64,
    pub(super) module: Option<String>,
    pub(super) level: &'static str,
    pub(super) source: &'static str,
    pub(super) text: String,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    /// After `--duration`.
    Duration,
    /// After the last frame.
    Frames,
    /// By Ctrl-C or SIGTERM.
    Interrupted,
    /// No module runs any more.
    NoModuleRuns,
}

/// The whole run.
#[derive(Debug, Serialize)]
pub(super) struct RunReport {
    pub(super) config: String,
    pub(super) application: String,
    pub(super) ended: Ended,
    pub(super) elapsed_us: u64,
    pub(super) ticks: u64,
    pub(super) frames_shown: u64,
    pub(super) events_posted: u64,
    /// The file that temperatures came from.
    pub(super) temperature_source: Option<String>,
    pub(super) modules: Vec<ModuleReport>,
    pub(super) sinks: Vec<Taken>,
    /// With `--json` only; people have seen them.
    pub(super) log: Vec<LogEntry>,
    /// Entries that were overwritten before they could be shown.
    pub(super) log_lost: u64,
    #[serde(skip)]
    pub(super) sink_failure: RefCell<Option<Failure>>,
}

impl RunReport {
    /// Whether a module ended in failure.
    pub(super) fn has_failures(&self) -> bool {
        self.modules.iter().any(|m| m.failure.is_some())
    }

    /// The error of a sink that could not write, once.
    pub(super) fn sink_failure(&self) -> Outcome<()> {
        self.sink_failure.take().map_or(Ok(()), Err)
    }
}

impl Report for RunReport {
    fn text(&self) -> String {
        let mut page = Page::new();
        let why = match self.ended {
            Ended::Duration => "its time was over",
            Ended::Frames => "every frame was shown",
            Ended::Interrupted => "interrupted",
            Ended::NoModuleRuns => "no module runs any more",
        };
        page.heading(&format!(
            "ended after {:.3} s ({why}): {}, {}, {} posted by the host",
            self.elapsed_us as f64 / 1e6,
            counted(self.ticks, "tick"),
            counted(self.frames_shown, "frame"),
            counted(self.events_posted, "event")
        ));
        page.table("Modules", &self.modules_table());
        for module in &self.modules {
            if let Some(failure) = &module.failure {
                page.line(&format!("  {}: {failure}", module.name));
            }
        }
        let mut sinks = Table::new(&["HOST GROUP", "CALLS>", "BYTES>", "KEPT IN"]);
        for sink in &self.sinks {
            let folder = sink.folder.clone().unwrap_or_else(|| "nowhere (--sink GROUP=DIR keeps it)".into());
            sinks.row([sink.group.clone(), grouped(sink.calls), grouped(sink.bytes), folder]);
        }
        page.table("Given to host groups", &sinks);
        if self.log_lost > 0 {
            page.line(&format!(
                "{} log entries were overwritten before they could be shown",
                grouped(self.log_lost)
            ));
        }
        // The log stands above; the table shall not stick to it.
        format!("\n{}", page.into_text())
    }
}

impl RunReport {
    fn modules_table(&self) -> Table {
        let fuel = self.modules.iter().any(|m| m.fuel.is_some());
        let mut columns = vec!["MODULE", "STATE", "STEPS>", "TRAPS>", "VIOLATIONS>", "QUOTA HITS>"];
        columns.extend(["P50>", "P99>", "MAX>", "MEMORY>"]);
        columns.extend(fuel.then_some("PEAK FUEL>"));
        let mut table = Table::new(&columns);
        for m in &self.modules {
            let time = |ns| if m.step_time_ns.count == 0 { "-".into() } else { nanos(ns) };
            let counts = [m.steps, m.traps, m.violations, m.quota_hits].map(grouped);
            let times = [time(m.step_time_ns.p50), time(m.step_time_ns.p99), time(m.step_time_ns.max)];
            let mut row = vec![m.name.clone(), m.state.into()];
            row.extend(counts.into_iter().chain(times).chain([bytes(m.memory_peak_bytes)]));
            row.extend(m.fuel.map(|f| grouped(f.peak)));
            table.row(row);
        }
        table
    }
}
