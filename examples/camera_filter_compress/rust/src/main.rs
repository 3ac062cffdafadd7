//! camera_filter_compress: two modules in a chain, neither of which polls.
//!
//! The camera interrupts when it has a frame: a signal handler posts CAMERA_FRAME_READY.
//! `frame_filter` wakes on that, computes the frame's variance and posts DATA_CAPTURED when the
//! frame is worth keeping; `frame_compress` wakes on that, in the same tick, and sends the
//! encoded frame to a HAL group that this program registers.
//!
//! This program decodes each packet, compares it with the frame byte for byte, and fails when
//! one differs.

#![deny(unsafe_code)]

mod camera;
mod interrupt;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use fuse_edge::hal::{Param, Value, ValueType};
use fuse_edge::log::LogSource;
use fuse_edge::{AppConfig, HalGroup, LinuxPlatform, Runtime, RuntimeConfig};
use fuse_example_frames::{Outcome, Report, SWEEP, Sky};

use crate::camera::{Camera, Newest};
use crate::interrupt::Interrupt;

/// Keeps and compresses the camera frames that are worth it, in two modules under policy, and
/// checks that nothing was lost.
#[derive(Parser)]
struct Options {
    /// Frames to take.
    #[arg(long, default_value_t = SWEEP)]
    frames: u32,
    /// Folder for contact_sheet.png and summary.tsv.
    #[arg(long, default_value = "target/examples/camera_filter_compress")]
    out: PathBuf,
    /// The application: its policies, and beside it the modules.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../app_config.json"))]
    config: PathBuf,
    /// The language that frame_filter was written in.
    #[arg(long, value_enum, default_value_t = Language::C)]
    filter: Language,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    C,
    Cpp,
    Rust,
    Zig,
}

impl Language {
    const fn binary(self) -> &'static str {
        match self {
            Self::C => "modules/frame_filter.wasm",
            Self::Cpp => "modules/frame_filter_cpp.wasm",
            Self::Rust => "modules/frame_filter_rust.wasm",
            Self::Zig => "modules/frame_filter_zig.wasm",
        }
    }
}

/// What arrived at the downlink.
type Downlink = Arc<Mutex<Option<Vec<u8>>>>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("camera_filter_compress: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let (newest, downlink) = (Newest::default(), Downlink::default());
    let mut runtime = boot(options, &newest, &downlink)?;
    let frame_ready =
        runtime.config().application.event("CAMERA_FRAME_READY").ok_or("no CAMERA_FRAME_READY")?;
    let mut interrupt = Interrupt::install(runtime.poster(), frame_ready)?;
    let mut report =
        Report::begin("camera_filter_compress: only frames with something in them", &options.out)?;

    let camera = Camera::start(Sky::load()?, options.frames, &newest)?;
    for _ in 0..options.frames {
        interrupt.wait()?;
        let frame = camera.newest().ok_or("an interrupt without a frame")?;
        let seen = runtime.log().next_sequence();
        let began = Instant::now();
        runtime.tick()?;
        let took = began.elapsed();
        let packet = downlink.lock().unwrap_or_else(PoisonError::into_inner).take();
        report.add(&frame, &Outcome { packet, why: verdict_line(&runtime, seen), took });
        camera.resume();
    }
    camera.end()?;

    let totals = report.end()?;
    let judged = print_end(&mut runtime)?;
    Ok(judged && totals.failed == 0)
}

/// Makes the runtime, with the hardware behind its HAL, and loads and starts the application.
fn boot(options: &Options, newest: &Newest, downlink: &Downlink) -> Result<Runtime, Box<dyn Error>> {
    let config = &options.config;
    let json = fs::read_to_string(config).map_err(|e| format!("cannot read {}: {e}", config.display()))?;
    let app = AppConfig::from_json(&json).map_err(|e| format!("{}: {e}", config.display()))?;
    let mut runtime = Runtime::new(RuntimeConfig::new(app.application.clone()), LinuxPlatform::new()?)?;
    connect(&mut runtime, newest, downlink)?;

    let folder = config.parent().unwrap_or(Path::new("."));
    for module in &app.modules {
        let filter = module.name == "frame_filter" && options.filter != Language::C;
        let binary = if filter { options.filter.binary() } else { &module.binary };
        let id = runtime.load_file(&module.name, folder.join(binary), &module.policy)?;
        runtime.start(id)?;
    }
    Ok(runtime)
}

/// Connects the camera and the downlink.
fn connect(runtime: &mut Runtime, newest: &Newest, downlink: &Downlink) -> fuse_edge::Result<()> {
    let newest = newest.clone();
    runtime.set_camera(move |buffer| {
        let frame = newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pixels = frame.as_ref().map_or(&[][..], |frame| &frame.pixels);
        let len = pixels.len().min(buffer.len());
        buffer[..len].copy_from_slice(&pixels[..len]);
        Ok(len)
    });
    let downlink = downlink.clone();
    runtime.register_group(HalGroup::new("downlink", 8).function(
        "downlink_write",
        &[Param::In],
        Some(ValueType::I32),
        move |call| {
            let packet = call.buffer(0).to_vec();
            let accepted = i32::try_from(packet.len()).unwrap_or(i32::MAX);
            *downlink.lock().unwrap_or_else(PoisonError::into_inner) = Some(packet);
            Ok(Some(Value::I32(accepted)))
        },
    ))
}

/// What frame_filter said of the frame: the part of its log line after the verdict.
fn verdict_line(runtime: &Runtime, from: u64) -> String {
    let lines = runtime.log().read_from(from).map(|record| record.text.as_str());
    let mut verdicts = lines.filter_map(|line| line.strip_prefix("frame_filter: "));
    let said = verdicts.next().unwrap_or("no verdict");
    said.split_once(", ").map_or(said, |(_, why)| why).to_owned()
}

/// Prints what each module did, unloads them and prints what they say at their end. Says whether
/// no module failed.
fn print_end(runtime: &mut Runtime) -> Result<bool, Box<dyn Error>> {
    println!();
    println!("{:<16} {:<8} {:>6} {:>10} {:>10} {:>10}", "module", "state", "steps", "p50", "max", "memory");
    let mut ids = Vec::new();
    for module in runtime.modules() {
        let (stats, time) = (module.stats, &module.stats.step_time);
        println!(
            "{:<16} {:<8} {:>6} {:>7} us {:>7} us {:>6} KiB",
            module.name,
            module.state.to_string(),
            stats.steps,
            time.quantile_ns(500) / 1000,
            time.max_ns() / 1000,
            stats.memory_peak_bytes / 1024
        );
        ids.push(module.id);
    }
    let before = runtime.log().next_sequence();
    for id in ids {
        runtime.unload(id)?;
    }
    for record in runtime.log().read_from(before) {
        println!("{}", record.text.as_str());
    }
    let mut failures = runtime.log().read_from(0).filter(|record| record.source == LogSource::Security);
    let first = failures.next();
    if let Some(record) = first {
        println!("security log: {}", record.text.as_str());
    }
    Ok(first.is_none())
}
