//! The ahead-of-time compiler.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Artifact, Demand, EngineIdentity, Payload, Target};
use crate::app::Metering;
use crate::engine::{Settings, TrapMode};
use crate::error::{Error, Result};

/// Which instructions beyond the base of its architecture native code may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CpuLevel {
    /// The base of the architecture, and on x86-64 what every machine since about 2009 has: SSE4.2 and POPCNT
    /// (x86-64-v2).
    #[default]
    Common,
    /// The base alone.
    Base,
    /// x86-64-v3: AVX2, BMI, FMA (about 2013). Only for x86-64.
    V3,
    /// All that the compiling machine has. Only for the machine's own target.
    Native,
}

impl CpuLevel {
    /// All levels.
    pub const ALL: [Self; 4] = [Self::Common, Self::Base, Self::V3, Self::Native];

    /// The name: `common`, `base`, `v3` or `native`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Common => "common",
            Self::Base => "base",
            Self::V3 => "v3",
            Self::Native => "native",
        }
    }

    /// The level of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.name() == name)
    }
}

const X86_V2: [&str; 5] = ["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];
const X86_V3: [&str; 6] = ["has_avx", "has_avx2", "has_bmi1", "has_bmi2", "has_fma", "has_lzcnt"];

/// How to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// The metering of the runtimes that it will run in.
    pub metering: Metering,
    /// What it will run on.
    pub target: Target,
    /// Which instructions it may use.
    pub cpu: CpuLevel,
    /// The trap mode of the runtimes that it will run in.
    pub traps: TrapMode,
    /// Whether the artifact also carries the WebAssembly, so that a host with a compiler can compile it again
    /// for another engine.
    pub portable: bool,
}

impl Default for CompileOptions {
    /// Wall metering, this machine's architecture, common instructions, explicit traps, portable.
    fn default() -> Self {
        Self {
            metering: Metering::Wall,
            target: Target::default_here(),
            cpu: CpuLevel::Common,
            traps: TrapMode::Explicit,
            portable: true,
        }
    }
}

/// The WebAssembly of a module: as it is when it is binary, assembled when it is the text format (.wat).
///
/// # Errors
/// [`InvalidArg`](crate::ErrorKind::InvalidArg) with the place in the text that does not parse.
pub fn to_wasm(source: &[u8]) -> Result<Cow<'_, [u8]>> {
    wat::parse_bytes(source).map_err(|e| Error::invalid(format!("cannot read the module: {e}")))
}

/// Compiles a module (.wasm or .wat) ahead of time. The same input and options give the same bytes.
///
/// ```
/// use fuse_edge::artifact::{Artifact, CompileOptions, compile};
/// let bytes = compile(br#"(module (func (export "module_step")))"#, &CompileOptions::default())?;
/// assert!(Artifact::parse(&bytes).is_ok());
/// # Ok::<(), fuse_edge::Error>(())
/// ```
///
/// # Errors
/// [`InvalidArg`](crate::ErrorKind::InvalidArg) when the module is not valid, uses a proposal that is not enabled, or when
/// the processor level does not go with the target.
pub fn compile(source: &[u8], options: &CompileOptions) -> Result<Vec<u8>> {
    let wasm = to_wasm(source)?;
    let settings = Settings { metering: options.metering, traps: options.traps };
    let (engine, cpu) = engine(settings, options)?;
    let code = engine.precompile_module(&wasm).map_err(|e| {
        Error::invalid(format!("cannot compile the module for {}: {e:#}", options.target.name()))
    })?;
    let artifact = Artifact {
        identity: EngineIdentity::new(settings, options.target, cpu),
        metering: options.metering,
        traps: options.traps,
        demand: Demand::of_wasm(&wasm),
        code: Payload::new(&code),
        portable: options.portable.then(|| Payload::new(&wasm)),
    };
    Ok(artifact.to_bytes())
}

fn engine(settings: Settings, options: &CompileOptions) -> Result<(wasmtime::Engine, String)> {
    let mut config = settings.config();
    config.cranelift_opt_level(wasmtime::OptLevel::Speed);
    let target = options.target;
    let cpu = match options.cpu {
        CpuLevel::Native if Target::native() == Some(target) => "native",
        CpuLevel::Native => return Err(level_error(options.cpu, target)),
        level => {
            config.target(target.triple()).map_err(|e| Error::invalid(format!("{e:#}")))?;
            let (name, flags): (_, &[&[&str]]) = match (level, target) {
                (CpuLevel::Common, Target::X86_64) => ("v2", &[&X86_V2]),
                (CpuLevel::V3, Target::X86_64) => ("v3", &[&X86_V2, &X86_V3]),
                (CpuLevel::V3, _) => return Err(level_error(level, target)),
                _ => ("base", &[]),
            };
            for flag in flags.iter().copied().flatten() {
                // SAFETY: these flags name instructions. The loader refuses the code on a processor without them.
                unsafe { config.cranelift_flag_enable(flag) };
            }
            name
        }
    };
    let engine = wasmtime::Engine::new(&config)
        .map_err(|e| Error::invalid(format!("cannot make a compiler for {}: {e:#}", target.name())))?;
    Ok((engine, cpu.to_string()))
}

fn level_error(level: CpuLevel, target: Target) -> Error {
    Error::invalid(format!("processor level `{}` does not go with target {}", level.name(), target.name()))
}
