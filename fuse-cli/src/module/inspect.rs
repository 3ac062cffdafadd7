//! `fuse module inspect`: what is in a file.

use std::path::PathBuf;

use fuse_edge::{AppConfig, Application, Metering};
use serde::Serialize;

use super::binary::{ArtifactHeader, Binary, Kind, sha256};
use super::contract::{self, Resolution};
use super::stack::StackBound;
use crate::outcome::{EXIT_CODES, Failure, Outcome, Verdict, read};
use crate::output::{Page, Report, Table, grouped, print};
use crate::wasm::{CustomSection, Export, Import, Memory};

const EXAMPLES: &str = "\
Examples:
  fuse module inspect filter.wasm
  fuse module inspect filter.fuse        # an artifact: its hashes are checked first
  fuse module inspect app.bin            # a packed application
  fuse module inspect filter.wasm --json | jq -r '.imports[].capability'";

/// Show what is in a module, an artifact or a packed application
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// A .wasm, .wat, artifact or packed application
    file: PathBuf,
}

/// An import, with what an application without host groups makes of it.
#[derive(Debug, Serialize)]
pub(crate) struct ResolvedImport {
    #[serde(flatten)]
    import: Import,
    #[serde(flatten)]
    resolution: Resolution,
}

/// A module or an artifact.
#[derive(Debug, Serialize)]
struct ModuleContents {
    file: String,
    kind: Kind,
    bytes: u64,
    sha256: String,
    artifact: Option<ArtifactHeader>,
    /// What makes every runtime refuse it.
    violations: Vec<String>,
    exports: Vec<Export>,
    imports: Vec<ResolvedImport>,
    memory: Option<Memory>,
    start_function: bool,
    stack: Option<StackBound>,
    custom_sections: Vec<CustomSection>,
}

impl ModuleContents {
    fn of(file: String, binary: Binary) -> Self {
        let mut contents = Self {
            file,
            kind: binary.kind,
            bytes: binary.bytes,
            sha256: binary.sha256,
            artifact: binary.header,
            violations: Vec::new(),
            exports: Vec::new(),
            imports: Vec::new(),
            memory: None,
            start_function: false,
            stack: None,
            custom_sections: Vec::new(),
        };
        if let Some(module) = binary.module {
            contents.violations = contract::violations(&module);
            contents.violations.extend(binary.refused);
            contents.stack = Some(StackBound::of(&module, binary.x86_64.as_deref()));
            contents.memory = module.memories.first().copied();
            contents.start_function = module.has_start;
            let application = Application::default();
            let resolved = |import: Import| {
                let resolution = contract::resolve(&import, &application);
                ResolvedImport { import, resolution }
            };
            contents.imports = module.imports.into_iter().map(resolved).collect();
            contents.exports = module.exports;
            contents.custom_sections = module.custom_sections;
        }
        contents
    }
}

impl Report for ModuleContents {
    fn text(&self) -> String {
        let mut page = Page::new();
        let mut facts = vec![
            ("file", self.file.clone()),
            ("kind", self.kind.name().into()),
            ("size", format!("{} bytes", grouped(self.bytes))),
            ("sha-256", self.sha256.clone()),
        ];
        match &self.artifact {
            Some(header) => {
                facts.extend(header.facts());
                if header.portable.is_none() {
                    facts.push(("contents", "not visible: it carries no WebAssembly".into()));
                    page.facts(&facts);
                    return page.into_text();
                }
            }
            None => facts.push(("contract", "keeps the rules of a Fuse module".into())),
        }
        if !self.violations.is_empty() {
            facts.retain(|(label, _)| *label != "contract");
            facts.push(("contract", format!("BROKEN: {}", self.violations.join("; "))));
        }
        facts.push(("memory", self.memory.map_or_else(|| "none".into(), |m| m.to_string())));
        facts.push((
            "start",
            if self.start_function { "a start function runs at load" } else { "none" }.into(),
        ));
        facts.push(("stack", self.stack.as_ref().map(StackBound::long).unwrap_or_default()));
        page.facts(&facts);
        page.table("Exports", &self.exports_table());
        page.table("Imports", &self.imports_table());
        page.table("Custom sections", &self.sections_table());
        page.into_text()
    }
}

