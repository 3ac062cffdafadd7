//! What modules really take: fuel, stack and memory of trial steps.

use std::sync::Arc;

use fuse_edge::artifact::{self, CompileOptions};
use fuse_edge::{
    Activation, AppConfig, EventId, EventMask, Failure, LinuxPlatform, ManualClock, ManualPlatform, Metering,
    ModuleId, Policy, Quota, Runtime, RuntimeConfig, STACK_BYTES_LIMIT, STACK_BYTES_MIN,
};
use serde::Serialize;

use crate::module::binary::Binary;
use crate::module::camera::{Camera, Frame};
use crate::module::config::Problem;
use crate::module::groups::{Nowhere, stand_in};
use crate::output::grouped;

/// CPU time for one step of a module whose policy has no quota, in µs.
const GUARD_US: u32 = 10_000_000;
/// Instructions for one step of such a module where CPU time is not metered.
const GUARD_FUEL: u64 = 20_000_000_000;

/// How often a module must fail by its CPU quota to count as failed.
const ATTEMPTS: u32 = 3;

/// What the steps of one module took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Measured {
    /// Steps that ended well.
    pub(crate) steps: u64,
    /// Most instructions of one step; none when no step was made.
    pub(crate) fuel_peak: Option<u64>,
    /// It ran under this many bytes of stack.
    pub(crate) stack_enough_bytes: Option<u32>,
    /// It did not run under this many; none when it ran under the least that is possible.
    pub(crate) stack_too_small_bytes: Option<u32>,
    pub(crate) memory_peak_bytes: u64,
    /// `well`, or how it failed.
    pub(crate) ended: String,
}

impl Measured {
    /// The stack in words.
    pub(crate) fn stack(&self) -> String {
        match (self.stack_too_small_bytes, self.stack_enough_bytes) {
            (Some(low), Some(high)) => {
                format!("{} to {} B", grouped(u64::from(low) + 1), grouped(u64::from(high)))
            }
            (None, Some(high)) => format!("at most {} B", grouped(u64::from(high))),
            _ => "?".into(),
        }
    }
}

/// The application, ready for as many fresh runtimes as it takes.
struct Trials<'a> {
    app: &'a AppConfig,
    /// Frames are larger where fuel is counted, so the stack is measured under the application's own metering.
    metering: Metering,
    /// Compiled for that metering; none where there is nothing to compile.
    artifacts: Vec<Option<Vec<u8>>>,
    steps: u32,
    frames: &'a [Arc<Frame>],
}

/// How one module came out of a trial.
#[derive(Clone, Debug)]
struct Trial {
    measured: Measured,
    failed: bool,
    /// Whether it failed by its CPU quota, or may have.
    out_of_time: bool,
}

/// A runtime in the middle of a trial.
struct Bench {
    runtime: Runtime,
    clock: ManualClock,
    camera: Camera,
    ids: Vec<Result<ModuleId, String>>,
}

/// Measures every module that can be.
pub(super) fn measure(
    app: &AppConfig,
    binaries: &[Option<Binary>],
    steps: u32,
    frames: &[Arc<Frame>],
    paths: &[String],
    problems: &mut Vec<Problem>,
) -> Vec<Option<Measured>> {
    let trials = Trials::new(app, app.application.metering, binaries, steps, frames);
    for (path, _) in paths.iter().zip(&trials.artifacts).filter(|(_, a)| a.is_none()) {
        let what = "--run did not measure it: there is no WebAssembly to compile for counting";
        problems.push(Problem::warning(format!("{path}.binary"), what));
    }
    let first = match trials.first() {
        Ok(first) => first,
        Err(why) => {
            problems.push(Problem::error("$", format!("--run could not make a runtime: {why}")));
            return vec![None; paths.len()];
        }
    };
    let fuel = trials.fuel(binaries);
    let mut out = Vec::new();
    for (index, (trial, path)) in first.into_iter().zip(paths).enumerate() {
        let Some(mut trial) = trial else {
            out.push(None);
            continue;
        };
        if trial.failed {
            problems.push(Problem::error(path.clone(), format!("--run: {}", trial.measured.ended)));
        } else {
            let limit = trials.app.modules.get(index).map_or(STACK_BYTES_MIN, |m| m.policy.stack_size);
            let (low, high) = trials.stack(index, limit);
            trial.measured.stack_too_small_bytes = low;
            trial.measured.stack_enough_bytes = Some(high);
        }
        if let Some(Some(fuel)) = fuel.as_ref().map(|fuel| fuel.get(index).copied().flatten()) {
            trial.measured.fuel_peak = Some(fuel);
        }
        out.push(Some(trial.measured));
    }
    out
}

