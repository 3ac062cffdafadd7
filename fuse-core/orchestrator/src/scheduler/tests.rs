use proptest::prelude::*;

use super::*;
use crate::model::{HostLiveness, Reason, ReasonCode, Timestamp};

fn host(id: &str, cpus: u32, ram_mb: u32, vm_count: u32) -> Host {
    Host {
        id: HostId::new(id).unwrap(),
        url: "stub://".into(),
        region: String::new(),
        backend: "stub".into(),
        labels: BTreeMap::new(),
        certificate: None,
        drain: None,
        arch: Arch::Amd64,
        state: HostState::Active,
        liveness: HostLiveness {
            state: Liveness::Ready,
            since: Timestamp::EPOCH,
            reason: Reason::from(ReasonCode::Answered),
        },
        capacity: Capacity { cpus, ram_mb, storage_gb: 100, vm_count },
        allocated: Capacity::default(),
        last_seen: Timestamp::EPOCH,
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
        warnings: Vec::new(),
    }
}

fn vm(number: usize) -> VmName {
    VmName::new(format!("vm-{number}")).unwrap()
}

fn demand(cpus: u32, ram_mb: u32) -> Demand {
    Demand { need: Resources { cpus, ram_mb, storage_gb: 0 }, ..Demand::default() }
}

fn scheduler(policy: Policy, hosts: &[Host]) -> Scheduler {
    let mut scheduler = Scheduler::new(policy);
    for host in hosts {
        scheduler.set_host(host);
    }
    scheduler
}

#[test]
fn spread_takes_the_emptiest_and_binpack_the_fullest() {
    let hosts = [host("a", 4, 4096, 10), host("b", 8, 8192, 10), host("c", 2, 2048, 10)];
    let need = demand(1, 512);
    assert_eq!(scheduler(Policy::Spread, &hosts).place(&need).unwrap().as_str(), "b");
    assert_eq!(scheduler(Policy::Binpack, &hosts).place(&need).unwrap().as_str(), "c");
}

#[test]
fn ties_go_to_the_smallest_id() {
    let hosts = [host("b", 4, 4096, 10), host("a", 4, 4096, 10)];
    for policy in [Policy::Spread, Policy::Binpack] {
        assert_eq!(scheduler(policy, &hosts).place(&demand(1, 1)).unwrap().as_str(), "a");
    }
}

#[test]
fn a_pin_names_its_gate() {
    let mut gated = host("a", 4, 4096, 10);
    gated.state = HostState::Cordoned;
    let scheduler = scheduler(Policy::Spread, &[gated, host("b", 4, 4096, 10)]);
    let pinned = |id: &str| Demand { host_id: Some(HostId::new(id).unwrap()), ..demand(1, 1) };
    assert!(matches!(scheduler.place(&pinned("a")), Err(PlacementError::HostGated { .. })));
    assert!(matches!(scheduler.place(&pinned("x")), Err(PlacementError::UnknownHost { .. })));
    assert_eq!(scheduler.place(&pinned("b")).unwrap().as_str(), "b");
}

#[test]
fn the_refusal_has_numbers() {
    let mut cordoned = host("a", 64, 65536, 10);
    cordoned.state = HostState::Cordoned;
    let mut silent = host("b", 64, 65536, 10);
    silent.liveness.state = Liveness::Lost;
    let small = host("c", 2, 2048, 10);
    let scheduler = scheduler(Policy::Spread, &[cordoned, silent, small]);
    let mut need = demand(4, 512);
    let text = scheduler.place(&need).unwrap_err().to_string();
    assert_eq!(
        text,
        "no capacity: need 4CPU/512MB/0GB; of 3 hosts 1 are schedulable, 1 cordoned, 1 not answering, \
         1 too full (free at most 2CPU/2048MB/100GB/10 VMs)"
    );
    need.labels.insert("disk".into(), "nvme".into());
    let text = scheduler.place(&need).unwrap_err().to_string();
    assert!(text.contains("1 without the labels (no schedulable host carries disk=nvme)"), "{text}");
}

#[test]
fn a_charge_follows_its_vm_and_is_given_back_once() {
    let mut scheduler = scheduler(Policy::Spread, &[host("a", 4, 4096, 2), host("b", 4, 4096, 2)]);
    let (a, b) = (HostId::new("a").unwrap(), HostId::new("b").unwrap());
    let need = Resources { cpus: 1, ram_mb: 1024, storage_gb: 1 };
    scheduler.charge(&vm(1), &a, need);
    scheduler.charge(&vm(1), &a, need);
    assert_eq!(scheduler.taken(&a), Capacity { cpus: 1, ram_mb: 1024, storage_gb: 1, vm_count: 1 });
    scheduler.charge(&vm(1), &b, need);
    assert_eq!(scheduler.taken(&a), Capacity::default());
    scheduler.release(&vm(1));
    scheduler.release(&vm(1));
    assert_eq!(scheduler.taken(&b), Capacity::default());
}

