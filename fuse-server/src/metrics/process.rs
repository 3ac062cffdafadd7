//! What the system says about this process, under the names that monitoring systems expect.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Clock ticks a second, as Linux shows times to programs on every architecture.
const TICKS: f64 = 100.0;
/// Size of a page where nothing else is known, in bytes.
const PAGE: f64 = 4096.0;

/// Reads /proc when somebody asks. Elsewhere than on Linux it has nothing to say.
#[derive(Debug)]
pub(super) struct Process;

struct Facts {
    cpu_seconds: f64,
    start_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
    open_files: f64,
    threads: f64,
}

fn facts() -> Option<Facts> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in brackets and may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let open_files = fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
    Some(Facts {
        cpu_seconds: (field(14)? + field(15)?) / TICKS,
        start_seconds: boot + field(22)? / TICKS,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * PAGE,
        open_files: open_files as f64,
        threads: field(20)?,
    })
}

fn most_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(facts) = facts() else { return Ok(()) };
        let cpu = ConstCounter::new(facts.cpu_seconds);
        let descriptor = "Processor time used";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            descriptor,
            None,
            MetricType::Counter,
        )?)?;
        let gauges = [
            ("process_start_time_seconds", "When the process began, since 1970", facts.start_seconds),
            ("process_virtual_memory_bytes", "Address space", facts.virtual_bytes),
            ("process_resident_memory_bytes", "Memory in use", facts.resident_bytes),
            ("process_open_fds", "Open file descriptors", facts.open_files),
            ("process_threads", "Threads", facts.threads),
            ("process_max_fds", "The most file descriptors", most_files().unwrap_or(0.0)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_about_this_process() {
        let facts = facts().unwrap();
        assert!(facts.resident_bytes > 100_000.0 && facts.threads >= 1.0 && facts.open_files >= 3.0);
        assert!(facts.start_seconds > 1.5e9);
        assert!(most_files().unwrap() >= facts.open_files);
    }
}
