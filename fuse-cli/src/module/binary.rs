//! A module's file, opened: what kind it is, what it carries, and what can be read from it.

use std::borrow::Cow;

use fuse_edge::artifact::{self, Artifact, CompileOptions, CpuLevel, Payload, Target};
use fuse_edge::{ENGINE_VERSION, Metering};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::output::{grouped, hex};
use crate::wasm::WasmModule;

/// The SHA-256 of the bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A WebAssembly module.
    Wasm,
    /// A WebAssembly module as text.
    Wat,
    /// An artifact.
    Artifact,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Wasm => "WebAssembly module",
            Self::Wat => "WebAssembly module as text (.wat)",
            Self::Artifact => "artifact",
        }
    }
}

/// One payload of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PayloadHeader {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl From<Payload<'_>> for PayloadHeader {
    fn from(payload: Payload<'_>) -> Self {
        Self { bytes: payload.bytes.len() as u64, sha256: hex(&payload.sha256) }
    }
}

/// What the header of an artifact says. All its hashes have been checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ArtifactHeader {
    pub(crate) format_version: u32,
    pub(crate) engine_identity: String,
    pub(crate) target: &'static str,
    /// Whether this machine's processor, or the interpreter here, is what it was compiled for.
    pub(crate) runs_here: bool,
    pub(crate) metering: &'static str,
    pub(crate) traps: &'static str,
    pub(crate) code: PayloadHeader,
    pub(crate) portable: Option<PayloadHeader>,
    /// Whether the code is what this program compiles from the portable module; none where that cannot be told:
    /// there is no such module, the code is of another engine version, or uses all of its machine's instructions.
    pub(crate) code_matches_portable: Option<bool>,
}

impl ArtifactHeader {
    pub(crate) fn of(artifact: &Artifact<'_>) -> Self {
        Self {
            format_version: artifact::FORMAT_VERSION,
            engine_identity: artifact.identity.to_string(),
            target: artifact.identity.target.name(),
            runs_here: artifact.identity.target.runs_here(),
            metering: artifact.metering.name(),
            traps: artifact.traps.name(),
            code: artifact.code.into(),
            portable: artifact.portable.map(PayloadHeader::from),
            code_matches_portable: code_matches_portable(artifact),
        }
    }

    /// The header as facts for people.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let payload = |p: &PayloadHeader| format!("{} bytes, SHA-256 {}", grouped(p.bytes), p.sha256);
        let here = if self.runs_here { "" } else { " (not for this machine)" };
        let origin = match self.code_matches_portable {
            Some(true) => "the code is what the portable module compiles to",
            Some(false) => "NOT PROVED: the code is not what the portable module compiles to here",
            None => "not known: the code cannot be compiled again here",
        };
        vec![
            ("format", format!("version {}", self.format_version)),
            ("engine", format!("{}{here}", self.engine_identity)),
            ("metering", self.metering.into()),
            ("traps", self.traps.into()),
            ("code", payload(&self.code)),
            ("portable", self.portable.as_ref().map_or_else(|| "none".into(), payload)),
            ("origin", origin.into()),
        ]
    }
}

/// Compiles the portable module again and compares: a review of the one is worth nothing for the other otherwise.
fn code_matches_portable(artifact: &Artifact<'_>) -> Option<bool> {
    let identity = &artifact.identity;
    let portable = artifact.portable?;
    let cpu = match (identity.cpu.as_str(), identity.target) {
        ("v2", Target::X86_64) => CpuLevel::Common,
        ("v3", Target::X86_64) => CpuLevel::V3,
        ("base", _) => CpuLevel::Base,
        _ => return None,
    };
    if identity.engine != ENGINE_VERSION {
        return None;
    }
    let options = CompileOptions {
        metering: artifact.metering,
        target: identity.target,
        cpu,
        traps: artifact.traps,
        ..CompileOptions::default()
    };
    let again = artifact::compile(portable.bytes, &options).ok()?;
    let again = Artifact::parse(&again).ok()?;
    Some(again.identity == *identity && again.code.sha256 == artifact.code.sha256)
}

/// A file that was opened and understood.
#[derive(Debug)]
pub(crate) struct Binary {
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) header: Option<ArtifactHeader>,
    /// The WebAssembly, where the file carries it.
    pub(crate) wasm: Option<Vec<u8>>,
    /// The WebAssembly, taken apart.
    pub(crate) module: Option<WasmModule>,
    /// Native code for x86-64 in the engine's format, where the file carries it.
    pub(crate) x86_64: Option<Vec<u8>>,
    /// Why the engine's compiler refused the module, once it was asked.
    pub(crate) refused: Option<String>,
    /// The file as it is.
    pub(crate) content: Vec<u8>,
}

