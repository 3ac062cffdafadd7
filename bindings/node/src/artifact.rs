//! Ahead-of-time artifacts.

use fuse_runtime::edge::artifact::{self as core, CompileOptions, CpuLevel, Target};
use fuse_runtime::edge::{self, Metering, TrapMode};
use napi::bindgen_prelude::{Buffer, Uint8ArraySlice};
use napi_derive::napi;

use crate::fault::{OrThrow, Result, error, invalid};

/// How to compile; what is absent has its default.
#[napi(object)]
pub struct NativeCompileOptions {
    /// What it will run on.
    pub target: Option<String>,
    /// `wall`, `fuel` or `both`.
    pub metering: Option<String>,
    /// `common`, `base`, `v3` or `native`.
    pub cpu: Option<String>,
    /// `explicit` or `signals`.
    pub traps: Option<String>,
    /// Whether the artifact carries the WebAssembly.
    pub portable: Option<bool>,
}

/// What an artifact is.
#[napi(object)]
pub struct NativeArtifact {
    /// The engine that its code needs.
    pub identity: String,
    /// What its code runs on.
    pub target: String,
    /// Its metering.
    pub metering: String,
    /// Its trap mode.
    pub traps: String,
    /// Size of its code, in bytes.
    pub code_bytes: u32,
    /// SHA-256 of its code.
    pub code_sha256: String,
    /// The WebAssembly that it carries.
    pub portable: Option<Buffer>,
}

fn named<T>(
    what: &str,
    name: Option<String>,
    default: T,
    of: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Result<T> {
    match name {
        None => Ok(default),
        Some(name) => {
            of(&name).ok_or_else(|| invalid(format!("`{name}` is no {what}; known are {}", known.join(", "))))
        }
    }
}

/// The trap mode of this name.
pub(crate) fn traps_of(name: Option<String>) -> Result<TrapMode> {
    let all = [TrapMode::Explicit, TrapMode::Signals];
    let of = |name: &str| all.into_iter().find(|t| t.name() == name);
    named("trap mode", name, TrapMode::Explicit, of, &all.map(TrapMode::name))
}

fn options_of(options: NativeCompileOptions) -> Result<CompileOptions> {
    let default = CompileOptions::default();
    Ok(CompileOptions {
        metering: named(
            "metering",
            options.metering,
            default.metering,
            Metering::from_name,
            &Metering::ALL.map(Metering::name),
        )?,
        target: named(
            "target",
            options.target,
            default.target,
            Target::from_name,
            &Target::ALL.map(Target::name),
        )?,
        cpu: named(
            "processor level",
            options.cpu,
            default.cpu,
            CpuLevel::from_name,
            &CpuLevel::ALL.map(CpuLevel::name),
        )?,
        traps: traps_of(options.traps)?,
        portable: options.portable.unwrap_or(default.portable),
    })
}

/// Compiles WebAssembly or its text format.
#[napi]
pub fn native_compile(source: Uint8ArraySlice<'_>, options: NativeCompileOptions) -> Result<Buffer> {
    Ok(core::compile(&source, &options_of(options)?).or_throw()?.into())
}

/// Checks an artifact's hashes and says what it is.
#[napi]
pub fn native_inspect(artifact: Uint8ArraySlice<'_>) -> Result<NativeArtifact> {
    let parsed = core::Artifact::parse(&artifact)
        .map_err(|e| error(edge::ErrorKind::LoadFailed, format!("cannot read the artifact: {e}")))?;
    Ok(NativeArtifact {
        identity: parsed.identity.to_string(),
        target: parsed.identity.target.name().to_owned(),
        metering: parsed.metering.name().to_owned(),
        traps: parsed.traps.name().to_owned(),
        code_bytes: u32::try_from(parsed.code.bytes.len()).unwrap_or(u32::MAX),
        code_sha256: parsed.code.sha256.iter().map(|b| format!("{b:02x}")).collect(),
        portable: parsed.portable.map(|p| p.bytes.to_vec().into()),
    })
}

/// Name and version of the engine.
#[napi]
pub const NATIVE_ENGINE: &str = edge::ENGINE_VERSION;
/// The version of this build.
#[napi]
pub const NATIVE_VERSION: &str = env!("CARGO_PKG_VERSION");
