//! Frame sizes of native code, as the compiler wrote them.
//!
//! An x86-64 function of the engine sets up its whole frame in its prologue (`push rbp; mov rbp, rsp; sub rsp, N`)
//! and then compares the stack pointer with the limit. So the prologue tells exactly how much of `stack_size` a
//! call takes. A function that begins in any other way has no known frame, and the bound says so.

use std::collections::BTreeMap;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// Return address and saved frame pointer.
const LINK_BYTES: u64 = 16;

/// `push rbp; mov rbp, rsp`.
const PROLOGUE: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];
/// `sub rsp, imm8` and `sub rsp, imm32`.
const SUB_BYTE: [u8; 3] = [0x48, 0x83, 0xec];
const SUB_LONG: [u8; 3] = [0x48, 0x81, 0xec];

/// What the engine's own frames take of `stack_size` between the point from which it counts and the trampoline
/// into the module. It depends on how the host was built: 513 to 544 bytes were measured in an unoptimised build of
/// the command line.
pub(crate) const ENTRY_RESERVE_BYTES: u64 = 768;

/// The frames of one module's x86-64 code.
#[derive(Debug)]
pub(crate) struct NativeFrames {
    /// By index among the functions that the module defines.
    functions: Vec<Option<u64>>,
    entry: u64,
}

impl NativeFrames {
    /// Reads the frames of a module that defines `defined` functions after its imports, out of the ELF image that
    /// the engine's compiler wrote.
    pub(crate) fn read(elf: &[u8], imported: u32, defined: usize) -> Result<Self, String> {
        let file = object::File::parse(elf).map_err(|e| format!("the code is no ELF image: {e}"))?;
        let mut frames: BTreeMap<u32, Option<u64>> = BTreeMap::new();
        let mut entry = 0;
        for symbol in file.symbols() {
            let Ok(name) = symbol.name() else { continue };
            let code = symbol
                .section_index()
                .and_then(|index| file.section_by_index(index).ok())
                .and_then(|section| section.data_range(symbol.address(), symbol.size()).ok().flatten());
            let size = code.and_then(frame);
            if let Some(index) = function_index(name) {
                frames.insert(index, size);
            } else if name.contains("array_to_wasm_trampoline") {
                // The runtime enters through one of these. They set up no more than a frame.
                let own = size.ok_or("the trampoline into the module has an unknown frame")?;
                entry = entry.max(own);
            }
        }
        let functions: Vec<Option<u64>> =
            (imported..).take(defined).map(|index| frames.get(&index).copied().flatten()).collect();
        Ok(Self { functions, entry })
    }

    /// The frame of a function that the module defines, in bytes, the return address included.
    pub(crate) fn function(&self, defined: u32) -> Option<u64> {
        self.functions.get(defined as usize).copied().flatten()
    }

    /// What is taken before the first function of the module: the trampoline and the engine's own frames.
    pub(crate) const fn entry(&self) -> u64 {
        self.entry + ENTRY_RESERVE_BYTES
    }
}

/// The index in `wasm[0]::function[7]` or `wasm[0]::function[7]::name`.
fn function_index(symbol: &str) -> Option<u32> {
    let (index, rest) = symbol.strip_prefix("wasm[0]::function[")?.split_once(']')?;
    (rest.is_empty() || rest.starts_with("::")).then(|| index.parse().ok()).flatten()
}

/// The size of the frame that this code sets up.
fn frame(code: &[u8]) -> Option<u64> {
    let rest = code.strip_prefix(&PROLOGUE)?;
    let own = if let Some(rest) = rest.strip_prefix(&SUB_BYTE) {
        u64::from(*rest.first()?)
    } else if let Some(rest) = rest.strip_prefix(&SUB_LONG) {
        u64::from(u32::from_le_bytes(*rest.first_chunk()?))
    } else if rest.windows(3).any(|w| w == SUB_BYTE || w == SUB_LONG) {
        // Something is done before the frame is set up: a probe of a large one.
        return None;
    } else {
        0
    };
    Some(own + LINK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fuse_edge::artifact::{Artifact, CompileOptions, Target, compile};

    #[test]
    fn prologues() {
        let code = |tail: &[u8]| [&PROLOGUE[..], tail].concat();
        assert_eq!(frame(&code(&[0x48, 0x83, 0xec, 0x10, 0x90])), Some(32));
        assert_eq!(frame(&code(&[0x48, 0x81, 0xec, 0xb0, 1, 0, 0])), Some(0x1b0 + 16));
        assert_eq!(frame(&code(&[0xc3])), Some(16));
        assert_eq!(frame(&code(&[0x90, 0x48, 0x81, 0xec, 0, 0x10, 0, 0])), None, "a probe comes first");
        assert_eq!(frame(&[0xc3]), None);
        assert_eq!(frame(&code(&[0x48, 0x81, 0xec, 1])), None, "cut");
    }

    #[test]
    fn symbols() {
        assert_eq!(function_index("wasm[0]::function[12]::a::b"), Some(12));
        assert_eq!(function_index("wasm[0]::function[3]"), Some(3));
        assert_eq!(function_index("wasm[0]::array_to_wasm_trampoline[3]"), None);
    }

    /// The engine's compiler keeps to the form that is read here.
    #[test]
    fn every_function_of_compiled_code_has_a_frame() {
        let text = r#"(module (import "env" "timer_get_timestamp" (func $t (result i64)))
            (func $leaf (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
            (func (export "module_step") (drop (call $t)) (drop (call $leaf (i32.const 1)))))"#;
        let options = CompileOptions { target: Target::X86_64, ..CompileOptions::default() };
        let bytes = compile(text.as_bytes(), &options).unwrap();
        let frames = NativeFrames::read(Artifact::parse(&bytes).unwrap().code.bytes, 1, 2).unwrap();
        for function in 0..2 {
            let size = frames.function(function).unwrap();
            assert!((16..256).contains(&size), "{size}");
        }
        assert!(frames.entry() > ENTRY_RESERVE_BYTES);
        assert_eq!(frames.function(2), None);
        assert!(NativeFrames::read(b"not ELF", 0, 0).is_err());
    }
}
