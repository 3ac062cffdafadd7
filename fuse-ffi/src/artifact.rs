//! Artifacts: making them (full build), and looking into them.

use core::ffi::c_char;

use fuse_edge::artifact::Artifact;
use fuse_edge::{Metering, TrapMode};

use crate::crossing::{self, Crossing, Out};
use crate::handle::{Failed, Refusal, free_call};
use crate::status::*;
use crate::text::{ErrorBuffer, inline};

/// Metering: wall-clock quotas (cpu_quota_us).
pub const FUSE_METERING_WALL: u32 = 1;
/// Metering: fuel quotas (fuel_quota), counted instructions.
pub const FUSE_METERING_FUEL: u32 = 2;
/// Metering: both.
pub const FUSE_METERING_BOTH: u32 = 3;

/// Traps of modules are found by checks in the code; the signal handlers of the process stay its own.
pub const FUSE_TRAPS_EXPLICIT: u32 = 0;
/// Traps of modules are found by guard pages and signal handlers, which the engine installs for the process. Full build only.
pub const FUSE_TRAPS_SIGNALS: u32 = 1;

pub(crate) fn metering(raw: u32) -> Result<Metering, Refusal> {
    Metering::ALL.into_iter().find(|m| *m as u32 == raw).ok_or(Refusal::Value {
        what: "metering is not FUSE_METERING_WALL, FUSE_METERING_FUEL or FUSE_METERING_BOTH",
    })
}

pub(crate) fn traps(raw: u32) -> Result<TrapMode, Refusal> {
    match raw {
        FUSE_TRAPS_EXPLICIT => Ok(TrapMode::Explicit),
        FUSE_TRAPS_SIGNALS => Ok(TrapMode::Signals),
        _ => Err(Refusal::Value { what: "traps is not FUSE_TRAPS_EXPLICIT or FUSE_TRAPS_SIGNALS" }),
    }
}

/// Bytes of an engine identity in a struct.
pub const FUSE_IDENTITY_CAPACITY: usize = 256;

/// What an artifact is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_artifact_info_t {
    /// sizeof(fuse_artifact_info_t).
    pub struct_size: u32,
    /// FUSE_METERING_: what its code was compiled for.
    pub metering: u32,
    /// FUSE_TRAPS_: how its code finds traps.
    pub traps: u32,
    /// 1 when this machine and this library can run its code, else 0.
    pub runs_here: u32,
    /// Length of the code, in bytes.
    pub code_bytes: u64,
    /// Length of the WebAssembly that it carries, in bytes; 0 = none.
    pub portable_bytes: u64,
    /// SHA-256 of the code.
    pub code_sha256: [u8; 32],
    /// The engine that it needs: version, target, processor level and settings, as text.
    pub identity: [c_char; FUSE_IDENTITY_CAPACITY],
}

// SAFETY: numbers only.
unsafe impl Crossing for fuse_artifact_info_t {
    const FIRST_SIZE: usize = 64 + FUSE_IDENTITY_CAPACITY;
    const NAME: &'static str = "fuse_artifact_info_t";
}

/// Looks into an artifact: all its hashes are checked, nothing is run. `out`: set its struct_size first.
///
/// `error` (may be NULL) receives why it was refused, cut to `error_capacity` bytes.
///
/// FUSE_ERR_LOAD_FAILED for what is no artifact, truncated, damaged or of another format version.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_artifact_inspect(
    artifact: *const u8,
    length: usize,
    out: *mut fuse_artifact_info_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            let (bytes, out) = (crossing::bytes(artifact, length, "artifact")?, Out::new(out)?);
            let artifact = Artifact::parse(bytes)
                .map_err(|e| Failed::Other { status: FUSE_ERR_LOAD_FAILED, what: alloc::format!("{e}") })?;
            let same_engine = artifact.identity.engine == fuse_edge::ENGINE_VERSION;
            out.fill(&fuse_artifact_info_t {
                struct_size: 0,
                metering: artifact.metering as u32,
                traps: artifact.traps as u32,
                runs_here: u32::from(same_engine && artifact.identity.target.runs_here()),
                code_bytes: artifact.code.bytes.len() as u64,
                portable_bytes: artifact.portable.map_or(0, |p| p.bytes.len() as u64),
                code_sha256: artifact.code.sha256,
                identity: inline(&alloc::format!("{}", artifact.identity)),
            });
            Ok(())
        })
    }
}

#[cfg(feature = "full")]
pub use compile::*;

#[cfg(feature = "full")]
mod compile {
    use alloc::boxed::Box;
    use core::ffi::c_char;
    use core::ptr;