/// The sizes that a runtime really tells apart, below `limit`: eight for each power of two.
fn sizes_below(limit: u32) -> Vec<u32> {
    let powers = (STACK_BYTES_MIN.ilog2()..=STACK_BYTES_LIMIT.ilog2()).map(|p| 1u32 << p);
    powers
        .flat_map(|power| (0..8).map(move |step| power + power / 8 * step))
        .filter(|size| *size < limit)
        .collect()
}

impl<'a> Trials<'a> {
    fn new(
        app: &'a AppConfig,
        metering: Metering,
        binaries: &[Option<Binary>],
        steps: u32,
        frames: &'a [Arc<Frame>],
    ) -> Self {
        let options = CompileOptions { metering, portable: false, ..CompileOptions::default() };
        let compiled = |binary: &Option<Binary>| {
            let wasm = binary.as_ref()?.wasm.as_ref()?;
            artifact::compile(wasm, &options).ok()
        };
        Self { app, metering, artifacts: binaries.iter().map(compiled).collect(), steps, frames }
    }

    /// The trial under the policies as they are. CPU quotas end steps on a busy machine that they would not end on
    /// an idle one, so a module counts as failed by one only if it fails again and again.
    fn first(&self) -> Result<Vec<Option<Trial>>, String> {
        let mut trials = self.run(None)?;
        for _ in 1..ATTEMPTS {
            if !trials.iter().flatten().any(|t| t.out_of_time) {
                break;
            }
            for (kept, again) in trials.iter_mut().zip(self.run(None)?) {
                if kept.as_ref().is_some_and(|t| t.out_of_time) {
                    *kept = again;
                }
            }
        }
        Ok(trials)
    }

    /// The peak of instructions of each module; nothing where the trials count them anyway.
    fn fuel(&self, binaries: &[Option<Binary>]) -> Option<Vec<Option<u64>>> {
        if self.metering.has_fuel() {
            return None;
        }
        let counting = Trials::new(self.app, Metering::Both, binaries, self.steps, self.frames);
        let trials = counting.run(None).ok()?;
        Some(trials.into_iter().map(|t| t.and_then(|t| t.measured.fuel_peak)).collect())
    }

    /// The largest stack that was too small for a module, and the smallest that was enough.
    fn stack(&self, module: usize, limit: u32) -> (Option<u32>, u32) {
        let sizes = sizes_below(limit);
        let enough = |size: u32| match self.run(Some((module, size))) {
            Ok(trials) => trials.get(module).and_then(Option::as_ref).is_some_and(|t| !t.failed),
            Err(_) => false,
        };
        let too_small = sizes.partition_point(|size| !enough(*size));
        let low = too_small.checked_sub(1).and_then(|i| sizes.get(i)).copied();
        (low, sizes.get(too_small).copied().unwrap_or(limit))
    }

    /// The policy under which a module is tried: its own, with a guard where it has no quota. While the stack is
    /// searched, only the stack may end a step.
    fn policy(&self, own: &Policy, stack: Option<u32>) -> Policy {
        let mut policy = own.clone();
        if let Some(stack_size) = stack {
            (policy.stack_size, policy.cpu_quota_us, policy.fuel_quota) = (stack_size, 0, 0);
        }
        if policy.cpu_quota_us == 0 && policy.fuel_quota == 0 {
            match self.metering.has_wall() {
                true => policy.cpu_quota_us = GUARD_US,
                false => policy.fuel_quota = GUARD_FUEL,
            }
        }
        policy
    }

    /// One trial on a fresh runtime, the stack of one module changed if asked for.
    fn run(&self, stack: Option<(usize, u32)>) -> Result<Vec<Option<Trial>>, String> {
        let mut bench = self.bench(stack)?;
        let longest =
            self.app.modules.iter().map(|m| u64::from(m.policy.step_interval_us)).max().unwrap_or(0);
        for round in 0..self.steps {
            bench.clock.advance_us(longest + 1);
            if let Some(frame) = self.frames.get(round as usize % self.frames.len().max(1)) {
                bench.camera.show(frame);
            }
            self.round(&mut bench)?;
            if let Some((module, _)) = stack
                && bench.failure(module).is_some()
            {
                break;
            }
        }
        Ok((0..self.app.modules.len()).map(|index| self.trial(&bench, index)).collect())
    }

