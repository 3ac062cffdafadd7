use proptest::prelude::*;

use super::*;
use crate::model::{
    AgentSpec, Arch, Attempts, Capacity, EnvironmentSpec, HostId, HostState, Liveness, PhaseTimings, TaskId,
    TeardownCause,
};

const START: u64 = 1_000_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros((START + seconds) * 1_000_000)
}

fn host(liveness: Liveness) -> Host {
    Host {
        id: HostId::new("h1").unwrap(),
        url: "stub://h1".into(),
        region: String::new(),
        backend: "stub".into(),
        labels: BTreeMap::new(),
        arch: Arch::Amd64,
        certificate: None,
        drain: None,
        state: HostState::Active,
        liveness: HostLiveness { state: liveness, since: at(0), reason: ReasonCode::Answered.into() },
        capacity: Capacity::default(),
        allocated: Capacity::default(),
        last_seen: at(0),
        created_at: at(0),
        updated_at: at(0),
        warnings: Vec::new(),
    }
}

fn environment(number: usize, state: EnvironmentState) -> EnvironmentFacts {
    let prefix = VmPrefix::standard();
    let task_id = TaskId::new(format!("t{number}")).unwrap();
    let id = prefix.environment(&task_id);
    let environment = Environment {
        vm: prefix.vm(&id, "1"),
        id,
        task_id,
        state,
        reason: ReasonCode::Requested.into(),
        host_id: HostId::new("h1").unwrap(),
        spec: EnvironmentSpec::default(),
        agent: AgentSpec::default(),
        startup_script: String::new(),
        startup_script_timeout_seconds: 0,
        expose: Vec::new(),
        healthcheck: None,
        seed: None,
        url: String::new(),
        endpoints: Vec::new(),
        health: None,
        observed: Observed::Present,
        timings: PhaseTimings::default(),
        warnings: Vec::new(),
        boots: 1,
        removal: Attempts::default(),
        created_at: at(0),
        updated_at: at(0),
    };
    EnvironmentFacts {
        environment: Arc::new(environment),
        busy: false,
        settled_at: at(0),
        used_at: at(0),
        attached: false,
    }
}

fn change(known: &mut EnvironmentFacts, change: impl FnOnce(&mut Environment)) {
    let mut environment = (*known.environment).clone();
    change(&mut environment);
    known.environment = Arc::new(environment);
}

fn ours(name: VmName) -> VmFacts {
    VmFacts { owner: Some(us()), ..VmFacts::new(name, String::new()) }
}

fn facts_of(known: &EnvironmentFacts) -> VmFacts {
    ours(known.environment.vm.clone())
}

fn us() -> OwnerId {
    OwnerId::new("us").unwrap()
}

/// A world that is asked for plans one after the other.
struct World {
    host: Host,
    environments: Vec<EnvironmentFacts>,
    teardowns: Vec<Arc<Teardown>>,
    sightings: Sightings,
    limits: Limits,
    readopt: bool,
}

impl World {
    fn new(environments: Vec<EnvironmentFacts>) -> Self {
        Self {
            host: host(Liveness::Ready),
            environments,
            teardowns: Vec::new(),
            sightings: Sightings::default(),
            limits: Limits::default(),
            readopt: false,
        }
    }

    fn plan(&mut self, listing: &Listing, now: Timestamp) -> Plan {
        let plan = plan(&Facts {
            host: &self.host,
            environments: &self.environments,
            teardowns: &self.teardowns,
            tearing: &BTreeSet::new(),
            listing,
            owner: &us(),
            prefix: &VmPrefix::standard(),
            sightings: &self.sightings,
            limits: &self.limits,
            readopt: self.readopt,
            now,
        });
        self.sightings = plan.sightings.clone();
        plan
    }

    fn answer(&mut self, seconds: u64, vms: Vec<VmFacts>) -> Vec<Action> {
        self.plan(&Listing::Answered { asked_at: at(seconds), vms }, at(seconds)).actions
    }

    fn silence(&mut self, seconds: u64) -> Vec<Action> {
        self.plan(&Listing::Silent { why: "refused".into() }, at(seconds)).actions
    }
}

fn destroyed(actions: &[Action]) -> Option<ReasonCode> {
    actions.iter().find_map(|action| match action {
        Action::Destroy(_, reason) => Some(reason.code),
        _ => None,
    })
}

#[test]
fn a_fleet_in_order_needs_nothing() {
    let running = environment(1, EnvironmentState::Running);
    let vm = facts_of(&running);
    let mut world = World::new(vec![running]);
    assert_eq!(world.answer(60, vec![vm]), []);
    assert!(world.sightings.is_empty());
}