    use crate::crossing::{self, Crossing, Place};
    use crate::firewall;
    use crate::handle::{Failed, free_call};
    use crate::status::*;
    use crate::text::ErrorBuffer;
    use fuse_edge::artifact::{CompileOptions, CpuLevel, Target, compile};

    /// How to compile. FUSE_COMPILE_OPTIONS_INIT: for this machine's architecture, wall metering, explicit traps, with
    /// the WebAssembly inside.
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct fuse_compile_options_t {
        /// sizeof(fuse_compile_options_t).
        pub struct_size: u32,
        /// FUSE_METERING_: that of the runtimes that it will run in.
        pub metering: u32,
        /// FUSE_TRAPS_: that of the runtimes that it will run in.
        pub traps: u32,
        /// 1: the artifact also carries the WebAssembly, so that a host with a compiler can compile it again. 0: not.
        pub portable: u32,
        /// "x86_64", "aarch64", "riscv64", "s390x", "pulley32", "pulley64", "pulley32be" or "pulley64be"; NULL: this machine.
        pub target: *const c_char,
        /// Instructions that it may use: "common", "base", "v3" or "native"; NULL: "common".
        pub cpu: *const c_char,
    }

    // SAFETY: numbers and pointers.
    unsafe impl Crossing for fuse_compile_options_t {
        const FIRST_SIZE: usize = 16 + 2 * size_of::<usize>();
        const NAME: &'static str = "fuse_compile_options_t";
    }

    /// # Safety
    /// The pointers of `raw` are null or texts.
    unsafe fn options(raw: &fuse_compile_options_t) -> Result<CompileOptions, Failed> {
        let mut options = CompileOptions { portable: raw.portable != 0, ..CompileOptions::default() };
        options.metering = super::metering(raw.metering)?;
        options.traps = super::traps(raw.traps)?;
        let unknown = |what: &str, name: &str| Failed::Other {
            status: FUSE_ERR_INVALID_ARG,
            what: alloc::format!("unknown {what} `{name}`"),
        };
        if !raw.target.is_null() {
            // SAFETY: the caller's.
            let name = unsafe { crossing::string(raw.target, "target") }?;
            options.target = Target::from_name(name).ok_or_else(|| unknown("target", name))?;
        }
        if !raw.cpu.is_null() {
            // SAFETY: the caller's.
            let name = unsafe { crossing::string(raw.cpu, "cpu") }?;
            options.cpu = CpuLevel::from_name(name).ok_or_else(|| unknown("processor level", name))?;
        }
        Ok(options)
    }

    /// Compiles a module (.wasm or .wat) ahead of time. The same input and options give the same bytes. `options` may be
    /// NULL: FUSE_COMPILE_OPTIONS_INIT.
    ///
    /// `out` receives the artifact and `out_length` its length; free it with fuse_bytes_free. `error` (may be NULL)
    /// receives why it failed, cut to `error_capacity` bytes.
    ///
    /// FUSE_ERR_INVALID_ARG when the module or an option is not valid. Full build only. Takes milliseconds to seconds.
    ///
    /// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn fuse_compile(
        source: *const u8,
        length: usize,
        options: *const fuse_compile_options_t,
        out: *mut *mut u8,
        out_length: *mut usize,
        error: *mut c_char,
        error_capacity: usize,
    ) -> fuse_status_t {
        // SAFETY: the caller's.
        unsafe {
            free_call(ErrorBuffer::new(error, error_capacity), || {
                let source = crossing::bytes(source, length, "source")?;
                let (out, out_length) = (Place::new(out, "out")?, Place::new(out_length, "out_length")?);
                let options = match options.is_null() {
                    true => CompileOptions::default(),
                    false => self::options(&crossing::read(options)?)?,
                };
                let artifact = compile(source, &options)?.into_boxed_slice();
                out_length.put(artifact.len());
                out.put(Box::into_raw(artifact).cast());
                Ok(())
            })
        }
    }

    /// Frees bytes that the library allocated for the caller. NULL is allowed and does nothing.
    ///
    /// ISR-safe: no; allocates: no; blocks: no; thread-safe: yes.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn fuse_bytes_free(bytes: *mut u8, length: usize) -> fuse_status_t {
        if bytes.is_null() {
            return FUSE_OK;
        }
        // SAFETY: the library gave both, and nobody uses them any more.
        let free = || drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(bytes, length)) });
        firewall::catch(free).map_or(FUSE_ERR_INTERNAL, |()| FUSE_OK)
    }
}
