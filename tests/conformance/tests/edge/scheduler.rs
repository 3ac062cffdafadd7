//! The scheduler against a model that looks at every module at every tick.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use fuse_edge::hal::{Value, ValueType};
use fuse_edge::{
    Activation, Application, Capabilities, ErrorKind, EventId, EventMask, HalGroup, ManualClock,
    ManualPlatform, Metering, ModuleId, ModuleState, Policy, Runtime, RuntimeConfig,
};
use proptest::prelude::*;

use crate::{artifact, manual_runtime};

/// A module that asks the host what to do: -1 trap, 0..=31 post that event, anything else nothing.
const ACTOR: &str = r#"(module
  (import "env" "act" (func $act (result i32)))
  (import "env" "fuse_event_post" (func $post (param i32)))
  (func (export "module_step") (local $a i32)
    (local.set $a (call $act))
    (if (i32.eq (local.get $a) (i32.const -1)) (then unreachable))
    (if (i32.lt_u (local.get $a) (i32.const 32)) (then (call $post (local.get $a))))))"#;

/// What a module does in a step.
#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    Trap,
    Post(u32),
    /// The clock moves while it runs.
    Take(u64),
}

/// What is done to the runtime. Modules are counted from 0, modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    Load(Policy, Vec<Act>),
    Unload(usize),
    Start(usize),
    Pause(usize),
    RunStep(usize),
    RestartModule(usize),
    Post(u32),
    Clear(u32),
    Tick,
    Stop,
    Restart,
    Advance(u64),
    SetClock(u64),
}

/// A module as the model sees it.
#[derive(Clone, Debug)]
struct Model {
    id: ModuleId,
    policy: Policy,
    acts: Vec<Act>,
    steps: usize,
    state: ModuleState,
    latch: u32,
    last_start: Option<u64>,
}

impl Model {
    fn has(&self, kind: Activation) -> bool {
        self.policy.activation.contains(kind)
    }

    fn interval_elapsed(&self, now: u64) -> bool {
        self.last_start
            .is_none_or(|start| now.saturating_sub(start) >= u64::from(self.policy.step_interval_us))
    }

    fn due(&self, now: u64) -> bool {
        self.state == ModuleState::Running
            && (self.has(Activation::INTERVAL) && self.interval_elapsed(now)
                || self.has(Activation::EVENT) && self.latch != 0)
    }
}

/// All modules in load order, the clock as modules see it, and whether the runtime is stopped.
#[derive(Default)]
struct World {
    modules: Vec<Model>,
    clock: ManualClock,
    /// The latest time seen.
    now: u64,
    stopped: bool,
}

impl World {
    /// Time as the runtime takes it: a clock that went back stands still, and its last number is never reached.
    fn look_at_clock(&mut self) -> u64 {
        self.now = self.now.max(self.clock.now_us().min(u64::MAX - 1));
        self.now
    }

    fn post(&mut self, event: u32) {
        for module in &mut self.modules {
            let alive = !matches!(module.state, ModuleState::Trapped | ModuleState::QuotaExceeded);
            if alive && module.policy.event_subscribe.bits() & 1 << event != 0 {
                module.latch |= 1 << event;
            }
        }
    }

    /// Runs one module; whether it succeeded.
    fn step(&mut self, index: usize) -> bool {
        let start = self.look_at_clock();
        let module = &mut self.modules[index];
        let act = module.acts[module.steps % module.acts.len()];
        module.steps += 1;
        if let Act::Trap = act {
            module.state = ModuleState::Trapped;
            module.latch = 0;
            return false;
        }
        module.last_start = Some(start);
        match act {
            Act::Post(event) => self.post(event),
            Act::Take(us) => self.clock.advance_us(us),
            Act::Nothing | Act::Trap => {}
        }
        true
    }

