//! Looking at the runtime through the driver.

use std::collections::BTreeMap;

use fuse_conformance::scenario::{Check, LogEntry};
use serde_json::Value;

use super::{Player, driver, hex, number};

/// A deadline that never comes.
const NEVER: u64 = u64::MAX;

/// One log record.
#[derive(Debug)]
struct Record {
    sequence: u64,
    timestamp_us: u64,
    module: u64,
    level: &'static str,
    source: &'static str,
    text: String,
}

impl Record {
    fn read(word: &str) -> Result<Self, String> {
        let parts: Vec<&str> = word.split(':').collect();
        let [sequence, timestamp, module, level, source, text] = parts.as_slice() else {
            return Err(format!("`{word}` is no log record"));
        };
        let number = |text: &str| text.parse::<u64>().map_err(|e| e.to_string());
        Ok(Self {
            sequence: number(sequence)?,
            timestamp_us: number(timestamp)?,
            module: number(module)?,
            level: ["debug", "info", "fatal"].get(number(level)? as usize).copied().unwrap_or("?"),
            source: ["module", "security"].get(number(source)? as usize).copied().unwrap_or("?"),
            text: driver::unhex(text)?,
        })
    }
}

impl Player<'_> {
    pub(super) fn check(&mut self, check: &Check) -> Result<(), String> {
        self.check_modules(check)?;
        if let Some(expected) = &check.log {
            self.check_log(expected)?;
        }
        let counts = self.driver.call("counts")?.words()?;
        equal("lost", check.lost, number(counts.get(1))?)?;
        equal("lost_security", check.lost_security, number(counts.get(2))?)?;
        let loaded = number(self.driver.call("modules")?.words()?.first())?;
        equal("loaded", check.loaded.map(|n| n as u64), loaded)?;
        if let Some(expected) = check.next_deadline_us {
            let deadline = number(self.driver.call("deadline")?.words()?.first())?;
            if deadline != expected.unwrap_or(NEVER) {
                return Err(format!("next_deadline_us is {deadline}"));
            }
        }
        for (function, expected) in &check.calls {
            let seen = self.driver.call(&format!("calls {function}"))?.words()?;
            let seen: Vec<Vec<Value>> = seen.iter().map(|call| arguments(call)).collect();
            let same = seen.len() == expected.len()
                && seen
                    .iter()
                    .zip(expected)
                    .all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)));
            if !same {
                return Err(format!("`{function}` was called {} times: {seen:?}", seen.len()));
            }
        }
        for (handle, name) in &check.named {
            let found = number(self.driver.call(&format!("find {}", hex(name)))?.words()?.first())?;
            if found != self.id(handle)? {
                return Err(format!("`{name}` names `{}`", self.handle(found)));
            }
        }
        Ok(())
    }

    fn info(&mut self, handle: &str) -> Result<Vec<String>, String> {
        let id = self.id(handle)?;
        self.driver.call(&format!("info {id}"))?.words().map_err(|e| format!("`{handle}`: {e}"))
    }

    fn check_modules(&mut self, check: &Check) -> Result<(), String> {
        for (handle, expected) in &check.states {
            let info = self.info(handle)?;
            if info.first() != Some(expected) {
                return Err(format!("`{handle}` is {info:?}"));
            }
        }
        for (handle, expected) in &check.latch {
            let latch = number(self.info(handle)?.get(1))?;
            if latch != u64::from(*expected) {
                return Err(format!("the latch of `{handle}` is {latch}"));
            }
        }
        for (handle, expected) in &check.failure {
            let id = self.id(handle)?;
            let words = self.driver.call(&format!("failure {id}"))?.words()?;
            let failure = driver::unhex(words.first().map_or("", String::as_str))?;
            let has_failed = self.info(handle)?.get(2).is_some_and(|status| status != "0");
            let fits = match expected {
                None => failure.is_empty() && !has_failed,
                Some(parts) => has_failed && parts.0.iter().all(|part| failure.contains(part.as_str())),
            };
            if !fits {
                return Err(format!("the failure of `{handle}` is {failure:?}"));
            }
        }
        for (handle, expected) in &check.stats {
            let id = self.id(handle)?;
            let words = self.driver.call(&format!("stats {id}"))?.words()?;
            let stats: BTreeMap<&str, &str> = words.iter().filter_map(|w| w.split_once('=')).collect();
            for (name, bound) in expected {
                let value = stats.get(name.as_str()).and_then(|v| v.parse().ok());
                let value = value.ok_or_else(|| format!("unknown statistic `{name}`"))?;
                if !bound.admits(value) {
                    return Err(format!("`{name}` of `{handle}` is {value}"));
                }
            }
        }
        Ok(())
    }

    fn check_log(&mut self, expected: &[LogEntry]) -> Result<(), String> {
        let words = self.driver.call("log")?.words()?;
        let records: Vec<Record> = words.iter().map(|w| Record::read(w)).collect::<Result<_, _>>()?;
        if records.len() != expected.len() {
            return Err(format!(
                "the log has {} new records, not {}: {records:#?}",
                records.len(),
                expected.len()
            ));
        }
        if let Some(pair) = records.windows(2).find(|pair| pair[0].sequence >= pair[1].sequence) {
            return Err(format!("sequence numbers do not grow: {pair:?}"));
        }
        for (record, entry) in records.iter().zip(expected) {
            let module = (record.module != 0).then(|| self.handle(record.module));
            let text = &record.text;
            let fits = module == entry.module
                && record.level == entry.level
                && record.source == entry.source
                && entry.at_us.is_none_or(|at| at == record.timestamp_us)
                && entry.text.as_ref().is_none_or(|t| t == text)
                && entry
                    .contains
                    .as_ref()
                    .is_none_or(|parts| parts.0.iter().all(|p| text.contains(p.as_str())));
            if !fits {
                return Err(format!("{record:?} does not fit {entry:?}"));
            }
        }
        Ok(())
    }
}

fn equal(what: &str, expected: Option<u64>, found: u64) -> Result<(), String> {
    match expected {
        Some(expected) if expected != found => Err(format!("{what} is {found}, not {expected}")),
        _ => Ok(()),
    }
}

/// The arguments of one call: `i` an integer, `f` a real number, `x` hexadecimal.
fn arguments(call: &str) -> Vec<Value> {
    let argument = |text: &str| {
        let (kind, rest) = text.split_at_checked(1)?;
        Some(match kind {
            "x" => rest.into(),
            "f" => rest.parse::<f64>().map_or(Value::Null, Value::from),
            _ => rest.parse::<i64>().map_or(Value::Null, Value::from),
        })
    };
    if call == "." { Vec::new() } else { call.split(',').filter_map(argument).collect() }
}

/// Numbers are equal as numbers: 0 and 0.0 are.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a.as_i64(), b.as_i64(), a.as_f64(), b.as_f64()) {
        (Some(a), Some(b), _, _) => a == b,
        (_, _, Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}