impl Binary {
    /// Opens the bytes of a module or artifact. The error says why they are neither.
    pub(crate) fn open(bytes: &[u8]) -> Result<Self, String> {
        let (kind, header, wasm, x86_64) = if Artifact::is_artifact(bytes) {
            let artifact = Artifact::parse(bytes).map_err(|e| e.to_string())?;
            let code = (artifact.identity.target == Target::X86_64).then(|| artifact.code.bytes.to_vec());
            let wasm = artifact.portable.map(|p| Cow::Borrowed(p.bytes));
            (Kind::Artifact, Some(ArtifactHeader::of(&artifact)), wasm, code)
        } else {
            let kind = if bytes.starts_with(b"\0asm") { Kind::Wasm } else { Kind::Wat };
            if kind == Kind::Wat && std::str::from_utf8(bytes).is_err() {
                return Err("it is neither a WebAssembly module (.wasm, .wat) nor a Fuse artifact".into());
            }
            (kind, None, Some(artifact::to_wasm(bytes).map_err(|e| e.to_string())?), None)
        };
        let module = wasm.as_deref().map(WasmModule::parse).transpose()?;
        let wasm = wasm.map(Cow::into_owned);
        Ok(Self {
            kind,
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
            header,
            wasm,
            module,
            x86_64,
            refused: None,
            content: bytes.to_vec(),
        })
    }

    /// The same with x86-64 code, compiled here where the file carries none: as a runtime of this metering would.
    pub(crate) fn with_code(mut self, metering: Metering) -> Self {
        let options =
            CompileOptions { metering, target: Target::X86_64, portable: false, ..CompileOptions::default() };
        if let (None, Some(wasm)) = (&self.x86_64, &self.wasm) {
            match artifact::compile(wasm, &options) {
                Ok(bytes) => self.x86_64 = Artifact::parse(&bytes).ok().map(|a| a.code.bytes.to_vec()),
                Err(e) => self.refused = Some(e.to_string()),
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = br#"(module (memory (export "memory") 1) (func (export "module_step")))"#;

    #[test]
    fn knows_the_three_kinds() {
        let wasm = wat::parse_bytes(TEXT).unwrap();
        let artifact = artifact::compile(TEXT, &CompileOptions::default()).unwrap();
        for (bytes, kind) in [(TEXT, Kind::Wat), (&wasm, Kind::Wasm), (&artifact, Kind::Artifact)] {
            let binary = Binary::open(bytes).unwrap();
            assert_eq!(binary.kind, kind);
            assert_eq!(binary.module.unwrap().memories.len(), 1);
            assert_eq!(binary.wasm.unwrap(), wasm.as_ref());
            assert_eq!(binary.header.is_some(), kind == Kind::Artifact);
        }
    }

    #[test]
    fn an_artifact_without_the_module_shows_its_header_only() {
        let options = CompileOptions { portable: false, ..CompileOptions::default() };
        let binary = Binary::open(&artifact::compile(TEXT, &options).unwrap()).unwrap();
        assert!(binary.module.is_none());
        assert_eq!(binary.header.unwrap().portable, None);
    }

    #[test]
    fn code_of_another_module_is_told_from_its_own() {
        let other = br#"(module (memory (export "memory") 1) (func (export "module_step") (unreachable)))"#;
        let own = artifact::compile(TEXT, &CompileOptions::default()).unwrap();
        let foreign = artifact::compile(other, &CompileOptions::default()).unwrap();
        let (own, foreign) = (Artifact::parse(&own).unwrap(), Artifact::parse(&foreign).unwrap());
        let swapped = Artifact { code: foreign.code, ..own.clone() };
        assert_eq!(code_matches_portable(&own), Some(true));
        assert_eq!(code_matches_portable(&swapped), Some(false));
        assert_eq!(code_matches_portable(&Artifact { portable: None, ..own }), None);
    }

    #[test]
    fn every_target_and_level_compiles_to_the_same_code_again() {
        for target in Target::ALL {
            for cpu in [CpuLevel::Common, CpuLevel::Base] {
                let options = CompileOptions { target, cpu, ..CompileOptions::default() };
                let bytes = artifact::compile(TEXT, &options).unwrap();
                let again = code_matches_portable(&Artifact::parse(&bytes).unwrap());
                assert_eq!(again, Some(true), "{} {}", target.name(), cpu.name());
            }
        }
    }

    #[test]
    fn a_damaged_artifact_and_other_files_are_refused() {
        let mut artifact = artifact::compile(TEXT, &CompileOptions::default()).unwrap();
        *artifact.last_mut().unwrap() ^= 1;
        assert!(Binary::open(&artifact).unwrap_err().contains("damaged"));
        assert!(Binary::open(b"\x7fELF\xff\xff").unwrap_err().contains("neither"));
        assert!(Binary::open(b"hello").is_err());
    }
}
