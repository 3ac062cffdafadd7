//! How much memory a runtime and its modules take at most, worked out before any of it is taken.
//!
//! On a machine whose memory is one fixed arena, running out must be an answer and not an accident. So a runtime that is
//! given a [`MemoryLedger`] reserves a bound of what each call will allocate before it does: for itself when it is made,
//! for each class of stack size when its first module comes, for each module when it is loaded. What does not fit is
//! [`OutOfMemory`](crate::ErrorKind::OutOfMemory), with nothing changed. Steps allocate nothing, so they need no more.
//!
//! The bounds count bytes of the allocator: sizes rounded up, with a header for each block.

use crate::artifact::Artifact;
use crate::engine::{CLASSES, KINDS, engine_index};
use crate::error::{Error, Result};
use crate::log::Log;
use crate::platform::MemoryLedger;
use crate::policy::{PAGE_BYTES, Policy};
use crate::runtime::RuntimeConfig;

/// A runtime without modules, beside its log.
const RUNTIME: u64 = 10 * 1024;
/// A place for a module: in the schedule, its queues and lists, and the report of a tick.
const PLACE: u64 = 640;
/// One function of a host group, as the runtime keeps it.
const FUNCTION: u64 = 1536;
/// An engine with its linker and the built-in imports.
const ENGINE: u64 = 20 * 1024;
/// One function of a host group in one linker.
const IMPORT: u64 = 3 * 1024;
/// What every module takes beside the parts below.
const MODULE: u64 = 12 * 1024;
/// What every instance takes beside its memory, tables and globals.
const INSTANCE: u64 = 6 * 1024;
/// Bytes of memory for each byte of what the compiler noted about a module (types, functions, globals, exports).
const MODULE_PER_INFO: u64 = 44;
const INSTANCE_PER_INFO: u64 = 16;
/// One element of a table.
const ELEMENT: u64 = 16;
/// A block of the allocator beside what is in it.
const BLOCK: u64 = 64;

/// What a runtime itself takes.
pub(crate) fn runtime_bytes(config: &RuntimeConfig) -> u64 {
    let app = &config.application;
    let log = Log::bytes(usize::try_from(app.log_pool_bytes).unwrap_or(usize::MAX));
    RUNTIME + log + u64::from(app.max_modules) * PLACE + app.memory_bytes()
}

/// What a host group takes.
pub(crate) const fn group_bytes(functions: u64, engines: u64) -> u64 {
    FUNCTION + functions * (FUNCTION + engines * IMPORT)
}

/// What an engine takes, with a linker that holds all imports.
pub(crate) const fn engine_bytes(functions: u64) -> u64 {
    ENGINE + functions * IMPORT
}

/// What one module takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModuleBudget {
    /// Which engine it needs; [`KINDS`] × [`CLASSES`] are possible.
    pub(crate) engine: usize,
    /// Its code and what is known of it.
    pub(crate) code: u64,
    /// One instance: memory, tables, globals, entry points.
    pub(crate) instance: u64,
}

impl ModuleBudget {
    /// The bound for an artifact, from its header and the sizes of its sections. `None` for what is no artifact.
    pub(crate) fn of(artifact: &[u8], policy: &Policy, code_alignment: u64) -> Option<Self> {
        let glance = Artifact::glance(artifact)?;
        let unknown = u64::from(policy.memory_pages_max);
        let pages = glance.demand.memory_pages.map_or(unknown, u64::from).min(unknown);
        let memory = policy.memory_budget(pages * PAGE_BYTES);
        let elements = glance.demand.table_elements.map_or(crate::host::TABLE_ELEMENTS_MAX as u64, u64::from);
        let (len, info) = sizes(glance.code);
        let alignment = code_alignment.max(16);
        let stack = policy.stack_size.clamp(crate::policy::STACK_BYTES_MIN, crate::engine::STACK_BYTES_LIMIT);
        Some(Self {
            engine: engine_index(stack, glance.target),
            code: len.next_multiple_of(alignment) + alignment + BLOCK + info * MODULE_PER_INFO + MODULE,
            instance: instance_bytes(glance.code, memory, elements),
        })
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.code + self.instance
    }
}

/// What one instance of this code takes, with linear memory of at most `memory` bytes and `elements` in its tables.
pub(crate) fn instance_bytes(code: &[u8], memory: u64, elements: u64) -> u64 {
    memory + elements * ELEMENT + 2 * BLOCK + sizes(code).1 * INSTANCE_PER_INFO + INSTANCE
}

/// Length of the code, and of what is noted about it.
fn sizes(code: &[u8]) -> (u64, u64) {
    let len = code.len() as u64;
    (len, info_bytes(code).unwrap_or(len).min(len))
}

