//! What this machine has.

use std::{fs, path::Path};

use fuse_orchestrator::model::Capacity;

/// Processors, memory, and the free disk below `data` of this machine. The number of VM slots is 0: no limit of its own.
#[must_use]
pub fn host_capacity(data: &Path) -> Capacity {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let kib: u64 = total.and_then(|text| text.parse().ok()).unwrap_or(0);
    let free = rustix::fs::statvfs(data).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    Capacity {
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        ram_mb: u32::try_from(kib / 1024).unwrap_or(u32::MAX),
        storage_gb: u32::try_from(free >> 30).unwrap_or(u32::MAX),
        vm_count: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let capacity = host_capacity(Path::new("/"));
        assert!(capacity.cpus > 0 && capacity.ram_mb > 0, "{capacity}");
    }
}
