//! `fuse module check`: the security posture of an application, and every problem in it.

use std::path::{Path, PathBuf};

use fuse_edge::AppConfig;
use serde::Serialize;

use super::application::folder_of;
use super::binary::{ArtifactHeader, Binary, Kind, sha256};
use super::camera;
use super::config::{self, Problem, Reviewed, Severity};
use super::stack::StackBound;
use crate::outcome::{EXIT_CODES, Failure, Outcome, Verdict, read};
use crate::output::{Page, Report, Table, bytes, counted, grouped, print};

mod load;
mod measure;
pub(crate) mod posture;
mod review;

use measure::Measured;
use posture::{ApplicationPosture, PolicyPosture, permissions};

const EXAMPLES: &str = "\
Examples:
  fuse module check app_config.json
  fuse module check app_config.json --strict && echo fit for review
  fuse module check app_config.json --run 100 --camera frames/
  fuse module check app_config.json --json | jq -r '.problems[] | \"\\(.path): \\(.what)\"'

An error is what will not load, or will fail when it runs; a warning is what a reviewer should know. The exit \
code is 1 when there is an error; with --strict, when there is a warning too.

Stack: the bound holds for every run of x86_64 code. It is the dearest chain of calls, each frame as the \
compiler made it; a call through a table counts as each function that it may reach. With recursion there is no \
bound, and only --run tells, for the runs that it made. Stack that the host's callbacks take is the host's.

--run steps each module N times, on a clock that jumps from one step to the next, with every event that it \
subscribes to posted before each step, and frames of --camera in turn. Host groups take what they are given. \
Fuel and memory are the peak of those steps. The stack is found by running them again under smaller and smaller \
limits, and is right to an eighth.";

/// Review an application: what its modules may do, and everything that is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The configuration, or a packed application
    #[arg(value_name = "APP_CONFIG")]
    config: PathBuf,
    /// Also run each module for N steps and measure peak fuel, stack and memory
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    run: Option<u32>,
    /// Fail for warnings too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    camera: camera::Args,
}

/// One module with all that is known of it.
#[derive(Debug, Serialize)]
struct ModuleReview {
    path: String,
    #[serde(flatten)]
    policy: PolicyPosture,
    binary: String,
    kind: Option<Kind>,
    bytes: Option<u64>,
    sha256: Option<String>,
    artifact: Option<ArtifactHeader>,
    /// Capabilities that its code can use.
    capabilities_used: Option<Vec<String>>,
    memory_initial_pages: Option<u64>,
    /// Most bytes that its memory may reach under the policy.
    memory_limit_bytes: Option<u64>,
    stack: Option<StackBound>,
    measured: Option<Measured>,
}

/// The review.
#[derive(Debug, Serialize)]
struct Review {
    config: String,
    sha256: String,
    errors: usize,
    warnings: usize,
    /// Whether the configuration had to be mended to be shown: what was wrong is not shown as it stands.
    mended: bool,
    application: Option<ApplicationPosture>,
    modules: Vec<ModuleReview>,
    problems: Vec<Problem>,
}

impl Report for Review {
    fn text(&self) -> String {
        let mut page = Page::new();
        page.facts(&[("review of", self.config.clone()), ("sha-256", self.sha256.clone())]);
        if self.mended {
            page.line(
                "What is wrong in the configuration is listed under Problems, and left out of the tables.",
            );
        }
        if let Some(application) = &self.application {
            application.show(&mut page);
        }
        let policies: Vec<_> = self.modules.iter().map(|m| &m.policy).collect();
        page.table("What each module may do", &permissions(&policies));
        page.table("What each module needs, and its limits", &self.limits());
        page.table("Measured", &self.measured());
        page.table("Stack, whatever the input", &self.stacks());
        page.table("Problems", &self.problems_table());
        page.heading(&format!(
            "{}, {}",
            counted(self.errors as u64, "error"),
            counted(self.warnings as u64, "warning")
        ));
        page.into_text()
    }
}

impl Review {
    fn limits(&self) -> Table {
        let columns = ["MODULE", "BINARY", "SHA-256", "MEMORY", "MEMORY LIMIT>", "STACK", "STACK LIMIT>"];
        let mut table = Table::new(&columns);
        for module in &self.modules {
            let memory = module.memory_initial_pages.map_or_else(|| "?".into(), |p| counted(p, "page"));
            table.row([
                module.policy.name.clone(),
                module.binary.clone(),
                module.sha256.as_deref().and_then(|s| s.get(..12)).unwrap_or("?").to_owned(),
                memory,
                module.memory_limit_bytes.map_or_else(|| "?".into(), bytes),
                module.stack.as_ref().map_or_else(|| "?".into(), StackBound::short),
                bytes(u64::from(module.policy.stack_size)),
            ]);
        }
        table
    }

    fn stacks(&self) -> Table {
        let mut table = Table::new(&["MODULE", "BOUND", "CALLS NEST>", "BY"]);
        for module in &self.modules {
            if let Some(stack) = &module.stack {
                let depth = stack.call_depth.map_or_else(|| "?".into(), grouped);
                table.row([module.policy.name.clone(), stack.short(), depth, stack.by()]);
            }
        }
        table
    }

    fn measured(&self) -> Table {
        let mut table =
            Table::new(&["MODULE", "STEPS>", "PEAK FUEL>", "PEAK STACK", "PEAK MEMORY>", "ENDED"]);
        for module in &self.modules {
            if let Some(m) = &module.measured {
                table.row([
                    module.policy.name.clone(),
                    grouped(m.steps),
                    m.fuel_peak.map_or_else(|| "?".into(), grouped),
                    m.stack(),
                    bytes(m.memory_peak_bytes),
                    m.ended.clone(),
                ]);
            }
        }
        table
    }

