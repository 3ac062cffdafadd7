//! How long VMs take, each figure beside the same thing done by hand with the VMM's own API in the same run.
//!
//! Firecracker runs the guest of `tests/guest`, which has no operating system: what is measured is the VMM and this agent.
//! QEMU runs Debian's kernel with `fused`. Where one of them cannot run, that is said and the other one is measured. With
//! `firecracker` or `qemu` as its argument, that one alone is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark ends where something is not as it must be"
)]

#[path = "../../tests/common/mod.rs"]
mod common;
mod daemon;
mod firecracker;
mod hand;
mod measure;
mod qemu;
mod table;

use common::{bare_guest, config, import_kernel, import_linux};
use fuse_host_agent::{Config, DriverConfig, agent::HostAgent, driver::qemu::Accelerator};
use measure::{Kit, Times};
use table::Table;

#[tokio::main]
async fn main() {
    let mut table = Table::default();
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let wanted = |vmm: &str| only.as_ref().is_none_or(|only| only == vmm);
    match common::firecracker() {
        _ if !wanted("firecracker") => {}
        Ok((program, _)) => over_firecracker(&mut table, program).await,
        Err(why) => println!("Firecracker is not measured: {why}"),
    }
    match common::qemu() {
        _ if !wanted("qemu") => {}
        Ok(guest) => over_qemu(&mut table, &guest).await,
        Err(why) => println!("QEMU is not measured: {why}"),
    }
    table.end();
}

async fn over_firecracker(table: &mut Table, program: std::path::PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let driver = DriverConfig::Firecracker { program: program.clone(), jailer: None, unjailed_root: true };
    let agent = HostAgent::open(config(data.path(), driver)).await.unwrap();
    import_kernel(&agent, bare_guest());
    table.head(&format!(
        "Firecracker {}, KVM, a guest without an operating system, 64 MiB",
        agent.vmm_version()
    ));
    let hand = firecracker::ByHand::new(program, bare_guest().to_owned());
    let kit = Kit {
        agent: agent.clone(),
        hand,
        memory_mib: 64,
        upload: 48 * 1024,
        differences: true,
        fills_memory: false,
        times: Times { boots: 20, restores: 100, others: 12, execs: 110 },
    };
    let left = kit.run(table).await;
    drop((kit, agent));
    daemon::memory(table, data.path(), left).await;
}

async fn over_qemu(table: &mut Table, guest: &std::path::Path) {
    let data = tempfile::tempdir().unwrap();
    let driver = DriverConfig::Qemu { program: "qemu-system-x86_64".into(), accelerator: Accelerator::Auto };
    let settings = Config { default_memory_mib: 128, boot_seconds: 300, ..config(data.path(), driver) };
    let agent = HostAgent::open(settings).await.unwrap();
    import_linux(&agent, guest);
    let accelerator = agent.accelerator().to_uppercase();
    let version = agent.vmm_version();
    table.head(&format!("QEMU {version}, {accelerator}, Debian's cloud kernel 6.1 with fused, 128 MiB"));
    let hand = qemu::ByHand::of(&agent).await;
    let kit = Kit {
        agent,
        hand,
        memory_mib: 128,
        upload: 8 * 1024 * 1024,
        differences: false,
        fills_memory: true,
        times: Times { boots: 20, restores: 12, others: 8, execs: 70 },
    };
    let left = kit.run(table).await;
    measure::destroy(&kit.agent, left).await;
}