impl ModuleContents {
    fn exports_table(&self) -> Table {
        let mut table = Table::new(&["NAME", "TYPE"]);
        for export in &self.exports {
            table.row([export.name.clone(), export.ty.to_string()]);
        }
        table
    }

    fn imports_table(&self) -> Table {
        let mut table = Table::new(&["IMPORT", "TYPE", "CAPABILITY", "CALLED"]);
        for ResolvedImport { import, resolution } in &self.imports {
            let capability = match resolution {
                Resolution::Unknown => "of a host group, or unknown".into(),
                Resolution::WrongType { expected, capability } => format!("{capability}, but as {expected}"),
                known => known.capability().unwrap_or_default().to_owned(),
            };
            let called = if import.reachable { "yes" } else { "never" };
            table.row([
                format!("{}.{}", import.module, import.name),
                import.ty.to_string(),
                capability,
                called.into(),
            ]);
        }
        table
    }

    fn sections_table(&self) -> Table {
        let mut table = Table::new(&["NAME", "BYTES>"]);
        for section in &self.custom_sections {
            table.row([section.name.clone(), grouped(section.bytes as u64)]);
        }
        table
    }
}

/// A packed application.
#[derive(Debug, Serialize)]
struct ApplicationContents {
    file: String,
    kind: &'static str,
    bytes: u64,
    sha256: String,
    application: super::check::posture::ApplicationPosture,
    modules: Vec<PackedModule>,
}

#[derive(Debug, Serialize)]
struct PackedModule {
    #[serde(flatten)]
    policy: super::check::posture::PolicyPosture,
    binary: String,
    artifact: Option<ArtifactHeader>,
}

impl Report for ApplicationContents {
    fn text(&self) -> String {
        let mut page = Page::new();
        page.facts(&[
            ("file", self.file.clone()),
            ("kind", "packed application".into()),
            ("size", format!("{} bytes", grouped(self.bytes))),
            ("sha-256", self.sha256.clone()),
        ]);
        self.application.show(&mut page);
        let policies: Vec<_> = self.modules.iter().map(|m| &m.policy).collect();
        page.table("What each module may do", &super::check::posture::permissions(&policies));
        let mut table = Table::new(&["MODULE", "BINARY", "CODE BYTES>", "ENGINE"]);
        for module in &self.modules {
            let (bytes, engine) = match &module.artifact {
                Some(a) => (grouped(a.code.bytes), a.engine_identity.clone()),
                None => ("not packed".into(), String::new()),
            };
            table.row([module.policy.name.clone(), module.binary.clone(), bytes, engine]);
        }
        page.table("Binaries", &table);
        page.into_text()
    }
}

pub(super) fn run(args: &Args, json: bool) -> Outcome {
    let bytes = read(&args.file)?;
    let file = args.file.display().to_string();
    if AppConfig::is_binary(&bytes) {
        print(&application(args, file, &bytes)?, json);
        return Ok(Verdict::Fine);
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        let why = format!("it looks like a configuration; `fuse module check {file}` reviews it");
        return Err(Failure::refused(&args.file, why));
    }
    let binary =
        Binary::open(&bytes).map_err(|why| Failure::refused(&args.file, why))?.with_code(Metering::Wall);
    let contents = ModuleContents::of(file, binary);
    print(&contents, json);
    Ok(if contents.violations.is_empty() { Verdict::Fine } else { Verdict::Problems })
}

fn application(args: &Args, file: String, bytes: &[u8]) -> Outcome<ApplicationContents> {
    let refused = |why: String| Failure::refused(&args.file, why);
    let app = AppConfig::from_binary(bytes).map_err(|e| refused(e.to_string()))?;
    let mut modules = Vec::new();
    for module in &app.modules {
        let artifact = match &module.artifact {
            Some(bytes) => {
                Binary::open(bytes).map_err(|why| refused(format!("module `{}`: {why}", module.name)))?.header
            }
            None => None,
        };
        let policy = super::check::posture::PolicyPosture::of(module, &app.application);
        modules.push(PackedModule { policy, binary: module.binary.clone(), artifact });
    }
    let application = super::check::posture::ApplicationPosture::of(&app.application);
    Ok(ApplicationContents {
        file,
        kind: "packed_application",
        bytes: bytes.len() as u64,
        sha256: sha256(bytes),
        application,
        modules,
    })
}