#[test]
fn a_missing_vm_is_believed_at_the_second_sighting() {
    let mut world = World::new(vec![environment(1, EnvironmentState::Running)]);
    let first = world.answer(60, Vec::new());
    assert!(matches!(first.as_slice(), [Action::Observe(_, Observed::Missing)]), "{first:?}");
    // Too soon to count as another sighting.
    assert_eq!(destroyed(&world.answer(61, Vec::new())), None);
    assert_eq!(destroyed(&world.answer(90, Vec::new())), Some(ReasonCode::VmMissing));
}

#[test]
fn a_vm_that_is_seen_again_was_not_missing() {
    let running = environment(1, EnvironmentState::Running);
    let vm = facts_of(&running);
    let mut world = World::new(vec![running]);
    world.answer(60, Vec::new());
    world.answer(90, vec![vm]);
    assert_eq!(destroyed(&world.answer(120, Vec::new())), None);
}

#[test]
fn a_listing_from_before_the_boot_ended_says_nothing() {
    let mut fresh = environment(1, EnvironmentState::Running);
    fresh.settled_at = at(100);
    let mut world = World::new(vec![fresh]);
    for now in [60, 80, 100] {
        assert_eq!(world.answer(now, Vec::new()), []);
    }
}

#[test]
fn silence_makes_nothing_missing_and_nothing_an_orphan() {
    let mut world = World::new(vec![environment(1, EnvironmentState::Running)]);
    for cycle in 0..100 {
        let actions = world.silence(60 + cycle * 30);
        assert_eq!(destroyed(&actions), None, "{actions:?}");
    }
}

