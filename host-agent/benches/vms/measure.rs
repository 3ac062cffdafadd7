//! What is measured, the same for every VMM: ours and by hand in turns, so that both see the same machine, and each of
//! them first as often as the other: what one leaves behind, such as dirty pages, the next one pays for.

use std::time::{Duration, Instant};

use fuse_guest_protocol::verb::{Exec, Upload};
use fuse_host_agent::{
    agent::{HostAgent, Memory, NewSnapshot, NewVm},
    store::SnapshotName,
};
use fuse_orchestrator::model::{Resources, VmName};

use crate::{
    common::name,
    hand::{Hand, HandVm, Kind},
    table::{Bar, Table, USUAL},
};

/// How many VMs are made at once, and how often.
const FORKS: [(usize, usize); 2] = [(10, 4), (50, 4)];
/// What the agent may add to the making of a VM.
const ADDED: Duration = Duration::from_millis(15);
/// How long it is, generously, until a kernel has given memory back that is free: 2 s until it begins.
const GIVEN_BACK: Duration = Duration::from_secs(8);

/// How often things are done.
pub(crate) struct Times {
    pub(crate) boots: usize,
    pub(crate) restores: usize,
    pub(crate) others: usize,
    pub(crate) execs: usize,
}

/// What a VMM is measured with.
pub(crate) struct Kit<H> {
    pub(crate) agent: HostAgent,
    pub(crate) hand: H,
    pub(crate) memory_mib: u32,
    /// Bytes of an upload.
    pub(crate) upload: usize,
    /// Whether the VMM can save differences.
    pub(crate) differences: bool,
    /// Whether its guests fill so much memory that it counts whether the kernel has given that back before.
    pub(crate) fills_memory: bool,
    pub(crate) times: Times,
}

async fn timed<T>(into: &mut Vec<Duration>, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    into.push(began.elapsed());
    done
}

/// Waits until another part of the kernel's tick.
///
/// KVM waits for ticks (4 ms at 250 Hz) when a machine is made and when one goes. What begins right after one has gone
/// begins with a tick, ends with a tick, and shows no difference that is shorter, or a whole tick for the shortest one.
async fn out_of_step() {
    let mut random = [0; 2];
    getrandom::fill(&mut random).unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let (began, more) = (Instant::now(), Duration::from_micros(u64::from(u16::from_ne_bytes(random)) / 4));
    while began.elapsed() < more {
        tokio::task::yield_now().await;
    }
}

/// Whose turn it is, one after the other.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Ours,
    Hand,
}

/// Whose turns there are in a round.
fn turns(round: usize) -> [Side; 2] {
    if round.is_multiple_of(2) { [Side::Hand, Side::Ours] } else { [Side::Ours, Side::Hand] }
}

impl<H: Hand> Kit<H> {
    fn vm(&self, text: &str) -> NewVm {
        let resources = Resources { cpus: 1, ram_mb: self.memory_mib, storage_gb: 0 };
        NewVm { resources, ..NewVm::new(name(text)) }
    }

    /// Where the kernel of this machine gives free memory back to a hypervisor: waits until it has, so that all sides pay for
    /// it alike. Otherwise the one that comes sooner after the end of others would take theirs.
    async fn memory_given_back(&self) {
        if self.fills_memory && std::fs::exists("/sys/module/page_reporting").unwrap_or(false) {
            tokio::time::sleep(GIVEN_BACK).await;
        }
    }

    fn clone_of(&self, seed: &SnapshotName, text: &str) -> NewVm {
        NewVm { seed: Some(seed.clone()), ..self.vm(text) }
    }

    /// Measures everything. The VMs that run on at the end.
    pub(crate) async fn run(&self, table: &mut Table) -> Vec<VmName> {
        self.create(table).await;
        self.agent.create(self.vm("vm-1")).await.unwrap();
        let vm = self.hand.boot().await;
        // The last one is full: it is what clones are made of.
        if self.differences {
            self.snapshots(table, &vm, Kind::Diff).await;
        }
        let seed = self.snapshots(table, &vm, Kind::Full).await;
        let vm = vm.stop().await;
        self.restore(table, &seed, &vm).await;
        self.inside(table, &seed, &vm).await;
        let mut left = vec![name("vm-1")];
        for fork in FORKS {
            destroy(&self.agent, left.split_off(1)).await;
            left.extend(self.forks(table, &seed, &vm, fork).await);
        }
        left
    }