/// Size of the section in which the engine's compiler notes what a module is made of.
fn info_bytes(elf: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b".wasmtime.info\0";
    let number = |at: usize, len: usize| -> Option<u64> {
        let field = elf.get(at..at.checked_add(len)?)?;
        Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let wide = *elf.get(4)? == 2;
    if !elf.starts_with(b"\x7fELF") {
        return None;
    }
    // Where the header says where the sections are, how large an entry is, how many there are and which holds names.
    let (table, entries) = if wide { (number(0x28, 8)?, 0x3a) } else { (number(0x20, 4)?, 0x2e) };
    let (size, count, names) = (number(entries, 2)?, number(entries + 2, 2)?, number(entries + 4, 2)?);
    let entry = |index: u64| usize::try_from(table.checked_add(index.checked_mul(size)?)?).ok();
    let (offset, length, word) = if wide { (0x18, 0x20, 8) } else { (0x10, 0x14, 4) };
    let names = usize::try_from(number(entry(names)? + offset, word)?).ok()?;
    for index in 0..count {
        let at = entry(index)?;
        let name = names.checked_add(usize::try_from(number(at, 4)?).ok()?)?;
        if elf.get(name..)?.starts_with(NAME) {
            return number(at + length, word);
        }
    }
    None
}

/// Works out how much memory a deployment takes, before a runtime is there. Allocates nothing.
///
/// ```
/// # #[cfg(feature = "compiler")] {
/// use fuse_edge::artifact::{CompileOptions, compile};
/// use fuse_edge::{MemoryPlan, Policy, RuntimeConfig};
/// let artifact = compile(br#"(module (func (export "module_step")))"#, &CompileOptions::default())?;
/// let mut plan = MemoryPlan::new(&RuntimeConfig::default(), 0, 0, 1);
/// let alone = plan.bytes();
/// assert!(plan.add(&artifact, &Policy::default()));
/// assert!(plan.bytes() > alone + artifact.len() as u64);
/// # }
/// # Ok::<(), fuse_edge::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    bytes: u64,
    functions: u64,
    code_alignment: u64,
    engines: [bool; CLASSES * KINDS],
    largest: u64,
}

impl MemoryPlan {
    /// A runtime with this configuration, `groups` host groups with `functions` functions in all, on a platform whose code
    /// memory has this alignment in bytes (1 without code memory).
    #[must_use]
    pub fn new(config: &RuntimeConfig, groups: u32, functions: u32, code_alignment: u64) -> Self {
        let functions = u64::from(functions);
        Self {
            bytes: runtime_bytes(config) + u64::from(groups) * FUNCTION + functions * FUNCTION,
            functions,
            code_alignment,
            engines: [false; CLASSES * KINDS],
            largest: 0,
        }
    }

    /// Adds a module. `false` when the bytes are not an artifact: nothing is added then.
    #[must_use]
    pub fn add(&mut self, artifact: &[u8], policy: &Policy) -> bool {
        let Some(budget) = ModuleBudget::of(artifact, policy, self.code_alignment) else { return false };
        if !core::mem::replace(&mut self.engines[budget.engine], true) {
            self.bytes += engine_bytes(self.functions);
        }
        self.bytes += budget.bytes();
        self.largest = self.largest.max(budget.bytes());
        true
    }

    /// Adds room to update or restart any one of the modules while the others stay: the old one is dropped only when
    /// the new one runs.
    pub const fn add_spare(&mut self) {
        self.bytes += self.largest;
    }

    /// How many bytes that is.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Bytes of a ledger, given back on drop.
pub(crate) struct Reservation {
    ledger: &'static dyn MemoryLedger,
    bytes: u64,
}

impl Reservation {
    /// Reserves for `what`; nothing where there is no ledger.
    pub(crate) fn take(
        ledger: Option<&'static dyn MemoryLedger>,
        what: &'static str,
        bytes: u64,
    ) -> Result<Option<Self>> {
        let Some(ledger) = ledger else { return Ok(None) };
        match ledger.reserve(bytes) {
            Ok(()) => Ok(Some(Self { ledger, bytes })),
            Err(available) => Err(Error::OutOfMemory { what, needed: bytes, available }),
        }
    }

    /// Holds another reservation of the same ledger too.
    pub(crate) fn absorb(&mut self, other: Option<Self>) {
        if let Some(mut other) = other {
            self.bytes += core::mem::take(&mut other.bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.release(self.bytes);
    }
}

#[cfg(all(test, feature = "compiler"))]
mod tests {
    use super::*;
    use crate::artifact::{CompileOptions, Target, compile};

    #[test]
    fn knows_memory_tables_and_engine_of_an_artifact() {
        let text =
            br#"(module (table 1000 funcref) (memory (export "memory") 2) (func (export "module_step")))"#;
        let policy = Policy { memory_pages_max: 8, heap_size: 65_536, ..Policy::default() };
        for target in [Target::default_here(), Target::Pulley64, Target::Pulley32] {
            let artifact = compile(text, &CompileOptions { target, ..CompileOptions::default() }).unwrap();
            let glance = Artifact::glance(&artifact).unwrap();
            let info = info_bytes(glance.code).expect("the section is there");
            assert!(info > 20 && info < glance.code.len() as u64, "{info}");
            let budget = ModuleBudget::of(&artifact, &policy, 4096).unwrap();
            let fixed = 3 * PAGE_BYTES + 1024 * ELEMENT;
            assert!(budget.instance >= fixed && budget.instance < fixed + 40_000, "{budget:?}");
            assert!(budget.code > glance.code.len() as u64);
        }
    }

    #[test]
    fn damaged_headers_are_no_artifacts_or_bounded() {
        let artifact =
            compile(br#"(module (func (export "module_step")))"#, &CompileOptions::default()).unwrap();
        for len in 0..artifact.len().min(400) {
            let _ = ModuleBudget::of(&artifact[..len], &Policy::default(), 1);
        }
        let mut changed = artifact.clone();
        for at in 0..changed.len() {
            changed[at] ^= 0xff;
            if let Some(budget) = ModuleBudget::of(&changed, &Policy::default(), 1) {
                assert!(budget.bytes() < 1 << 40, "byte {at}");
            }
            changed[at] ^= 0xff;
        }
    }
}
