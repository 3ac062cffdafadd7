//! `fuse module compile`: from WebAssembly to an artifact.

use std::path::PathBuf;

use clap::ValueEnum;
use fuse_edge::artifact::{self, Artifact, CompileOptions, CpuLevel, Target};
use fuse_edge::{Metering, TrapMode};
use serde::Serialize;

use super::binary::ArtifactHeader;
use super::contract;
use crate::outcome::{EXIT_CODES, Failure, Outcome, Verdict, read, write};
use crate::output::{Page, Report, grouped, print};
use crate::wasm::WasmModule;

const EXAMPLES: &str = "\
Examples:
  fuse module compile filter.wasm -o filter.fuse
  fuse module compile filter.wat -o filter.fuse --metering both
  fuse module compile filter.wasm -o filter.fuse --target aarch64 --no-portable
  fuse module compile filter.wasm -o filter.fuse --target pulley32   # interpreter, 32-bit host

The metering must be that of the application (`application.metering`). Without --no-portable the artifact \
also carries the WebAssembly, so that a host with a compiler can run it on another engine.";

/// Compile a module ahead of time into an artifact
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The module: .wasm, or .wat text
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where the artifact goes
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Which quotas its code can obey
    #[arg(long, value_enum, default_value_t = MeteringArg::Wall)]
    metering: MeteringArg,
    /// What it will run on [default: this machine's processor]
    #[arg(long, value_parser = target_parser())]
    target: Option<String>,
    /// Which instructions it may use: `common` is x86-64-v2 on x86_64 and the base elsewhere, `native` all that
    /// this machine has
    #[arg(long, value_parser = cpu_parser(), default_value = CpuLevel::Common.name())]
    cpu: String,
    /// How its code detects traps; `signals` only for hosts that give the runtime their signal handlers
    #[arg(long, value_enum, default_value_t = TrapsArg::Explicit)]
    traps: TrapsArg,
    /// Leave the WebAssembly out of the artifact
    #[arg(long)]
    no_portable: bool,
}

/// `--metering`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MeteringArg {
    /// cpu_quota_us: CPU time
    Wall,
    /// fuel_quota: counted instructions
    Fuel,
    /// Both quotas
    Both,
}

impl From<MeteringArg> for Metering {
    fn from(arg: MeteringArg) -> Self {
        match arg {
            MeteringArg::Wall => Self::Wall,
            MeteringArg::Fuel => Self::Fuel,
            MeteringArg::Both => Self::Both,
        }
    }
}

/// `--traps`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TrapsArg {
    /// By checks in the code
    Explicit,
    /// By guard pages and signal handlers
    Signals,
}

pub(super) fn target_parser() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Target::ALL.map(Target::name))
}

fn cpu_parser() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(CpuLevel::ALL.map(CpuLevel::name))
}

/// What was made.
#[derive(Debug, Serialize)]
struct Compiled {
    output: String,
    bytes: u64,
    sha256: String,
    artifact: ArtifactHeader,
}

impl Report for Compiled {
    fn text(&self) -> String {
        let mut page = Page::new();
        let mut facts = vec![
            ("artifact", self.output.clone()),
            ("size", format!("{} bytes", grouped(self.bytes))),
            ("sha-256", self.sha256.clone()),
        ];
        facts.extend(self.artifact.facts());
        page.facts(&facts);
        page.into_text()
    }
}

impl Args {
    fn options(&self) -> CompileOptions {
        // Both names were checked against the same lists when the command line was parsed.
        let target = self.target.as_deref().and_then(Target::from_name).unwrap_or_else(Target::default_here);
        CompileOptions {
            metering: self.metering.into(),
            target,
            cpu: CpuLevel::from_name(&self.cpu).unwrap_or_default(),
            traps: match self.traps {
                TrapsArg::Explicit => TrapMode::Explicit,
                TrapsArg::Signals => TrapMode::Signals,
            },
            portable: !self.no_portable,
        }
    }
}

pub(super) fn run(args: &Args, json: bool) -> Outcome {
    let refused = |why: String| Failure::refused(&args.input, why);
    let source = read(&args.input)?;
    if Artifact::is_artifact(&source) {
        return Err(refused(
            "it is an artifact already; compile the .wasm or .wat that it was made from".into(),
        ));
    }
    let wasm = artifact::to_wasm(&source).map_err(|e| refused(e.to_string()))?;
    let module = WasmModule::parse(&wasm).map_err(refused)?;
    let violations = contract::violations(&module);
    if !violations.is_empty() {
        return Err(refused(format!("no runtime would load it: {}", violations.join("; "))));
    }
    let bytes = artifact::compile(&wasm, &args.options()).map_err(|e| refused(e.to_string()))?;
    let artifact = Artifact::parse(&bytes).map_err(|e| refused(e.to_string()))?;
    let compiled = Compiled {
        output: args.output.display().to_string(),
        bytes: bytes.len() as u64,
        sha256: super::binary::sha256(&bytes),
        artifact: ArtifactHeader::of(&artifact),
    };
    write(&args.output, &bytes)?;
    print(&compiled, json);
    Ok(Verdict::Fine)
}
