//! `fuse module pack`: a whole application as one binary.

use std::path::{Path, PathBuf};

use fuse_edge::artifact::{self, Artifact, CompileOptions, Target};
use fuse_edge::{AppConfig, Metering};
use serde::Serialize;

use super::application::ApplicationFile;
use super::binary::sha256;
use crate::outcome::{EXIT_CODES, Failure, Outcome, Verdict, write};
use crate::output::{Page, Report, Table, grouped, print};

const EXAMPLES: &str = "\
Examples:
  fuse module pack app_config.json -o app.bin
  fuse module pack app_config.json -o app.bin --with-artifacts
  fuse module pack app_config.json -o app.bin --with-artifacts --target aarch64 --no-portable

The packed application has everything of the configuration in a versioned binary with its length and SHA-256; \
a runtime without a JSON parser loads it from memory.";

/// Pack an application configuration into one binary, with or without its modules
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The configuration
    #[arg(value_name = "APP_CONFIG.json")]
    config: PathBuf,
    /// Where the packed application goes
    #[arg(short, long, value_name = "APP.bin")]
    output: PathBuf,
    /// Put each module's artifact in; a .wasm or .wat is compiled for the application's metering
    #[arg(long)]
    with_artifacts: bool,
    /// What to compile for [default: this machine's processor]
    #[arg(long, requires = "with_artifacts", value_parser = super::compile::target_parser())]
    target: Option<String>,
    /// Leave the WebAssembly out of the artifacts that are compiled
    #[arg(long, requires = "with_artifacts")]
    no_portable: bool,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Packed {
    output: String,
    bytes: u64,
    sha256: String,
    application: String,
    modules: Vec<PackedModule>,
}

#[derive(Debug, Serialize)]
struct PackedModule {
    name: String,
    binary: String,
    /// The artifact inside, if any.
    artifact: Option<PackedArtifact>,
}

#[derive(Debug, Serialize)]
struct PackedArtifact {
    bytes: u64,
    sha256: String,
    engine_identity: String,
}

impl Report for Packed {
    fn text(&self) -> String {
        let mut page = Page::new();
        page.facts(&[
            ("packed", self.output.clone()),
            ("application", self.application.clone()),
            ("size", format!("{} bytes", grouped(self.bytes))),
            ("sha-256", self.sha256.clone()),
        ]);
        let mut table = Table::new(&["MODULE", "BINARY", "ARTIFACT BYTES>", "ENGINE"]);
        for module in &self.modules {
            let (bytes, engine) = match &module.artifact {
                Some(a) => (grouped(a.bytes), a.engine_identity.clone()),
                None => ("not packed".into(), String::new()),
            };
            table.row([module.name.clone(), module.binary.clone(), bytes, engine]);
        }
        page.table("Modules", &table);
        page.into_text()
    }
}

pub(super) fn run(args: &Args, json: bool) -> Outcome {
    let mut file = ApplicationFile::open(&args.config)?;
    if args.with_artifacts {
        let options = CompileOptions {
            metering: file.app.application.metering,
            target: args.target.as_deref().and_then(Target::from_name).unwrap_or_else(Target::default_here),
            portable: !args.no_portable,
            ..CompileOptions::default()
        };
        let mut artifacts = Vec::new();
        for module in &file.app.modules {
            let from = file.path_of(module);
            artifacts.push(artifact_of(&file.binary(module)?, &from, &options)?);
        }
        for (module, artifact) in file.app.modules.iter_mut().zip(artifacts) {
            module.artifact = Some(artifact);
        }
    }
    let refused = |why: String| Failure::refused(&args.config, why);
    let bytes = file.app.to_binary().map_err(|e| refused(e.to_string()))?;
    // What goes to a spacecraft is read back once before anybody relies on it.
    match AppConfig::from_binary(&bytes) {
        Ok(read_back) if read_back == file.app => {}
        Ok(_) => {
            return Err(refused("it reads back different from what was packed; nothing was written".into()));
        }
        Err(e) => return Err(refused(format!("it does not read back ({e}); nothing was written"))),
    }
    write(&args.output, &bytes)?;
    print(&report(args, &file.app, &bytes), json);
    Ok(Verdict::Fine)
}

/// The artifact of a module's binary: as it is when it is one, compiled otherwise.
fn artifact_of(bytes: &[u8], from: &Path, options: &CompileOptions) -> Outcome<Vec<u8>> {
    if !Artifact::is_artifact(bytes) {
        return artifact::compile(bytes, options).map_err(|e| Failure::refused(from, e));
    }
    let artifact = Artifact::parse(bytes).map_err(|e| Failure::refused(from, e))?;
    let name = Metering::name;
    if artifact.metering != options.metering {
        let why = format!(
            "the artifact was compiled for metering `{}`, the application uses `{}`; compile it again",
            name(artifact.metering),
            name(options.metering)
        );
        return Err(Failure::refused(from, why));
    }
    Ok(bytes.to_vec())
}

fn report(args: &Args, app: &AppConfig, bytes: &[u8]) -> Packed {
    let artifact = |bytes: &Vec<u8>| {
        let engine_identity = Artifact::parse(bytes).map(|a| a.identity.to_string()).unwrap_or_default();
        PackedArtifact { bytes: bytes.len() as u64, sha256: sha256(bytes), engine_identity }
    };
    Packed {
        output: args.output.display().to_string(),
        bytes: bytes.len() as u64,
        sha256: sha256(bytes),
        application: app.application.name.clone(),
        modules: app
            .modules
            .iter()
            .map(|m| PackedModule {
                name: m.name.clone(),
                binary: m.binary.clone(),
                artifact: m.artifact.as_ref().map(artifact),
            })
            .collect(),
    }
}
