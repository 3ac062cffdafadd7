//! The loop that drives an application: frames and events at their times, ticks when something is due.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use fuse_edge::log::LogSource;
use fuse_edge::{
    Application, Capabilities, EventId, LinuxPlatform, ModuleId, ModuleState, Runtime, RuntimeConfig,
    STACK_BYTES_LIMIT, StepTiming,
};

use super::Happening;
use super::clock::RunClock;
use super::progress::Progress;
use super::report::{Ended, LogEntry, ModuleReport, RunReport};
use super::sink::{Names, Sink};
use super::temperature;
use crate::module::application::ApplicationFile;
use crate::module::camera::{Camera, Frame};
use crate::module::groups::{stand_in, unanswerable};
use crate::outcome::{Failure, Outcome};

/// Longest sleep, so that a progress bar moves.
const NAP: Duration = Duration::from_millis(100);

/// What is to happen in a run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) frames: Vec<Arc<Frame>>,
    pub(super) frame_interval: Duration,
    pub(super) frame_event: Option<EventId>,
    pub(super) frames_max: Option<u64>,
    pub(super) duration: Option<Duration>,
    /// By time.
    pub(super) posts: Vec<(Duration, EventId)>,
    pub(super) temperature: Option<PathBuf>,
    pub(super) sinks: Vec<(String, PathBuf)>,
}

impl Plan {
    /// How many frames are shown; none when the run is not bounded by them.
    fn frame_count(&self) -> Option<u64> {
        match (self.frames_max, self.frames.len() as u64) {
            (_, 0) => None,
            (Some(max), _) => Some(max),
            (None, all) => self.duration.is_none().then_some(all),
        }
    }

    /// When the last frame has been there for its whole time.
    fn frames_end(&self) -> Option<Duration> {
        self.frame_count().map(|n| self.frame_interval.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX)))
    }

    /// When the run ends, and why.
    fn end(&self) -> Option<(Duration, Ended)> {
        let frames = self.frames_end().map(|at| (at, Ended::Frames));
        let duration = self.duration.map(|at| (at, Ended::Duration));
        frames.into_iter().chain(duration).min_by_key(|(at, _)| *at)
    }

    /// What comes next after `frames` frames and `posts` posts, and when.
    fn next(&self, frames: u64, posts: usize) -> Option<(Duration, Happening)> {
        let more = !self.frames.is_empty() && self.frame_count().is_none_or(|count| frames < count);
        let at = self.frame_interval.saturating_mul(u32::try_from(frames).unwrap_or(u32::MAX));
        let frame = more.then_some((at, Happening::Frame(self.frame_event)));
        let post = self.posts.get(posts).map(|(at, event)| (*at, Happening::Post(*event)));
        post.into_iter().chain(frame).min_by_key(|(at, _)| *at)
    }

    /// What is due at `now`. Nothing is skipped, however late it is; only frames stop with the time of the run.
    fn due(&self, now: Duration, frames: u64, posts: usize) -> Option<(Duration, Happening)> {
        match self.duration {
            Some(end) if now >= end => {
                let (at, event) = self.posts.get(posts).filter(|(at, _)| *at < end)?;
                Some((*at, Happening::Post(*event)))
            }
            _ => self.next(frames, posts).filter(|(at, _)| *at <= now),
        }
    }

    /// Whether the run is over: its time has passed, and what was to happen before has happened.
    fn ended(&self, now: Duration, frames: u64, posts: usize) -> Option<Ended> {
        let (at, why) = self.end().filter(|(at, _)| now >= *at)?;
        let posted = self.posts.get(posts).is_none_or(|(time, _)| *time >= at);
        let shown = why != Ended::Frames || self.frame_count().is_none_or(|count| frames >= count);
        if posted && shown {
            return Some(why);
        }
        let over = self.duration.is_some_and(|end| now >= end) && self.due(now, frames, posts).is_none();
        over.then_some(Ended::Duration)
    }
}

/// A run under way.
pub(super) struct Run {
    runtime: Runtime,
    application: Application,
    plan: Plan,
    camera: Camera,
    names: Names,
    ids: Vec<ModuleId>,
    sinks: Vec<Sink>,
    temperature: Option<PathBuf>,
    progress: Progress,
    clock: RunClock,
    /// When loading began.
    loading: Instant,
    /// The platform's time at the start, µs.
    start_us: u64,
    log_next: u64,
    /// Entries that were overwritten between two ticks.
    log_lost: u64,
    ticks: u64,
    frames: u64,
    posts: usize,
    events_posted: u64,
}

