//! The wasmtime engines of a runtime: one for each class of stack size, all with the same settings.
//!
//! The stack limit is a property of an engine and not of the code, so the same artifact runs under any
//! limit, and a module that recurses too deep traps alone.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::fmt::{self, Write};

use once_cell::race::OnceBox;
use sha2::{Digest, Sha256};
use wasmtime::{Config, Engine};

use crate::app::Metering;
use crate::artifact::Target;
use crate::error::{Error, Result};
use crate::hal::Capabilities;
use crate::memory::MemoryReserve;
use crate::platform::CodeMemory;
use crate::policy::STACK_BYTES_MIN;

/// Most that `stack_size` can be, in bytes (2 MiB).
pub const STACK_BYTES_LIMIT: u32 = 2 << 20;

/// The version of the engine that artifacts must be compiled for.
pub const ENGINE_VERSION: &str = "wasmtime-48.0.8";

/// How traps of guest code are detected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TrapMode {
    /// By checks in the code. The process's signal handlers stay its own. The default.
    #[default]
    Explicit = 0,
    /// By guard pages and signal handlers for SIGSEGV, SIGBUS, SIGFPE and SIGILL, which wasmtime installs for
    /// the process. Faster loads and stores; each memory takes 4 GiB of address space.
    Signals = 1,
}

impl TrapMode {
    pub(crate) const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Explicit),
            1 => Some(Self::Signals),
            _ => None,
        }
    }

    /// The name: `explicit` or `signals`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Signals => "signals",
        }
    }
}

/// What decides whether native code can run under an engine, beside the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) metering: Metering,
    pub(crate) traps: TrapMode,
}

/// A hash of settings, as text.
pub(crate) struct SettingsHash([u8; 16]);

impl SettingsHash {
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Hashes what is written to it.
struct Hash(Sha256);

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

impl Settings {
    /// The first 8 bytes, in hex, of the SHA-256 of everything that the code depends on. Each load asks for it, so it
    /// allocates nothing.
    pub(crate) fn hash(self) -> SettingsHash {
        let mut hash = Hash(Sha256::new());
        let _ = write!(
            hash,
            "fuse-settings-1 metering={} traps={} simd=1 bulk=1 multi-value=1 reference-types=1 tail-call=1 \
             threads=0 memory64=0 multi-memory=0 relaxed-simd=0 gc=0 exceptions=0 init-cow=0 may-move=0 unwind=0 opt=speed",
            self.metering.name(),
            self.traps.name()
        );
        let digest = hash.0.finalize();
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).map_or(b'0', |c| c as u8);
        let mut text = [0; 16];
        for (pair, byte) in text.chunks_exact_mut(2).zip(&digest[..8]) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        SettingsHash(text)
    }

    /// Settings that the compiler and the runtime must agree on.
    pub(crate) fn config(self) -> Config {
        let mut config = Config::new();
        config
            .wasm_backtrace_max_frames(None)
            .native_unwind_info(false)
            .wasm_multi_memory(false)
            .wasm_memory64(false)
            .wasm_relaxed_simd(false)
            .wasm_simd(true)
            .wasm_bulk_memory(true)
            .wasm_multi_value(true)
            .wasm_tail_call(true)
            .memory_init_cow(false)
            .epoch_interruption(self.metering.has_wall())
            .consume_fuel(self.metering.has_fuel())
            .generate_address_map(false);
        match self.traps {
            TrapMode::Explicit => {
                config
                    .signals_based_traps(false)
                    .memory_reservation(0)
                    .memory_guard_size(0)
                    .memory_reservation_for_growth(0)
                    // `MemoryReserve` takes the whole budget at once. So the compiler keeps the address of the
                    // memory in a register, where it would load it again for each access.
                    .memory_may_move(false);
            }
            TrapMode::Signals => {
                config
                    .signals_based_traps(true)
                    .memory_reservation(4 << 30)
                    .memory_guard_size(32 << 20)
                    .memory_reservation_for_growth(0);
            }
        }
        config
    }
}

/// Steps of stack size for each power of two.
const STEPS: u32 = 8;
pub(crate) const CLASSES: usize =
    ((STACK_BYTES_LIMIT.ilog2() - STACK_BYTES_MIN.ilog2()) * STEPS + 1) as usize;
/// Native code and Pulley byte code need different engines.
pub(crate) const KINDS: usize = 2;

/// The class of a stack size within `STACK_BYTES_MIN..=STACK_BYTES_LIMIT`: its number, and the size in bytes
/// that the class really has, at most an eighth more than was asked for.
fn stack_class(bytes: u32) -> (usize, u32) {
    let power = bytes.ilog2();
    let step = (1 << power) / STEPS;
    let steps = (bytes - (1 << power)).div_ceil(step);
    let class = (power - STACK_BYTES_MIN.ilog2()) * STEPS + steps;
    (class as usize, (1 << power) + steps * step)
}

/// The index of the engine for a stack within the limits, and for code of this target.
pub(crate) fn engine_index(stack_bytes: u32, target: Target) -> usize {
    stack_class(stack_bytes).0 * KINDS + usize::from(target.is_pulley())
}