    /// Which modules run in a tick, in order, and whether each succeeds.
    fn tick(&mut self) -> Vec<(ModuleId, bool)> {
        let now = self.look_at_clock();
        // Intervals are judged at the start of the tick, events when a module's turn comes.
        let by_interval: Vec<bool> = self
            .modules
            .iter()
            .map(|m| m.due(now) && m.has(Activation::INTERVAL) && m.interval_elapsed(now))
            .collect();
        let mut order: Vec<usize> = (0..self.modules.len()).collect();
        order.sort_by_key(|i| self.modules[*i].policy.priority);
        let mut ran = Vec::new();
        for index in order {
            let module = &mut self.modules[index];
            if module.state != ModuleState::Running {
                continue;
            }
            let by_event = module.has(Activation::EVENT) && module.latch != 0;
            if !by_event && !by_interval[index] {
                continue;
            }
            if by_event {
                module.latch = 0;
            }
            let id = module.id;
            let ok = self.step(index);
            ran.push((id, ok));
        }
        ran
    }

    fn run_step(&mut self, index: usize) -> Result<(), ErrorKind> {
        if self.stopped {
            return Err(ErrorKind::WrongState);
        }
        if self.modules[index].state != ModuleState::Running {
            return Err(ErrorKind::WrongState);
        }
        let now = self.look_at_clock();
        let module = &self.modules[index];
        if module.has(Activation::INTERVAL) && !module.interval_elapsed(now) {
            return Err(ErrorKind::IntervalNotElapsed);
        }
        self.step(index).then_some(()).ok_or(ErrorKind::Trap)
    }

    fn next_deadline(&mut self) -> Option<u64> {
        if self.stopped {
            return None;
        }
        let now = self.look_at_clock();
        let wait = |m: &Model| {
            if m.state != ModuleState::Running {
                None
            } else if m.due(now) {
                Some(0)
            } else if m.has(Activation::INTERVAL) {
                let due = m.last_start.map_or(0, |s| s.saturating_add(u64::from(m.policy.step_interval_us)));
                Some(due.saturating_sub(now))
            } else {
                None
            }
        };
        self.modules.iter().filter_map(wait).min()
    }
}

type Acts = Arc<Mutex<BTreeMap<ModuleId, (usize, Vec<Act>)>>>;

/// The runtime beside the model.
struct Pair {
    rt: Runtime,
    world: World,
    acts: Acts,
    artifact: &'static [u8],
    /// The runtime's clock; the model has one of its own, which its own steps move.
    clock: ManualClock,
    loads: usize,
}

impl Pair {
    fn new() -> Self {
        static ARTIFACT: OnceLock<Vec<u8>> = OnceLock::new();
        let (mut rt, clock) = manual_runtime(Metering::Wall);
        let acts = Acts::default();
        let (callback_acts, callback_clock) = (acts.clone(), clock.clone());
        let group = HalGroup::new("actor", 8).function("act", &[], Some(ValueType::I32), move |call| {
            let mut acts = callback_acts.lock().unwrap();
            let (steps, list) = acts.get_mut(&call.module()).unwrap();
            let act = list[*steps % list.len()];
            *steps += 1;
            Ok(Some(Value::I32(match act {
                Act::Trap => -1,
                Act::Post(event) => event as i32,
                Act::Nothing => 99,
                Act::Take(us) => {
                    callback_clock.advance_us(us);
                    99
                }
            })))
        });
        rt.register_group(group).unwrap();
        let artifact = ARTIFACT.get_or_init(|| artifact(ACTOR, Metering::Wall));
        Self { rt, world: World::default(), acts, artifact, clock, loads: 0 }
    }