    fn bench(&self, stack: Option<(usize, u32)>) -> Result<Bench, String> {
        let application = fuse_edge::Application { metering: self.metering, ..self.app.application.clone() };
        let config = RuntimeConfig { stack_bytes_max: STACK_BYTES_LIMIT, ..RuntimeConfig::new(application) };
        let quota = LinuxPlatform::new().map_err(|e| e.to_string())?;
        let platform = ManualPlatform::with_quota_timer(quota);
        let clock = platform.clock();
        let mut runtime = Runtime::new(config, platform).map_err(|e| e.to_string())?;
        for group in &self.app.application.custom_groups {
            runtime.register_group(stand_in(group, &Nowhere)).map_err(|e| e.to_string())?;
        }
        let camera = Camera::default();
        camera.install(&mut runtime);
        let now = clock.clone();
        runtime.set_timer(move || Ok(i64::try_from(now.now_us()).unwrap_or(i64::MAX)));
        let mut ids = Vec::new();
        for (index, (module, artifact)) in self.app.modules.iter().zip(&self.artifacts).enumerate() {
            let policy =
                self.policy(&module.policy, stack.filter(|(m, _)| *m == index).map(|(_, size)| size));
            ids.push(match artifact {
                None => Err("not measured".to_owned()),
                Some(artifact) => {
                    let loaded = runtime.load(&module.name, artifact, &policy);
                    loaded.and_then(|id| runtime.start(id).map(|()| id)).map_err(|e| e.to_string())
                }
            });
        }
        Ok(Bench { runtime, clock, camera, ids })
    }

    /// Wakes every module once.
    fn round(&self, bench: &mut Bench) -> Result<(), String> {
        let wanted = self.app.modules.iter().fold(0, |all, m| all | m.policy.event_subscribe.bits());
        for event in EventMask::from_bits(wanted).iter().collect::<Vec<EventId>>() {
            bench.runtime.post_event(event);
        }
        bench.runtime.tick().map_err(|e| e.to_string())?;
        for (module, id) in self.app.modules.iter().zip(&bench.ids) {
            if let Ok(id) = id
                && module.policy.activation == Activation::MANUAL
            {
                // A failed step is in the state of the module, and read from there.
                let _ = bench.runtime.run_step(*id);
            }
        }
        Ok(())
    }

    fn trial(&self, bench: &Bench, index: usize) -> Option<Trial> {
        self.artifacts.get(index)?.as_ref()?;
        let failure = bench.failure(index);
        let info = bench.ids.get(index)?.as_ref().ok().and_then(|id| bench.runtime.module(*id).ok());
        let stats = info.map(|info| *info.stats).unwrap_or_default();
        let measured = Measured {
            steps: stats.steps,
            fuel_peak: (stats.steps > 0 && self.metering.has_fuel()).then_some(stats.fuel_peak),
            stack_enough_bytes: None,
            stack_too_small_bytes: None,
            memory_peak_bytes: stats.memory_peak_bytes,
            ended: failure.clone().unwrap_or_else(|| "well".into()),
        };
        let out_of_time = match bench.ids.get(index)? {
            // Why is not told apart here; loading is quick, and may have taken too long.
            Err(_) => true,
            Ok(id) => {
                let failure = bench.runtime.module(*id).ok().and_then(|info| info.failure);
                matches!(failure, Some(Failure::Quota(Quota::Wall { .. })))
            }
        };
        Some(Trial { measured, failed: failure.is_some(), out_of_time })
    }
}

impl Bench {
    /// How a module failed, if it did.
    fn failure(&self, module: usize) -> Option<String> {
        match self.ids.get(module)? {
            Err(why) => Some(why.clone()),
            Ok(id) => {
                let info = self.runtime.module(*id).ok()?;
                info.failure.map(|failure| format!("after {} steps: {failure}", info.stats.steps))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_a_runtime_tells_apart() {
        let sizes = sizes_below(4096);
        assert_eq!(&sizes[..9], &[1024, 1152, 1280, 1408, 1536, 1664, 1792, 1920, 2048]);
        assert!(sizes.iter().all(|s| *s < 4096) && sizes.is_sorted());
        assert!(sizes_below(STACK_BYTES_MIN).is_empty());
    }
}