impl Run {
    /// Loads and starts the application. Nothing has been stepped when this fails.
    pub(super) fn new(file: &ApplicationFile, plan: Plan, json: bool) -> Outcome<Self> {
        let application = file.app.application.clone();
        let names = Names::default();
        let clock = RunClock::default();
        let sinks = sinks(&application, &plan.sinks, &names, &clock)?;
        let temperature = match application.hal_groups.contains(Capabilities::TEMP_SENSOR) {
            true => temperature::source(plan.temperature.as_deref())?,
            false => None,
        };
        let config = RuntimeConfig {
            stack_bytes_max: STACK_BYTES_LIMIT,
            step_timing: StepTiming::Every,
            ..RuntimeConfig::new(application.clone())
        };
        let refused = |why: String| Failure::Refused { what: application.name.clone(), why };
        let platform = LinuxPlatform::new().map_err(|e| refused(e.to_string()))?;
        let start_us = fuse_edge::Platform::timestamp_us(&platform);
        let loading = Instant::now();
        let mut runtime = Runtime::new(config, platform).map_err(|e| refused(e.to_string()))?;
        let camera = Camera::default();
        camera.install(&mut runtime);
        let time = clock.clone();
        runtime.set_timer(move || Ok(i64::try_from(time.micros()).unwrap_or(i64::MAX)));
        if let Some(file) = temperature.clone() {
            runtime.set_temp(move || temperature::read(&file));
        }
        for (group, sink) in application.custom_groups.iter().zip(&sinks) {
            runtime.register_group(stand_in(group, sink)).map_err(|e| refused(e.to_string()))?;
        }
        let progress = Progress::new(plan.end().map(|(at, _)| at), json);
        let mut run = Self {
            runtime,
            application,
            plan,
            camera,
            names,
            ids: Vec::new(),
            sinks,
            temperature,
            progress,
            clock,
            loading,
            start_us,
            log_next: 0,
            log_lost: 0,
            ticks: 0,
            frames: 0,
            posts: 0,
            events_posted: 0,
        };
        run.load(file)?;
        Ok(run)
    }

    fn load(&mut self, file: &ApplicationFile) -> Outcome<()> {
        for module in &file.app.modules {
            let binary = file.binary(module)?;
            let loaded = self.runtime.load(&module.name, &binary, &module.policy);
            let id =
                loaded.map_err(|e| Failure::Refused { what: module.binary.clone(), why: e.to_string() })?;
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.insert(id.to_u64(), module.name.clone());
            self.ids.push(id);
        }
        self.start_us = self.start_us.saturating_add(micros(self.loading.elapsed()));
        self.clock.begin();
        for id in &self.ids {
            // A trap in module_init leaves the module Trapped; it is in the log and in the table.
            let _ = self.runtime.start(*id);
        }
        Ok(())
    }

    /// Drives the application until it ends.
    pub(super) fn drive(&mut self, interrupted: &Receiver<()>) -> Outcome<Ended> {
        loop {
            let now = self.clock.elapsed();
            self.happen(now);
            self.tick()?;
            if !self
                .ids
                .iter()
                .any(|id| self.runtime.module(*id).is_ok_and(|m| m.state == ModuleState::Running))
            {
                return Ok(Ended::NoModuleRuns);
            }
            if let Some(why) = self.plan.ended(now, self.frames, self.posts) {
                // What the last step posted to a module that comes before it in the order of a tick.
                self.tick()?;
                return Ok(why);
            }
            match interrupted.recv_timeout(self.nap()) {
                Ok(()) => return Ok(Ended::Interrupted),
                Err(RecvTimeoutError::Timeout) => {}
                // The handler lives as long as the program; without it, sleep all the same.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(self.nap()),
            }
        }
    }