    fn pick(&self, index: usize) -> Option<(usize, ModuleId)> {
        let count = self.world.modules.len();
        (count > 0).then(|| (index % count, self.world.modules[index % count].id))
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Load(policy, acts) => self.load(policy, acts),
            Op::Tick => return self.tick(),
            Op::Post(event) => {
                self.rt.post_event(EventId::new(*event).unwrap());
                self.world.post(*event);
            }
            Op::Clear(event) => {
                self.rt.clear_event(EventId::new(*event).unwrap());
                self.world.modules.iter_mut().for_each(|m| m.latch &= !(1 << event));
            }
            Op::Advance(us) => {
                self.clock.advance_us(*us);
                self.world.clock.advance_us(*us);
            }
            Op::SetClock(us) => {
                self.clock.set_us(*us);
                self.world.clock.set_us(*us);
            }
            Op::Stop => {
                prop_assert_eq!(self.rt.stop().is_ok(), !self.world.stopped);
                self.world.stopped = true;
            }
            Op::Restart => {
                prop_assert_eq!(self.rt.restart().is_ok(), self.world.stopped);
                self.world.stopped = false;
            }
            Op::Unload(i) | Op::Start(i) | Op::Pause(i) | Op::RunStep(i) | Op::RestartModule(i) => {
                if let Some((index, id)) = self.pick(*i) {
                    return self.on_module(op, index, id);
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, policy: &Policy, acts: &[Act]) {
        self.loads += 1;
        let id = self.rt.load(&format!("m{}", self.loads), self.artifact, policy).unwrap();
        self.acts.lock().unwrap().insert(id, (0, acts.to_vec()));
        self.world.modules.push(Model {
            id,
            policy: policy.clone(),
            acts: acts.to_vec(),
            steps: 0,
            state: ModuleState::Loaded,
            latch: 0,
            last_start: None,
        });
    }

    fn on_module(&mut self, op: &Op, index: usize, id: ModuleId) -> Result<(), TestCaseError> {
        let stopped = self.world.stopped;
        let module = &mut self.world.modules[index];
        match op {
            Op::Unload(_) => {
                self.rt.unload(id).unwrap();
                self.world.modules.remove(index);
                prop_assert_eq!(
                    self.rt.run_step(id).unwrap_err().kind(),
                    if stopped { ErrorKind::WrongState } else { ErrorKind::NotFound }
                );
            }
            Op::Start(_) => {
                let legal = !stopped && matches!(module.state, ModuleState::Loaded | ModuleState::Paused);
                prop_assert_eq!(self.rt.start(id).is_ok(), legal);
                if legal {
                    module.state = ModuleState::Running;
                }
            }
            Op::Pause(_) => {
                let legal = module.state == ModuleState::Running;
                prop_assert_eq!(self.rt.pause(id).is_ok(), legal);
                if legal {
                    module.state = ModuleState::Paused;
                }
            }
            Op::RestartModule(_) => {
                let legal = !stopped && module.state == ModuleState::Trapped;
                prop_assert_eq!(self.rt.restart_module(id).is_ok(), legal);
                if legal {
                    (module.state, module.latch, module.last_start) = (ModuleState::Running, 0, None);
                }
            }
            _ => {
                let expected = self.world.run_step(index);
                prop_assert_eq!(self.rt.run_step(id).map_err(|e| e.kind()), expected);
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), TestCaseError> {
        if self.world.stopped {
            prop_assert_eq!(self.rt.tick().unwrap_err().kind(), ErrorKind::WrongState);
            return Ok(());
        }
        let expected = self.world.tick();
        let ran: Vec<_> =
            self.rt.tick().unwrap().outcomes().iter().map(|o| (o.module, o.result.is_ok())).collect();
        prop_assert_eq!(ran, expected);
        Ok(())
    }

    /// Everything that can be seen is the same on both sides.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.rt.next_deadline_us(), self.world.next_deadline());
        for module in &self.world.modules {
            let info = self.rt.module(module.id).unwrap();
            let held = self.world.stopped && module.state == ModuleState::Running;
            prop_assert_eq!(info.state, if held { ModuleState::Paused } else { module.state });
            prop_assert_eq!(info.latch.bits(), module.latch, "latch of {}", info.name);
        }
        prop_assert_eq!(self.rt.modules().count(), self.world.modules.len());
        Ok(())
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let interval = prop_oneof![Just(0), Just(1), Just(10), 0..200u32, Just(u32::MAX)];
    (0..8u32, interval, 0..16u32, 0..4u8).prop_map(|(activation, step_interval_us, events, priority)| {
        Policy {
            capabilities: Capabilities::EVENT_POST | Capabilities::from_bits(1 << 8),
            activation: Activation::from_bits(activation).unwrap(),
            step_interval_us,
            // Four events that are often posted, at both ends of the range.
            event_subscribe: EventMask::from_bits((events & 3) | (events >> 2) << 30),
            priority,
            ..Policy::default()
        }
    })
}

fn events() -> impl Strategy<Value = u32> {
    prop_oneof![0..2u32, 30..32u32]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::Nothing),
        1 => Just(Act::Trap),
        3 => events().prop_map(Act::Post),
        1 => (0..50u64).prop_map(Act::Take),
    ];
    proptest::collection::vec(act, 1..5)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let any = 0..16usize;
    let clock = prop_oneof![0..500u64, (u64::MAX - 300)..=u64::MAX];
    let op = prop_oneof![
        4 => (policies(), acts()).prop_map(|(p, a)| Op::Load(p, a)),
        1 => any.clone().prop_map(Op::Unload),
        5 => any.clone().prop_map(Op::Start),
        2 => any.clone().prop_map(Op::Pause),
        3 => any.clone().prop_map(Op::RunStep),
        2 => any.prop_map(Op::RestartModule),
        5 => events().prop_map(Op::Post),
        1 => events().prop_map(Op::Clear),
        10 => Just(Op::Tick),
        1 => Just(Op::Stop),
        3 => Just(Op::Restart),
        5 => prop_oneof![Just(0), Just(1), 0..250u64].prop_map(Op::Advance),
        1 => clock.prop_map(Op::SetClock),
    ];
    proptest::collection::vec(op, 1..80)
}

/// As many as `PROPTEST_CASES` says; else what takes about two seconds.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the host does, and however its clock goes (backwards, wrapping, standing still), the runtime runs the
    /// modules that the model runs, in the same order.
    #[test]
    fn behaves_as_the_model(ops in ops()) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op)?;
            pair.compare()?;
        }
    }
}

