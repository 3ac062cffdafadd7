//! camera_compress: a module that the runtime steps at an interval takes each camera frame,
//! run-length encodes it without loss and hands it to a HAL group that this program registers.
//! A second module asks for a sensor that its policy does not grant, and is stopped for it; the
//! first does not notice.
//!
//! This program decodes each packet, compares it with the frame byte for byte, and fails when
//! one differs.

#![forbid(unsafe_code)]

mod hal;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use fuse_edge::log::LogSource;
use fuse_edge::{AppConfig, ErrorKind, LinuxPlatform, ModuleState, Runtime, RuntimeConfig};
use fuse_example_frames::{Outcome, Report, SWEEP, Sky};

use crate::hal::Hardware;

/// Compresses camera frames in a module under policy, and checks that nothing was lost.
#[derive(Parser)]
struct Options {
    /// Frames to take.
    #[arg(long, default_value_t = SWEEP)]
    frames: u32,
    /// Folder for contact_sheet.png and summary.tsv.
    #[arg(long, default_value = "target/examples/camera_compress")]
    out: PathBuf,
    /// The application: its policies, and beside it the modules.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../app_config.json"))]
    config: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("camera_compress: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let sky = Sky::load()?;
    let hardware = Hardware::default();
    let mut runtime = boot(&options.config, &hardware)?;
    let mut report = Report::begin("camera_compress: every frame, encoded in a module", &options.out)?;

    let mut seen = runtime.log().next_sequence();
    for number in 0..options.frames {
        let frame = sky.frame(number);
        hardware.expose(&frame);
        let took = step_until_due(&mut runtime)?;
        let packet = hardware.take_packet();
        let why = if packet.is_some() { "taken".to_owned() } else { last_line(&runtime, seen) };
        seen = runtime.log().next_sequence();
        report.add(&frame, &Outcome { packet, why, took });
    }

    let totals = report.end()?;
    let refused = print_modules(&runtime)?;
    Ok(refused && totals.kept == options.frames)
}

/// Makes the runtime, with the hardware behind its HAL, and loads and starts the application.
fn boot(config: &Path, hardware: &Hardware) -> Result<Runtime, Box<dyn Error>> {
    let json = fs::read_to_string(config).map_err(|e| format!("cannot read {}: {e}", config.display()))?;
    let app = AppConfig::from_json(&json).map_err(|e| format!("{}: {e}", config.display()))?;
    let mut runtime = Runtime::new(RuntimeConfig::new(app.application.clone()), LinuxPlatform::new()?)?;
    hardware.connect(&mut runtime)?;

    let folder = config.parent().unwrap_or(Path::new("."));
    for module in &app.modules {
        let id = runtime.load_file(&module.name, folder.join(&module.binary), &module.policy)?;
        runtime.start(id)?;
    }
    Ok(runtime)
}

/// Sleeps until something is due and ticks once; again, until camera_compress was among it.
/// Returns how long that tick took.
fn step_until_due(runtime: &mut Runtime) -> Result<Duration, Box<dyn Error>> {
    let compress = runtime.find("camera_compress")?;
    loop {
        let sleep = runtime.next_deadline_us().ok_or("no module is due any more")?;
        std::thread::sleep(Duration::from_micros(sleep));
        let began = Instant::now();
        let ran = runtime.tick()?.outcomes().iter().any(|outcome| outcome.module == compress);
        if ran {
            return Ok(began.elapsed());
        }
    }
}

/// The last log line from `from` on.
fn last_line(runtime: &Runtime, from: u64) -> String {
    runtime.log().read_from(from).last().map_or_else(String::new, |record| record.text.as_str().to_owned())
}

/// Prints what each module did, and the security log. Says whether thermal_probe was refused, and
/// only it.
fn print_modules(runtime: &Runtime) -> Result<bool, Box<dyn Error>> {
    println!();
    println!("{:<16} {:<8} {:>6} {:>10} {:>10} {:>10}", "module", "state", "steps", "p50", "max", "memory");
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
    }
    for record in runtime.log().read_from(0).filter(|record| record.source == LogSource::Security) {
        println!("security log: {}", record.text.as_str());
    }
    let probe = runtime.module(runtime.find("thermal_probe")?)?;
    let compress = runtime.module(runtime.find("camera_compress")?)?;
    let violated = probe.failure.is_some_and(|failure| failure.kind() == ErrorKind::PolicyViolation);
    Ok(violated && probe.state == ModuleState::Trapped && compress.state == ModuleState::Running)
}