    /// Lets happen what is due, one moment at a time: what was to happen at different times is seen by different
    /// ticks, however late it is.
    fn happen(&mut self, now: Duration) {
        let Some((moment, _)) = self.plan.due(now, self.frames, self.posts) else { return };
        while let Some((at, happening)) = self.plan.due(now, self.frames, self.posts)
            && at == moment
        {
            let event = match happening {
                Happening::Post(event) => {
                    self.posts += 1;
                    Some(event)
                }
                Happening::Frame(event) => {
                    self.show_frame();
                    event
                }
            };
            if let Some(event) = event {
                let at_us = self.start_us.saturating_add(micros(at));
                self.runtime.poster().post_at(event, at_us);
                self.events_posted += 1;
            }
        }
    }

    fn show_frame(&mut self) {
        let index = usize::try_from(self.frames).unwrap_or(0) % self.plan.frames.len().max(1);
        if let Some(frame) = self.plan.frames.get(index) {
            self.camera.show(frame);
        }
        self.frames += 1;
    }

    fn tick(&mut self) -> Outcome<()> {
        let tick = self.runtime.tick().map(|report| report.outcomes().len());
        let ran =
            tick.map_err(|e| Failure::Refused { what: self.application.name.clone(), why: e.to_string() })?;
        self.ticks += u64::from(ran > 0);
        self.drain_log();
        let (frames, ticks) = (self.frames, self.ticks);
        self.progress.show(self.clock.elapsed(), || format!("{ticks} ticks, {frames} frames"));
        Ok(())
    }

    /// How long nothing can happen.
    fn nap(&mut self) -> Duration {
        let now = self.clock.elapsed();
        let due = self.runtime.next_deadline_us().map(Duration::from_micros);
        let next = self.plan.next(self.frames, self.posts).map(|(at, _)| at.saturating_sub(now));
        let end = self.plan.end().map(|(at, _)| at.saturating_sub(now));
        [due, next, end].into_iter().flatten().chain([NAP]).min().unwrap_or(NAP)
    }

    fn drain_log(&mut self) {
        let log = self.runtime.log();
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read = 0;
        for record in log.read_from(self.log_next) {
            read += 1;
            self.progress.log(LogEntry {
                sequence: record.sequence,
                time_us: record.timestamp_us.saturating_sub(self.start_us),
                module: record.module.and_then(|id| names.get(&id.to_u64()).cloned()),
                level: record.level.name(),
                source: match record.source {
                    LogSource::Module => "module",
                    LogSource::Security => "security",
                },
                text: record.text.as_str().to_owned(),
            });
        }
        self.log_lost += (log.next_sequence() - self.log_next).saturating_sub(read);
        self.log_next = log.next_sequence();
    }