#[test]
fn a_host_that_comes_back_finds_its_charges() {
    let mut scheduler = scheduler(Policy::Spread, &[host("a", 4, 4096, 2)]);
    let a = HostId::new("a").unwrap();
    scheduler.charge(&vm(1), &a, Resources { cpus: 3, ram_mb: 0, storage_gb: 0 });
    scheduler.remove_host(&a);
    assert_eq!(scheduler.taken(&a).cpus, 3);
    scheduler.set_host(&host("a", 4, 4096, 2));
    assert!(scheduler.place(&demand(2, 0)).is_err());
    scheduler.release(&vm(1));
    assert!(scheduler.place(&demand(2, 0)).is_ok());
}

#[derive(Debug, Clone)]
enum Step {
    SetHost { host: usize, cpus: u32, ram: u32, slots: u32, region: u8, arm: bool, label: u8, gate: u8 },
    RemoveHost(usize),
    Place { cpus: u32, ram: u32, region: u8, arch: u8, label: u8 },
    Release(usize),
}

/// A step of memory in MiB, which weighs more than half a processor: hosts with few processors and much memory come before
/// others with more of the one and less of the other.
const RAM: u32 = 7_000;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..8usize, 0..9u32, 0..9u32, 0..4u32, 0..3u8, any::<bool>(), 0..3u8, 0..6u8).prop_map(
            |(host, cpus, ram, slots, region, arm, label, gate)| Step::SetHost {
                host, cpus, ram: ram * RAM, slots, region, arm, label, gate
            }
        ),
        1 => (0..8usize).prop_map(Step::RemoveHost),
        6 => (0..5u32, 0..5u32, 0..3u8, 0..3u8, 0..3u8)
            .prop_map(|(cpus, ram, region, arch, label)| Step::Place { cpus, ram: ram * RAM, region, arch, label }),
        3 => (0..40usize).prop_map(Step::Release),
    ];
    prop::collection::vec(step, 1..80)
}

/// The same choice made the slow way: look at every host.
fn naive(
    hosts: &BTreeMap<HostId, Host>,
    taken: &Scheduler,
    demand: &Demand,
    policy: Policy,
) -> Option<HostId> {
    let fitting = hosts.values().filter(|host| {
        host.is_schedulable()
            && (demand.region.is_empty() || demand.region == host.region)
            && demand.arch.is_none_or(|arch| arch == host.arch)
            && demand.labels.iter().all(|(key, value)| host.labels.get(key) == Some(value))
            && host.capacity.minus(taken.taken(&host.id)).fits(demand.need)
    });
    fitting
        .min_by_key(|host| {
            let free = host.capacity.minus(taken.taken(&host.id));
            let score = i64::from(free.cpus) * 10_000 + i64::from(free.ram_mb);
            (if policy == Policy::Spread { -score } else { score }, host.id.clone())
        })
        .map(|host| host.id.clone())
}

fn label(number: u8) -> BTreeMap<String, String> {
    match number {
        0 => BTreeMap::new(),
        n => BTreeMap::from([("k".to_owned(), n.to_string())]),
    }
}

proptest! {
    #[test]
    fn the_index_chooses_as_a_full_scan_does(steps in steps(), binpack in any::<bool>()) {
        let policy = if binpack { Policy::Binpack } else { Policy::Spread };
        let mut scheduler = Scheduler::new(policy);
        let mut hosts = BTreeMap::new();
        let mut placed = 0;
        for step in steps {
            match step {
                Step::SetHost { host: number, cpus, ram, slots, region, arm, label: l, gate } => {
                    let mut new = host(&format!("h{number}"), cpus, ram, slots);
                    new.region = ["", "eu", "us"][region as usize].into();
                    new.arch = if arm { Arch::Arm64 } else { Arch::Amd64 };
                    new.labels = label(l);
                    match gate {
                        0 => new.state = HostState::Cordoned,
                        1 => new.liveness.state = Liveness::Unreachable,
                        _ => {}
                    }
                    scheduler.set_host(&new);
                    hosts.insert(new.id.clone(), new);
                }
                Step::RemoveHost(number) => {
                    let id = HostId::new(format!("h{number}")).unwrap();
                    scheduler.remove_host(&id);
                    hosts.remove(&id);
                }
                Step::Place { cpus, ram, region, arch, label: l } => {
                    let mut wanted = demand(cpus, ram);
                    wanted.region = ["", "eu", "us"][region as usize].into();
                    wanted.arch = [None, Some(Arch::Amd64), Some(Arch::Arm64)][arch as usize];
                    wanted.labels = label(l);
                    let chosen = scheduler.place(&wanted);
                    prop_assert_eq!(chosen.clone().ok(), naive(&hosts, &scheduler, &wanted, policy));
                    if let Ok(id) = chosen {
                        scheduler.charge(&vm(placed), &id, wanted.need);
                        placed += 1;
                    }
                }
                Step::Release(number) => scheduler.release(&vm(number)),
            }
            let sums = scheduler.recount();
            for id in hosts.keys() {
                prop_assert_eq!(scheduler.taken(id), sums.get(id).copied().unwrap_or_default());
            }
        }
    }
}
