//! Every scenario as a native artifact and as a pulley64 artifact: one test for each, named after its file.

use fuse_conformance::{Guard, Runner, Scenario, Target, edge_scenarios};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let files = match Scenario::files(&edge_scenarios()) {
        Ok(files) => files,
        Err(e) => {
            eprintln!("{e}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for path in files {
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let lacks = Scenario::read(&path).ok().and_then(|scenario| Runner::lacks(&scenario));
        for target in Target::ALL {
            let path = path.clone();
            let guarded = format!("{name}::{}", target.name());
            let play = move || {
                let _guard = Guard::new(&guarded);
                Runner::play(&path, target).map_err(Failed::from)
            };
            let trial =
                Trial::test(format!("{name}::{}", target.name()), play).with_ignored_flag(lacks.is_some());
            trials.push(trial);
        }
        if let Some(why) = lacks {
            eprintln!("skipped {name}: {why}");
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