#[test]
fn a_silent_host_becomes_unreachable_then_lost_then_ready() {
    let mut world = World::new(Vec::new());
    let liveness = |actions: Vec<Action>| match actions.as_slice() {
        [Action::SetLiveness(liveness)] => Some(liveness.clone()),
        [] => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(liveness(world.silence(30)), None);
    let next = liveness(world.silence(60)).unwrap();
    assert_eq!(next.state, Liveness::Unreachable);
    world.host.liveness = next;
    assert_eq!(liveness(world.silence(90)), None);
    let next = liveness(world.silence(400)).unwrap();
    assert_eq!(next.state, Liveness::Lost);
    world.host.liveness = next;
    assert_eq!(liveness(world.answer(430, Vec::new())).unwrap().state, Liveness::Ready);
}

#[test]
fn a_restart_does_not_lose_a_ready_host_that_was_registered_long_ago() {
    let mut world = World::new(Vec::new());
    let day = 86_400;
    world.silence(day);
    let actions = world.silence(day + 30);
    assert!(
        matches!(actions.as_slice(), [Action::SetLiveness(new)] if new.state == Liveness::Unreachable),
        "{actions:?}"
    );
}

#[test]
fn an_orphan_is_given_its_grace() {
    let vm = ours(VmName::new("fuse-x").unwrap());
    let mut world = World::new(Vec::new());
    for now in [0, 30, 60, 90] {
        assert_eq!(world.answer(now, vec![vm.clone()]), [], "at {now} s");
    }
    assert_eq!(world.answer(121, vec![vm.clone()]), [Action::AdoptOrphan(vm.name)]);
}

#[test]
fn vms_of_others_are_only_counted() {
    let theirs = |owner: Option<&str>, name: &str| VmFacts {
        owner: owner.map(|owner| OwnerId::new(owner).unwrap()),
        ..VmFacts::new(VmName::new(name).unwrap(), String::new())
    };
    let vms = vec![theirs(Some("them"), "fuse-a"), theirs(None, "other-b")];
    let mut world = World::new(Vec::new());
    for now in [0, 1_000, 2_000] {
        let listing = Listing::Answered { asked_at: at(now), vms: vms.clone() };
        let plan = world.plan(&listing, at(now));
        assert_eq!((plan.actions, plan.foreign), (Vec::new(), 2));
    }
    // Without owner tags the prefix decides.
    for now in [3_000, 4_000] {
        world.answer(now, vec![theirs(None, "fuse-c")]);
    }
    assert_eq!(world.sightings.count(Suspicion::Orphan), 1);
}

#[test]
fn limits_end_environments_at_the_second_sighting() {
    let expired = environment(1, EnvironmentState::Running);
    let mut idle = environment(2, EnvironmentState::Running);
    change(&mut idle, |e| e.spec.idle_timeout_seconds = 60);
    let draining = environment(3, EnvironmentState::Draining);
    for (known, before, after, reason) in [
        (expired, 7_199, 7_201, ReasonCode::Expired),
        (idle, 60, 61, ReasonCode::Idle),
        (draining, 900, 901, ReasonCode::DrainTimeout),
    ] {
        let vm = facts_of(&known);
        let mut world = World::new(vec![known]);
        for now in [before - 30, before] {
            assert_eq!(destroyed(&world.answer(now, vec![vm.clone()])), None);
        }
        assert_eq!(destroyed(&world.answer(after, vec![vm.clone()])), None);
        assert_eq!(destroyed(&world.answer(after + 30, vec![vm])), Some(reason));
    }
}

#[test]
fn an_open_terminal_is_use() {
    let mut attached = environment(1, EnvironmentState::Running);
    change(&mut attached, |e| e.spec.idle_timeout_seconds = 60);
    attached.attached = true;
    let vm = facts_of(&attached);
    let mut world = World::new(vec![attached]);
    for now in [100, 200, 300] {
        assert_eq!(world.answer(now, vec![vm.clone()]), []);
    }
}

#[test]
fn failed_destroys_are_tried_again_when_due() {
    let mut known = environment(1, EnvironmentState::Destroying);
    change(&mut known, |e| e.removal.note_failure("no", at(0)));
    let id = known.environment.id.clone();
    let mut world = World::new(vec![known]);
    assert_eq!(world.answer(4, Vec::new()), []);
    assert_eq!(world.answer(5, Vec::new()), [Action::RetryDestroy(id)]);
}

#[test]
fn half_done_boots_are_taken_up_and_teardowns_tried() {
    let known = environment(1, EnvironmentState::Provisioning);
    let id = known.environment.id.clone();
    let mut world = World::new(vec![known]);
    let vm = VmName::new("fuse-old").unwrap();
    world.teardowns.push(Arc::new(Teardown {
        vm: vm.clone(),
        host_id: HostId::new("h1").unwrap(),
        cause: TeardownCause::FailedBoot,
        environment_id: None,
        holds: None,
        unsure: false,
        removal: Attempts::default(),
        created_at: at(0),
    }));
    let seen = ours(vm.clone());
    assert_eq!(world.answer(1, vec![seen]), [Action::Boot(id), Action::RetryTeardown(vm)]);
    assert!(world.sightings.is_empty(), "a VM that is being torn down is no orphan");
}

#[test]
fn what_is_being_worked_on_is_left_alone() {
    let mut booting = environment(1, EnvironmentState::Provisioning);
    let mut removing = environment(2, EnvironmentState::Destroying);
    let mut restoring = environment(3, EnvironmentState::Running);
    for known in [&mut booting, &mut removing, &mut restoring] {
        known.busy = true;
    }
    let mut world = World::new(vec![booting, removing, restoring]);
    for now in [60, 120, 180] {
        assert_eq!(world.answer(now, Vec::new()), []);
    }
}

fn any_environment(number: usize) -> impl Strategy<Value = (EnvironmentFacts, bool)> {
    let states = prop::sample::select(
        &[
            EnvironmentState::Provisioning,
            EnvironmentState::Running,
            EnvironmentState::Draining,
            EnvironmentState::Destroying,
        ][..],
    );
    (states, any::<bool>(), 0..100_000u64, any::<bool>(), 0..3u64, any::<bool>()).prop_map(
        move |(state, busy, settled, attached, idle, listed)| {
            let mut known = environment(number, state);
            change(&mut known, |e| e.spec.idle_timeout_seconds = idle * 60);
            known.busy = busy;
            known.settled_at = at(settled);
            known.attached = attached;
            (known, listed)
        },
    )
}

proptest! {
    #[test]
    fn nothing_is_destroyed_on_one_sighting(
        a in any_environment(1),
        b in any_environment(2),
        strangers in 0..4usize,
        now in 0..1_000_000u64,
        silent in any::<bool>(),
    ) {
        let mut vms: Vec<_> = [&a, &b].iter().filter(|(_, listed)| *listed).map(|(k, _)| facts_of(k)).collect();
        for number in 0..strangers {
            let name = VmName::new(format!("fuse-stranger-{number}")).unwrap();
            vms.push(ours(name));
        }
        let mut world = World::new(vec![a.0, b.0]);
        let actions = if silent { world.silence(now) } else { world.answer(now, vms) };
        for action in actions {
            prop_assert!(!matches!(action, Action::Destroy(..) | Action::AdoptOrphan(_)), "{:?}", action);
        }
    }

    #[test]
    fn a_silent_host_costs_only_what_time_alone_ends(
        known in any_environment(1),
        cycles in 1..50u64,
    ) {
        let mut world = World::new(vec![known.0]);
        for cycle in 0..cycles {
            for action in world.silence(cycle * 30) {
                let by_fact = matches!(
                    &action,
                    Action::Destroy(_, reason) if reason.code == ReasonCode::VmMissing
                ) || matches!(action, Action::AdoptOrphan(_));
                prop_assert!(!by_fact, "{:?}", action);
            }
        }
    }
}
