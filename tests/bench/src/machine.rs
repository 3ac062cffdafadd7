//! Where the figures come from, in words that name no machine.

use std::fmt;
use std::fs;

use serde::Serialize;

/// What a reader must know of the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Number of processors.
    pub cpus: usize,
    /// The processor's name.
    pub model: String,
    /// Whether it is a virtual machine.
    pub virtual_machine: bool,
    /// Version of the kernel, major and minor.
    pub kernel: String,
    /// The C compiler of the native kernels.
    pub compiler: String,
    /// Load average over a minute, before and after.
    pub load: [f64; 2],
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split(':').nth(1)).unwrap_or_default().trim().to_owned()
        };
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel: Vec<&str> = release.trim().split('.').take(2).collect();
        let load = load_average();
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            model: field("model name"),
            virtual_machine: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            kernel: kernel.join("."),
            compiler: env!("FUSE_BENCH_CC").into(),
            load: [load, load],
        }
    }

    /// Notes the load at the end.
    pub fn finished(&mut self) {
        self.load[1] = load_average();
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, vm) = if self.virtual_machine { ("vCPU", " VM") } else { ("CPU", "") };
        write!(
            f,
            "{} {cpu} {}{vm}, Linux {}; native code by {} at -O2; load average {:.1} before and {:.1} after",
            self.cpus, self.model, self.kernel, self.compiler, self.load[0], self.load[1]
        )
    }
}

fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// Bytes of this process that are in memory now and belong to it alone.
///
/// # Errors
/// When the kernel does not say.
pub fn resident_bytes() -> Result<f64, String> {
    let text = fs::read_to_string("/proc/self/statm").map_err(|e| format!("cannot read statm: {e}"))?;
    let mut pages = text.split(' ').skip(1).map(|field| field.parse::<u64>().ok());
    match (pages.next().flatten(), pages.next().flatten()) {
        (Some(resident), Some(shared)) => {
            Ok(resident.saturating_sub(shared) as f64 * rustix::param::page_size() as f64)
        }
        _ => Err(format!("/proc/self/statm has another form: {text}")),
    }
}