/// Ten thousand modules in one runtime: each is there, and those that are not due cost a tick nothing.
#[test]
fn ten_thousand_modules() {
    let idle = artifact(crate::IDLE, Metering::Wall);
    let waiting = Policy {
        activation: Activation::EVENT,
        event_subscribe: EventMask::from_bits(1 << 9),
        ..Policy::default()
    };
    let with_modules = |count: u32| {
        let application = Application { max_modules: count, ..Application::default() };
        let mut rt = Runtime::new(RuntimeConfig::new(application), ManualPlatform::new()).unwrap();
        for i in 0..count {
            let id = rt.load(&format!("m{i}"), &idle, &waiting).unwrap();
            rt.start(id).unwrap();
        }
        rt
    };
    // The fastest of many, which a busy machine cannot make faster.
    let idle_tick = |rt: &mut Runtime| {
        let ticks = (0..2000).map(|_| {
            let begun = std::time::Instant::now();
            assert!(rt.tick().unwrap().outcomes().is_empty());
            begun.elapsed()
        });
        ticks.min().unwrap()
    };
    let (mut few, mut many) = (with_modules(10), with_modules(10_000));
    assert_eq!(many.load("more", &idle, &waiting).unwrap_err().kind(), ErrorKind::ModuleLimit);
    let (ten, ten_thousand) = (idle_tick(&mut few), idle_tick(&mut many));
    assert!(
        ten_thousand < ten * 20 + std::time::Duration::from_micros(2),
        "{ten:?} with 10 modules, {ten_thousand:?} with 10,000"
    );
    many.post_event(EventId::new(9).unwrap());
    assert_eq!(many.tick().unwrap().outcomes().len(), 10_000);
}

/// Runtimes in one process share nothing: events, names, stops and failures stay where they are.
#[test]
fn two_runtimes_know_nothing_of_each_other() {
    let ((mut a, _), (mut b, _)) = (manual_runtime(Metering::Wall), manual_runtime(Metering::Fuel));
    let policy = Policy {
        activation: Activation::EVENT,
        event_subscribe: EventMask::from_bits(1),
        ..Policy::default()
    };
    let trap = r#"(module (func (export "module_step") unreachable))"#;
    let in_a = a.load("same", &artifact(trap, Metering::Wall), &policy).unwrap();
    let in_b = b.load("same", &artifact(crate::IDLE, Metering::Fuel), &policy).unwrap();
    a.start(in_a).unwrap();
    b.start(in_b).unwrap();
    a.post_event(EventId::new(0).unwrap());
    assert!(b.tick().unwrap().outcomes().is_empty());
    assert_eq!(a.tick().unwrap().failed().count(), 1);
    a.stop().unwrap();
    b.post_event(EventId::new(0).unwrap());
    assert_eq!(b.tick().unwrap().outcomes().len(), 1);
    assert_eq!(b.log().next_sequence(), 0);
    drop(a);
    b.run_step(in_b).unwrap();
}