/// The engines, made when first needed and kept until the runtime is dropped.
pub(crate) struct EngineTable {
    settings: Settings,
    /// Used without `std`, where the engine cannot make memory executable by itself.
    #[cfg_attr(feature = "std", expect(dead_code, reason = "the operating system is asked"))]
    code_memory: Option<Arc<dyn CodeMemory>>,
    pub(crate) reserve: Arc<MemoryReserve>,
    engines: [OnceBox<Engine>; CLASSES * KINDS],
}

impl EngineTable {
    pub(crate) fn new(settings: Settings, code_memory: Option<Arc<dyn CodeMemory>>) -> Self {
        Self {
            settings,
            code_memory,
            reserve: Arc::new(MemoryReserve::default()),
            engines: [const { OnceBox::new() }; CLASSES * KINDS],
        }
    }

    pub(crate) const fn settings(&self) -> Settings {
        self.settings
    }

    /// The engine with this index. Only atomics are touched.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&Engine> {
        self.engines.get(index)?.get()
    }

    /// How many engines there are.
    pub(crate) fn made(&self) -> usize {
        self.engines.iter().filter(|engine| engine.get().is_some()).count()
    }

    /// The engine for a stack of `stack_bytes`, and its index.
    pub(crate) fn for_stack(&self, stack_bytes: u32, target: Target) -> Result<(usize, &Engine)> {
        let (_, bytes) = stack_class(stack_bytes);
        let index = engine_index(stack_bytes, target);
        let engine = self.engines[index].get_or_try_init(|| self.make(bytes, target).map(Box::new))?;
        Ok((index, engine))
    }

    fn make(&self, stack_bytes: u32, target: Target) -> Result<Engine> {
        let mut config = self.settings.config();
        config.max_wasm_stack(stack_bytes as usize);
        if self.settings.traps == TrapMode::Explicit {
            config.with_host_memory(self.reserve.clone());
        }
        if target.is_pulley() {
            config.target(target.triple()).map_err(|e| engine_error(&e))?;
        }
        #[cfg(feature = "compiler")]
        config.enable_compiler(false);
        #[cfg(not(feature = "std"))]
        if let Some(memory) = &self.code_memory {
            config.with_custom_code_memory(Some(Arc::new(HostCode(memory.clone()))));
        }
        // SAFETY: the function says which instructions this processor has, as `cpuid` reports them.
        #[cfg(all(not(feature = "std"), target_arch = "x86_64"))]
        unsafe {
            config.detect_host_feature(crate::cpu::has_feature);
        }
        Engine::new(&config).map_err(|e| engine_error(&e))
    }
}

/// The host's way to make memory executable, as the engine wants to see it.
#[cfg(not(feature = "std"))]
struct HostCode(Arc<dyn CodeMemory>);

#[cfg(not(feature = "std"))]
impl wasmtime::CustomCodeMemory for HostCode {
    fn required_alignment(&self) -> usize {
        self.0.alignment()
    }

    fn publish_executable(&self, start: *const u8, len: usize) -> wasmtime::Result<()> {
        self.0.publish(start, len).map_err(wasmtime::Error::new)
    }

    fn unpublish_executable(&self, start: *const u8, len: usize) -> wasmtime::Result<()> {
        self.0.unpublish(start, len).map_err(wasmtime::Error::new)
    }
}

fn engine_error(e: &wasmtime::Error) -> Error {
    Error::invalid(format!("cannot make an engine: {e:#}"))
}

/// The capability that a built-in import needs.
#[must_use]
pub fn built_in_import(name: &str) -> Option<Capabilities> {
    Some(match name {
        "temp_get_reading" => Capabilities::TEMP_SENSOR,
        "timer_get_timestamp" => Capabilities::TIMER,
        "camera_last_frame" => Capabilities::CAMERA,
        "module_log_event" => Capabilities::LOG,
        "fuse_event_post" => Capabilities::EVENT_POST,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_classes_round_up_by_at_most_an_eighth() {
        for bytes in (STACK_BYTES_MIN..=STACK_BYTES_LIMIT).step_by(7).chain([STACK_BYTES_LIMIT]) {
            let (class, size) = stack_class(bytes);
            assert!(class < CLASSES, "{bytes}");
            assert!(size >= bytes && size <= bytes + bytes / 8, "{bytes} became {size}");
            assert_eq!(stack_class(size), (class, size), "a class is its own class");
        }
        for exact in [1024, 4096, 8192, 9216, 65_536, 1 << 20] {
            assert_eq!(stack_class(exact).1, exact);
        }
    }

    #[test]
    fn settings_hash_tells_settings_apart() {
        let hash = |metering, traps| String::from(Settings { metering, traps }.hash().as_str());
        let base = hash(Metering::Wall, TrapMode::Explicit);
        assert!(base.len() == 16 && base.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(base, hash(Metering::Fuel, TrapMode::Explicit));
        assert_ne!(base, hash(Metering::Wall, TrapMode::Signals));
    }
}
