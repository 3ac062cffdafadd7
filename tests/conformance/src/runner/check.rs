//! Looking at the runtime.

use fuse_edge::ModuleStats;
use fuse_edge::log::{LogRecord, LogSource};
use serde_json::Value;

use super::{Check, LogEntry, Runner};

impl Runner<'_> {
    pub(super) fn check(&mut self, check: &Check) -> Result<(), String> {
        self.check_modules(check)?;
        if let Some(expected) = &check.log {
            self.check_log(expected)?;
        }
        let log = self.rt.log();
        equal("lost", check.lost, log.lost())?;
        equal("lost_security", check.lost_security, log.lost_security())?;
        equal("loaded", check.loaded, self.rt.modules().count())?;
        if let Some(expected) = check.next_deadline_us {
            let deadline = self.rt.next_deadline_us();
            if deadline != expected {
                return Err(format!("next_deadline_us is {deadline:?}"));
            }
        }
        for (function, expected) in &check.calls {
            let seen = self.host.calls.take(function);
            let same =
                seen.len() == expected.len() && seen.iter().zip(expected).all(|(a, b)| same_values(a, b));
            if !same {
                return Err(format!("`{function}` was called {} times: {seen:?}", seen.len()));
            }
        }
        for (handle, name) in &check.named {
            let found = self.rt.find(name).map_err(|e| e.to_string())?;
            if found != self.id(handle)? {
                return Err(format!("`{name}` names `{}`", self.handle(found)));
            }
        }
        Ok(())
    }

    fn check_modules(&self, check: &Check) -> Result<(), String> {
        let info = |handle: &str| self.rt.module(self.id(handle)?).map_err(|e| format!("`{handle}`: {e}"));
        for (handle, expected) in &check.states {
            let state = info(handle)?.state;
            if state.name() != expected {
                return Err(format!("`{handle}` is {state}"));
            }
        }
        for (handle, expected) in &check.latch {
            let latch = info(handle)?.latch.bits();
            if latch != *expected {
                return Err(format!("the latch of `{handle}` is {latch}"));
            }
        }
        for (handle, expected) in &check.failure {
            let failure = info(handle)?.failure.map(|f| f.to_string());
            let fits = match (expected, &failure) {
                (None, None) => true,
                (Some(parts), Some(text)) => parts.0.iter().all(|part| text.contains(part.as_str())),
                _ => false,
            };
            if !fits {
                return Err(format!("the failure of `{handle}` is {failure:?}"));
            }
        }
        for (handle, expected) in &check.stats {
            let stats = info(handle)?.stats;
            for (name, bound) in expected {
                let value = stat(stats, name).ok_or_else(|| format!("unknown statistic `{name}`"))?;
                if !bound.admits(value) {
                    return Err(format!("`{name}` of `{handle}` is {value}"));
                }
            }
        }
        Ok(())
    }

    fn check_log(&mut self, expected: &[LogEntry]) -> Result<(), String> {
        let records: Vec<LogRecord> = self.rt.log().read_from(self.log_read).copied().collect();
        self.log_read = self.rt.log().next_sequence();
        let shown = || {
            let lines = records.iter().map(|r| {
                let module = r.module.map_or_else(|| "-".into(), |id| self.handle(id));
                format!(
                    "\n      {} {module} {} {:?} {}",
                    r.sequence,
                    r.level.name(),
                    r.source,
                    r.text.as_str()
                )
            });
            lines.collect::<String>()
        };
        if records.len() != expected.len() {
            return Err(format!(
                "the log has {} new records, not {}:{}",
                records.len(),
                expected.len(),
                shown()
            ));
        }
        if let Some(pair) = records.windows(2).find(|pair| pair[0].sequence >= pair[1].sequence) {
            return Err(format!("sequence numbers do not grow: {pair:?}"));
        }
        for (record, entry) in records.iter().zip(expected) {
            if !self.fits(record, entry) {
                return Err(format!("record {} does not fit {entry:?}:{}", record.sequence, shown()));
            }
        }
        Ok(())
    }

    fn fits(&self, record: &LogRecord, entry: &LogEntry) -> bool {
        let source = match record.source {
            LogSource::Module => "module",
            LogSource::Security => "security",
        };
        let text = record.text.as_str();
        record.module.map(|id| self.handle(id)) == entry.module
            && record.level.name() == entry.level
            && source == entry.source
            && entry.at_us.is_none_or(|at| at == record.timestamp_us)
            && entry.text.as_ref().is_none_or(|t| t == text)
            && entry.contains.as_ref().is_none_or(|parts| parts.0.iter().all(|p| text.contains(p.as_str())))
    }
}

fn equal<T: PartialEq + std::fmt::Display>(what: &str, expected: Option<T>, found: T) -> Result<(), String> {
    match expected {
        Some(expected) if expected != found => Err(format!("{what} is {found}, not {expected}")),
        _ => Ok(()),
    }
}

fn stat(stats: &ModuleStats, name: &str) -> Option<u64> {
    Some(match name {
        "steps" => stats.steps,
        "traps" => stats.traps,
        "violations" => stats.violations,
        "quota_hits" => stats.quota_hits,
        "step_times" => stats.step_time.count(),
        "fuel_last" => stats.fuel_last,
        "fuel_peak" => stats.fuel_peak,
        "fuel_total" => stats.fuel_total,
        "memory_peak_bytes" => stats.memory_peak_bytes,
        "event_latencies" => stats.event_latency.count(),
        "event_latency_max_us" => stats.event_latency.max_ns() / 1000,
        _ => return None,
    })
}

/// Numbers are equal as numbers: 0 and 0.0 are.
fn same_values(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| match (a.as_i64(), b.as_i64(), a.as_f64(), b.as_f64()) {
            (Some(a), Some(b), _, _) => a == b,
            (_, _, Some(a), Some(b)) => a == b,
            _ => a == b,
        })
}
