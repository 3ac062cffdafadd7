//! Every scenario through a program in C and one in C++, as native and as pulley64 artifacts: one test for each. The
//! programs are linked with the library; a scenario is sent to them call by call, and what they answer is compared here.

mod player;

use std::path::{Path, PathBuf};

use fuse_abi::program::Build;
use fuse_conformance::{Guard, Scenario, Target, edge_scenarios};
use libtest_mimic::{Arguments, Failed, Trial};
use player::Player;

fn drivers() -> Result<[(&'static str, PathBuf); 2], String> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drivers");
    let sources = fuse_abi::folder().join("drivers");
    let object = out.join("driver.o");
    std::fs::create_dir_all(&out).map_err(|e| e.to_string())?;
    Build::c().flags(&["-c"]).source(sources.join("driver.c")).to(&object)?;
    let c = Build::c().source(&object).source(sources.join("calls_c.c")).to(&out.join("driver_c"))?;
    let cpp =
        Build::cpp().source(&object).source(sources.join("calls_cpp.cpp")).to(&out.join("driver_cpp"))?;
    Ok([("c", c), ("cpp", cpp)])
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let prepared = drivers().and_then(|drivers| Ok((drivers, Scenario::files(&edge_scenarios())?)));
    let (drivers, files) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => {
            eprintln!("{e}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for path in &files {
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        for (language, driver) in &drivers {
            for target in Target::ALL {
                let (path, driver) = (path.clone(), driver.clone());
                let name = format!("{name}::{language}::{}", target.name());
                let guarded = name.clone();
                trials.push(Trial::test(name, move || {
                    let _guard = Guard::new(&guarded);
                    Player::play(&path, &driver, target, None).map_err(Failed::from)
                }));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