    /// Unloads everything, so that each `module_deinit` runs, and says what was.
    pub(super) fn finish(mut self, ended: Ended, config: &Path) -> RunReport {
        let elapsed_us = self.clock.micros();
        let fuel = self.application.metering.has_fuel();
        let modules = self
            .ids
            .iter()
            .filter_map(|id| self.runtime.module(*id).ok())
            .map(|info| ModuleReport::of(&info, fuel))
            .collect();
        for id in &self.ids {
            // The id is of a loaded module, and a failing deinit is in the log.
            let _ = self.runtime.unload(*id);
        }
        self.drain_log();
        self.progress.end();
        RunReport {
            config: config.display().to_string(),
            application: self.application.name.clone(),
            ended,
            elapsed_us,
            ticks: self.ticks,
            frames_shown: self.frames,
            events_posted: self.events_posted,
            temperature_source: self.temperature.map(|path| path.display().to_string()),
            modules,
            sinks: self.sinks.iter().map(Sink::taken).collect(),
            log_lost: self.progress.dropped + self.log_lost,
            log: self.progress.entries,
            sink_failure: self.sinks.iter().find_map(Sink::failure).into(),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A sink for each host group of the application.
fn sinks(
    application: &Application,
    asked: &[(String, PathBuf)],
    names: &Names,
    clock: &RunClock,
) -> Outcome<Vec<Sink>> {
    for (group, _) in asked {
        if !application.custom_groups.iter().any(|g| g.name == *group) {
            let known: Vec<&str> = application.custom_groups.iter().map(|g| g.name.as_str()).collect();
            let known =
                if known.is_empty() { "the application declares none".into() } else { known.join(", ") };
            return Err(Failure::Usage(format!("--sink {group}: no such host group ({known})")));
        }
    }
    for group in &application.custom_groups {
        if let Some(function) = unanswerable(group).first() {
            let why = format!(
                "the host group `{}` has `{function}`, which hands data to the module; `fuse module run` can only stand \
                 in for functions that take numbers and `in` buffers. A host program that registers the group can run it",
                group.name
            );
            return Err(Failure::Refused { what: application.name.clone(), why });
        }
    }
    let folder = |name: &str| asked.iter().find(|(group, _)| group == name).map(|(_, dir)| dir.as_path());
    application
        .custom_groups
        .iter()
        .map(|group| Sink::new(group, folder(&group.name), names, clock))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(frames: usize) -> Plan {
        Plan {
            frames: (0..frames).map(|_| Arc::new(Frame { name: String::new(), bytes: Vec::new() })).collect(),
            frame_interval: Duration::from_millis(10),
            frame_event: None,
            frames_max: None,
            duration: None,
            posts: Vec::new(),
            temperature: None,
            sinks: Vec::new(),
        }
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn what_ends_a_run() {
        assert_eq!(plan(0).end(), None);
        assert_eq!(plan(3).end(), Some((MS(30), Ended::Frames)));
        assert_eq!(Plan { frames_max: Some(7), ..plan(3) }.end(), Some((MS(70), Ended::Frames)));
        assert_eq!(Plan { duration: Some(MS(5)), ..plan(3) }.end(), Some((MS(5), Ended::Duration)));
        let both = Plan { duration: Some(MS(500)), frames_max: Some(2), ..plan(3) };
        assert_eq!(both.end(), Some((MS(20), Ended::Frames)));
    }

    #[test]
    fn frames_and_posts_come_in_the_order_of_their_times() {
        let event = EventId::new(3).unwrap();
        let plan = Plan { posts: vec![(MS(10), event), (MS(99), event)], ..plan(2) };
        assert_eq!(plan.next(0, 0), Some((MS(0), Happening::Frame(None))));
        assert_eq!(
            plan.next(1, 0),
            Some((MS(10), Happening::Post(event))),
            "a post comes before a frame of its time"
        );
        assert_eq!(plan.next(1, 1), Some((MS(10), Happening::Frame(None))));
        assert_eq!(plan.next(2, 1), Some((MS(99), Happening::Post(event))));
        assert_eq!(plan.next(2, 2), None);
    }

    #[test]
    fn a_late_run_catches_up_before_it_ends() {
        let event = EventId::new(3).unwrap();
        let plan = Plan { posts: vec![(MS(5), event), (MS(200), event)], ..plan(2) };
        // Everything is late: the first frame comes first, then the post, then the second frame.
        assert_eq!(plan.due(MS(500), 0, 0), Some((MS(0), Happening::Frame(None))));
        assert_eq!(plan.ended(MS(500), 0, 0), None);
        assert_eq!(plan.due(MS(500), 1, 0), Some((MS(5), Happening::Post(event))));
        assert_eq!(plan.ended(MS(500), 2, 0), None, "a post is missing");
        assert_eq!(plan.ended(MS(500), 2, 1), Some(Ended::Frames), "the other post comes after the end");
        assert_eq!(plan.ended(MS(19), 2, 1), None);
    }

    #[test]
    fn when_its_time_is_over_a_run_shows_no_frame_any_more_but_posts_what_is_late() {
        let event = EventId::new(3).unwrap();
        let plan = Plan { posts: vec![(MS(5), event)], duration: Some(MS(15)), ..plan(2) };
        assert_eq!(plan.ended(MS(16), 0, 0), None);
        assert_eq!(plan.due(MS(16), 0, 0), Some((MS(5), Happening::Post(event))));
        assert_eq!((plan.due(MS(16), 0, 1), plan.ended(MS(16), 0, 1)), (None, Some(Ended::Duration)));
        let both = Plan { frames_max: Some(1), duration: Some(MS(15)), posts: Vec::new(), ..plan };
        assert_eq!(both.ended(MS(12), 1, 0), Some(Ended::Frames));
        assert_eq!(both.ended(MS(12), 0, 0), None);
        assert_eq!(both.ended(MS(16), 0, 0), Some(Ended::Duration));
    }

    #[test]
    fn with_a_duration_frames_go_round() {
        let plan = Plan { duration: Some(MS(1000)), ..plan(2) };
        assert_eq!(plan.next(50, 0), Some((MS(500), Happening::Frame(None))));
    }
}
