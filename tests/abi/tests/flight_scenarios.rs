//! The scenarios through the flight library: a program in C with one arena, a clock that the scenario moves, and pages that it
//! makes executable itself; once with native code, once with the interpreter. What the library has not got, a compiler and
//! JSON, a driver with the full library gives: it hands over artifacts and binary forms.
//!
//! `tests/flight/check.sh` builds the library, and names its folder in FUSE_FLIGHT_LIBRARIES.

mod player;

use std::path::{Path, PathBuf};

use fuse_abi::program::Build;
use fuse_conformance::scenario::Action;
use fuse_conformance::{Guard, Scenario, Target, edge_scenarios};
use libtest_mimic::{Arguments, Failed, Trial};
use player::Player;

/// The driver with the full library, and those with the flight library for each target.
struct Drivers {
    tools: PathBuf,
    flight: Vec<(Target, PathBuf)>,
}

fn drivers(libraries: &Path) -> Result<Drivers, String> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flight");
    let sources = fuse_abi::folder().join("drivers");
    let with =
        |build: Build, names: &[&str]| names.iter().fold(build, |b, name| b.source(sources.join(name)));
    let tools = with(Build::c(), &["driver.c", "calls_c.c"]).to(&out.join("driver"))?;
    let mut flight = Vec::new();
    for (target, archive, flags) in [
        (Target::Native, "libfuse-flight.a", &[][..]),
        (Target::Pulley64, "pulley/libfuse-flight.a", &["-DNO_NATIVE_CODE"]),
    ] {
        let build = Build::c().flags(&["-DFLIGHT", "-Wl,--gc-sections"]).flags(flags);
        let build = with(build, &["driver.c", "calls_c.c", "board.c"]).linked_with(libraries.join(archive));
        flight.push((target, build.to(&out.join(format!("driver_{}", target.name())))?));
    }
    Ok(Drivers { tools, flight })
}

/// Why a scenario does not apply to the flight library.
fn needs(scenario: &Scenario) -> Option<&'static str> {
    let reads_json = |action: &Action| match action {
        Action::App { parse_only, .. } => *parse_only,
        Action::Policy { hex, .. } => hex.is_none(),
        _ => false,
    };
    if scenario.steps.iter().any(|step| reads_json(&step.action)) {
        return Some("is about JSON, which the flight library does not read");
    }
    // Text and WebAssembly as they are, and artifacts for something else that have the module in them.
    let is_source = |hex: &String| ["286d6f64756c65", "0061736d"].iter().any(|begin| hex.starts_with(begin));
    let compiles = scenario.modules.values().any(|module| {
        let is_for_another = module.compile.target.is_some() || module.compile.metering.is_some();
        module.hex.as_ref().is_some_and(is_source) || (is_for_another && module.compile.portable)
    });
    (compiles && scenario.compile_on_load)
        .then_some("compiles when it loads, and the flight library has no compiler")
}

fn trials(libraries: Option<&Path>) -> Result<Vec<Trial>, String> {
    let drivers = libraries.map(drivers).transpose()?;
    let (mut trials, mut number) = (Vec::new(), 0);
    for path in Scenario::files(&edge_scenarios())? {
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let why = match &drivers {
            None => Some("tests/flight/check.sh builds the library for it"),
            Some(_) => needs(&Scenario::read(&path)?),
        };
        number += usize::from(why.is_none());
        for target in Target::ALL {
            let title = format!("{name}::{}", target.name());
            let title = why.map_or(title.clone(), |why| format!("{title} ({why})"));
            let found = drivers.as_ref().and_then(|d| {
                let (_, driver) = d.flight.iter().find(|(of, _)| *of == target)?;
                Some((d.tools.clone(), driver.clone()))
            });
            let (path, guarded) = (path.clone(), title.clone());
            let play = move || {
                let _guard = Guard::new(&guarded);
                let (tools, driver) = found.ok_or("there is no driver")?;
                Player::play(&path, &driver, target, Some(&tools)).map_err(Failed::from)
            };
            trials.push(Trial::test(title, play).with_ignored_flag(why.is_some()));
        }
    }
    if drivers.is_some() && number < 90 {
        return Err(format!("only {number} scenarios apply to the flight library"));
    }
    Ok(trials)
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let libraries = std::env::var_os("FUSE_FLIGHT_LIBRARIES").map(PathBuf::from);
    match trials(libraries.as_deref()) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(why) => {
            eprintln!("{why}");
            std::process::ExitCode::FAILURE
        }
    }
}
