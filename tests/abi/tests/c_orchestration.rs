//! Every orchestration scenario through a program in C and one in C++: over a control plane in the program, in virtual time,
//! by the calls that wait and by those that tell a completion; and, where it needs nothing from inside the control plane,
//! over the network, against the program `fuse serve`.

mod fleet;

// So that libfuse_world.so is built before this runs.
use fuse_world as _;

use std::path::{Path, PathBuf};

use fleet::{Form, Player, Reach, Server};
use fuse_abi::program::{self, Build};
use fuse_conformance::Guard;
use libtest_mimic::{Arguments, Failed, Trial};

/// A driver: its name, and the program.
type Driver = (&'static str, PathBuf);

fn build(world: Option<&Path>, out: &Path) -> Result<[Driver; 2], String> {
    let (sources, headers) = (fuse_abi::folder().join("drivers"), fuse_abi::folder().join("world"));
    let include = format!("-I{}", headers.display());
    let with = |build: Build| match world {
        Some(world) => build.flags(&["-DWITH_WORLD", &include]).linked_with(world),
        None => build,
    };
    let object = out.join("orchestration.o");
    with(Build::c()).flags(&["-c"]).source(sources.join("orchestration.c")).to(&object)?;
    let c = with(Build::c()).source(&object).source(sources.join("orchestration_c.c"));
    let cpp = with(Build::cpp()).source(&object).source(sources.join("orchestration_cpp.cpp"));
    Ok([("c", c.to(&out.join("driver_c"))?), ("cpp", cpp.to(&out.join("driver_cpp"))?)])
}

fn trials() -> Result<Vec<Trial>, String> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("orchestration");
    let inside = build(Some(&program::library()?.join("libfuse_world.so")), &out.join("inside"))?;
    let outside = build(None, &out.join("outside"))?;
    let fuse = program::fuse()?;
    let mut trials = Vec::new();
    let files = fleet::files()?;
    let mut remote = 0;
    for (name, path) in &files {
        for (language, program) in &inside {
            for form in [Form::Now, Form::Later] {
                let (path, program) = (path.clone(), program.clone());
                let title = format!("{name}::{language}::{}", form.name());
                let guarded = title.clone();
                trials.push(Trial::test(title, move || {
                    let _guard = Guard::new(&guarded);
                    Player::play(&path, &program, form, Reach::Inside).map_err(Failed::from)
                }));
            }
        }
        let needs = fleet::needs(&fleet::read(path)?);
        remote += usize::from(needs.is_none());
        for (language, program) in &outside {
            let (path, program, fuse) = (path.clone(), program.clone(), fuse.clone());
            let title = format!("{name}::{language}::connect");
            let guarded = title.clone();
            let ignored = needs.is_some();
            // Why it does not run is in its title.
            let title = needs.as_ref().map_or(title.clone(), |why| format!("{title} ({why})"));
            let play = move || {
                let _guard = Guard::new(&guarded);
                let server = Server::start(&fuse)?;
                Player::play(&path, &program, Form::Now, Reach::Server(&server)).map_err(Failed::from)
            };
            trials.push(Trial::test(title, play).with_ignored_flag(ignored));
        }
    }
    if files.len() < 70 || remote < 20 {
        return Err(format!("only {} scenarios were found, {remote} of them for the network", files.len()));
    }
    Ok(trials)
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    match trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(why) => {
            eprintln!("{why}");
            std::process::ExitCode::FAILURE
        }
    }
}
