//! The memory of the daemon: without a VM, and with those that run.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fuse_host_agent::{Config, DriverConfig, agent::HostAgent, system::Process};
use fuse_orchestrator::model::VmName;

use crate::{common, measure, table::Table};

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The daemon's resident memory over `data`, a moment after it listens.
async fn resident(data: &Path, settings: &Config) -> u64 {
    let file = data.join("agent.toml");
    std::fs::write(&file, toml::to_string(settings).unwrap()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(env!("CARGO_BIN_EXE_fuse-host-agent"))
        .arg("--config")
        .arg(&file)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .env("FC_AGENT_TOKEN", "the-token-of-a-benchmark")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let daemon = Daemon(child);
    let began = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "the daemon does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Process::of(i32::try_from(daemon.0.id()).unwrap()).unwrap().memory().0
}

/// Shows what the daemon takes, and removes the VMs that `data` has.
pub(crate) async fn memory(table: &mut Table, data: &Path, vms: Vec<VmName>) {
    let (program, _) = common::firecracker().unwrap();
    let driver = DriverConfig::Firecracker { program, jailer: None, unjailed_root: true };
    let shown = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
    let empty = tempfile::tempdir().unwrap();
    let idle = resident(empty.path(), &common::config(empty.path(), driver.clone())).await;
    let settings = common::config(data, driver);
    let busy = resident(data, &settings).await;
    table.alone("memory of the daemon without a VM", &shown(idle));
    table.alone(&format!("memory of the daemon with {} VMs", vms.len()), &shown(busy));
    // The daemon has let go of the directory by now.
    let agent = HostAgent::open(settings).await.unwrap();
    measure::destroy(&agent, vms).await;
}