    fn problems_table(&self) -> Table {
        let mut table = Table::new(&["SEVERITY", "WHERE", "WHAT"]);
        for problem in &self.problems {
            table.row([problem.severity.name(), &problem.path, &problem.what]);
        }
        table
    }
}

pub(super) fn run(args: &Args, json: bool) -> Outcome {
    let text = read(&args.config)?;
    let frames = args.camera.frames()?;
    let Reviewed { mut problems, app, paths } = parse(args, &text)?;
    let sound = problems.is_empty();
    let mut modules = Vec::new();
    if let Some(app) = &app {
        let binaries = binaries(app, &paths, &args.config, &mut problems);
        review::application(app, &paths, &binaries, &mut problems);
        for ((module, path), binary) in app.modules.iter().zip(&paths).zip(&binaries) {
            let before = problems.len();
            review::module(app, module, path, binary.as_ref(), &mut problems);
            let known = problems.iter().skip(before).any(review::prevents_loading);
            if let Some(binary) = binary.as_ref().filter(|_| !known)
                && let Err(why) = load::try_load(app, module, binary)
            {
                problems
                    .push(Problem::error(format!("{path}.binary"), format!("the runtime refuses it: {why}")));
            }
            modules.push(module_review(app, module, path, binary.as_ref()));
        }
        // What does not load cannot be measured; what is wrong then is said already.
        let loadable = sound && problems.iter().all(|p| !review::prevents_loading(p));
        if let Some(steps) = args.run.filter(|_| loadable) {
            let measured = measure::measure(app, &binaries, steps, &frames, &paths, &mut problems);
            for (module, measured) in modules.iter_mut().zip(measured) {
                module.measured = measured;
            }
        } else if args.run.is_some() {
            problems
                .push(Problem::warning("$", "--run measured nothing: mend the errors that prevent loading"));
        }
    }
    problems.sort_by_key(|p| p.severity);
    let count = |severity| problems.iter().filter(|p| p.severity == severity).count();
    let review = Review {
        config: args.config.display().to_string(),
        sha256: sha256(&text),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        mended: !sound,
        application: app.as_ref().map(|app| ApplicationPosture::of(&app.application)),
        modules,
        problems,
    };
    print(&review, json);
    let fine = review.errors == 0 && !(args.strict && review.warnings > 0);
    Ok(if fine { Verdict::Fine } else { Verdict::Problems })
}

fn parse(args: &Args, bytes: &[u8]) -> Outcome<Reviewed> {
    if AppConfig::is_binary(bytes) {
        let app = AppConfig::from_binary(bytes).map_err(|e| Failure::refused(&args.config, e))?;
        let paths = (0..app.modules.len()).map(|i| format!("$.modules[{i}]")).collect();
        return Ok(Reviewed { problems: Vec::new(), app: Some(app), paths });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Failure::refused(&args.config, format!("not UTF-8 text: {e}")))?;
    Ok(config::review(text))
}

/// Opens the binary of each module; what cannot be opened is a problem of its own.
fn binaries(
    app: &AppConfig,
    paths: &[String],
    config: &Path,
    problems: &mut Vec<Problem>,
) -> Vec<Option<Binary>> {
    let folder = folder_of(config);
    let mut open = |module: &fuse_edge::ModuleDecl, path: &str| {
        let at = format!("{path}.binary");
        let bytes = match &module.artifact {
            Some(artifact) => artifact.clone(),
            // The configuration lacks a usable path; that has been said.
            None if module.binary.is_empty() => return None,
            None => match std::fs::read(folder.join(&module.binary)) {
                Ok(bytes) => bytes,
                Err(e) => {
                    let file = folder.join(&module.binary);
                    problems.push(Problem::error(at, format!("cannot read {}: {e}", file.display())));
                    return None;
                }
            },
        };
        match Binary::open(&bytes) {
            Ok(binary) => Some(binary.with_code(app.application.metering)),
            Err(why) => {
                problems.push(Problem::error(at, format!("`{}`: {why}", module.binary)));
                None
            }
        }
    };
    app.modules.iter().zip(paths).map(|(module, path)| open(module, path)).collect()
}

fn module_review(
    app: &AppConfig,
    module: &fuse_edge::ModuleDecl,
    path: &str,
    binary: Option<&Binary>,
) -> ModuleReview {
    let wasm = binary.and_then(|b| b.module.as_ref());
    let initial = wasm.map(|m| m.memories.first().map_or(0, |memory| memory.initial_pages));
    ModuleReview {
        path: path.into(),
        policy: PolicyPosture::of(module, &app.application),
        binary: module.binary.clone(),
        kind: binary.map(|b| b.kind),
        bytes: binary.map(|b| b.bytes),
        sha256: binary.map(|b| b.sha256.clone()),
        artifact: binary.and_then(|b| b.header.clone()),
        capabilities_used: wasm.map(|m| app.application.capability_names(review::used(m, &app.application))),
        memory_initial_pages: initial,
        memory_limit_bytes: initial
            .map(|pages| module.policy.memory_budget(pages.saturating_mul(fuse_edge::PAGE_BYTES))),
        stack: binary.and_then(|b| Some(StackBound::of(b.module.as_ref()?, b.x86_64.as_deref()))),
        measured: None,
    }
}