    async fn create(&self, table: &mut Table) {
        let (mut ours, mut hand) = (Vec::new(), Vec::new());
        for side in (0..self.times.boots).flat_map(turns) {
            out_of_step().await;
            if side == Side::Ours {
                timed(&mut ours, self.agent.create(self.vm("vm-1"))).await.unwrap();
                self.agent.destroy(&name("vm-1")).await.unwrap();
            } else {
                timed(&mut hand, self.hand.boot()).await.end().await;
            }
        }
        table.times("create: exec to the agent's answer", ours, hand, Bar::Added(ADDED));
    }

    async fn snapshots(&self, table: &mut Table, vm: &HandVm, kind: Kind) -> SnapshotName {
        let (mut ours, mut alone, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
        let memory = if kind == Kind::Full { Memory::Full } else { Memory::Diff };
        let what = if kind == Kind::Full { "full snapshot" } else { "difference" };
        if kind == Kind::Diff {
            // What the first ones build on.
            self.take(Memory::Full).await;
            self.hand.save(vm, Kind::Full).await;
        }
        let mut last = None;
        for side in (0..self.times.others).flat_map(turns) {
            if side == Side::Ours {
                last = Some(timed(&mut ours, self.take(memory)).await);
                continue;
            }
            let began = Instant::now();
            let names = self.hand.save(vm, kind).await;
            alone.push(began.elapsed());
            vm.seal(names).await;
            sealed.push(began.elapsed());
        }
        table.times(&format!("{what}, durable, with digests"), ours.clone(), sealed, USUAL);
        table.times(&format!("{what}; by hand without either"), ours, alone, Bar::None);
        last.unwrap()
    }

    async fn take(&self, memory: Memory) -> SnapshotName {
        let new = NewSnapshot { comment: String::new(), memory };
        self.agent.snapshot(&name("vm-1"), new).await.unwrap().id.clone()
    }

    async fn restore(&self, table: &mut Table, seed: &SnapshotName, vm: &HandVm) {
        let (mut ours, mut alone, mut renewed) = (Vec::new(), Vec::new(), Vec::new());
        for side in (0..self.times.restores).flat_map(turns) {
            out_of_step().await;
            if side == Side::Ours {
                timed(&mut ours, self.agent.create(self.clone_of(seed, "vm-2"))).await.unwrap();
                self.agent.destroy(&name("vm-2")).await.unwrap();
                continue;
            }
            let began = Instant::now();
            let clone = self.hand.restore(&vm.dir).await;
            alone.push(began.elapsed());
            clone.renew().await;
            renewed.push(began.elapsed());
            clone.end().await;
        }
        table.times("restore to the first answer, renewed", ours.clone(), renewed, USUAL);
        table.times("restore; by hand not renewed", ours, alone, Bar::None);
    }

    /// What is done in a guest: over the agent, and over the guest agent's protocol alone.
    async fn inside(&self, table: &mut Table, seed: &SnapshotName, vm: &HandVm) {
        // Both of the same kind: what was restored has its memory in a file.
        self.agent.create(self.clone_of(seed, "vm-2")).await.unwrap();
        let ours_vm = name("vm-2");
        let fresh = self.hand.restore(&vm.dir).await;
        fresh.renew().await;
        let client = fresh.client.as_ref().unwrap();
        let exec = Exec::argv(["true"]);
        let (mut ours, mut hand) = (Vec::new(), Vec::new());
        for side in (0..self.times.execs).flat_map(turns) {
            match side {
                Side::Ours => drop(timed(&mut ours, self.agent.exec(&ours_vm, &exec)).await.unwrap()),
                Side::Hand => drop(timed(&mut hand, client.exec_collect(&exec, 1024)).await.unwrap()),
            }
        }
        table.times("exec round trip", ours, hand, USUAL);
        let bytes = vec![7; self.upload];
        let upload = Upload { path: "/upload".to_owned(), mode: 0o600, size: None };
        let (mut ours, mut hand) = (Vec::new(), Vec::new());
        for side in (0..self.times.others).flat_map(turns) {
            let mut content = bytes.as_slice();
            match side {
                Side::Ours => timed(&mut ours, self.agent.upload(&ours_vm, &upload, &mut content))
                    .await
                    .map(drop)
                    .unwrap(),
                Side::Hand => {
                    timed(&mut hand, client.upload_bytes(&upload, content)).await.map(drop).unwrap()
                }
            }
        }
        table.speed(&format!("upload of {} KiB", self.upload / 1024), self.upload, ours, hand);
        fresh.end().await;
        self.agent.destroy(&ours_vm).await.unwrap();
    }

    async fn forks(
        &self,
        table: &mut Table,
        seed: &SnapshotName,
        vm: &HandVm,
        (count, rounds): (usize, usize),
    ) -> Vec<VmName> {
        let names: Vec<VmName> = (0..count).map(|index| name(&format!("fork-{index}"))).collect();
        let (mut ours, mut alone, mut renewed) = (Vec::new(), Vec::new(), Vec::new());
        let mut memory_by_hand = (0, 0);
        // At its end ours are there.
        for side in (0..rounds).rev().flat_map(turns) {
            destroy(
                &self.agent,
                self.agent.list(None, Some("fork-")).into_iter().map(|vm| vm.name).collect(),
            )
            .await;
            self.memory_given_back().await;
            if side == Side::Ours {
                timed(&mut ours, self.forks_of_ours(seed, &names)).await;
                continue;
            }
            for one in timed(&mut alone, self.forks_by_hand(vm, count, false)).await {
                one.end().await;
            }
            self.memory_given_back().await;
            let by_hand = timed(&mut renewed, self.forks_by_hand(vm, count, true)).await;
            memory_by_hand = mean(by_hand.iter().map(HandVm::memory));
            for one in by_hand {
                one.end().await;
            }
        }
        let memory = self.agent.memory();
        let forks = memory.into_iter().filter(|(vm, _, _)| names.contains(vm));
        let memory = mean(forks.map(|(_, resident, own)| (resident, own)));
        table.times(&format!("fork x{count} at once, all renewed"), ours.clone(), renewed, USUAL);
        table.times(&format!("fork x{count}; by hand not renewed"), ours, alone, Bar::None);
        table.bytes(&format!("memory of an idle VM of {count}, its own"), memory.1, memory_by_hand.1);
        table.bytes(&format!("memory of an idle VM of {count}, resident"), memory.0, memory_by_hand.0);
        names
    }

    async fn forks_by_hand(&self, vm: &HandVm, count: usize, renewed: bool) -> Vec<HandVm> {
        let made = (0..count).map(|_| {
            let (hand, dir) = (self.hand.clone(), vm.dir.clone());
            tokio::spawn(async move {
                let one = hand.restore(&dir).await;
                if renewed {
                    one.renew().await;
                }
                one
            })
        });
        let mut vms = Vec::new();
        for one in made.collect::<Vec<_>>() {
            vms.push(one.await.unwrap());
        }
        vms
    }

    async fn forks_of_ours(&self, seed: &SnapshotName, names: &[VmName]) {
        let made = names.iter().map(|one| {
            let (agent, new) = (self.agent.clone(), self.clone_of(seed, one.as_str()));
            tokio::spawn(async move { agent.create(new).await })
        });
        for one in made.collect::<Vec<_>>() {
            one.await.unwrap().unwrap();
        }
    }
}

fn mean(all: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    let (mut count, mut resident, mut own) = (0, 0, 0);
    for (one_resident, one_own) in all {
        (count, resident, own) = (count + 1, resident + one_resident, own + one_own);
    }
    (resident / count.max(1), own / count.max(1))
}

/// Removes VMs, all at once.
pub(crate) async fn destroy(agent: &HostAgent, vms: Vec<VmName>) {
    let mut all = tokio::task::JoinSet::new();
    for vm in vms {
        let agent = agent.clone();
        all.spawn(async move { agent.destroy(&vm).await.unwrap() });
    }
    all.join_all().await;
}
