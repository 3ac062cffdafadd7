//! How much stack a module can need, as far as that can be known without running it.

use serde::Serialize;

use crate::output::grouped;
use crate::wasm::native::NativeFrames;
use crate::wasm::{Uncomputable, WasmModule};

/// Bounds that hold for every run of the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StackBound {
    /// Most calls that can be nested, the entry included; none when it cannot be computed.
    pub(crate) call_depth: Option<u64>,
    /// Most bytes of stack that the native code can take; none when it cannot be computed.
    pub(crate) native_bytes: Option<u64>,
    /// What the native bound is for, such as `x86_64`.
    pub(crate) native_target: Option<&'static str>,
    /// The chain of calls that takes the most, the entry first.
    pub(crate) chain: Vec<String>,
    /// Why there is no bound, or none in bytes.
    pub(crate) why_not: Option<String>,
}

/// Most functions of a chain that are named; an ellipsis stands for the rest.
const CHAIN_MAX: usize = 12;

impl StackBound {
    /// The bounds of a module, in bytes too where its x86-64 code is at hand.
    pub(crate) fn of(module: &WasmModule, x86_64: Option<&[u8]>) -> Self {
        let named = |chain: &[u32]| {
            let mut names: Vec<String> =
                chain.iter().take(CHAIN_MAX).map(|f| module.calls.name(*f)).collect();
            names.extend((chain.len() > CHAIN_MAX).then(|| "…".to_owned()));
            names
        };
        let depth = match module.calls.bound(|_| Some(1)) {
            Ok(depth) => depth,
            Err(why) => return Self::none(&why),
        };
        let mut bound = Self {
            call_depth: Some(depth.cost),
            native_bytes: None,
            native_target: None,
            chain: named(&depth.chain),
            why_not: None,
        };
        let Some(elf) = x86_64 else {
            bound.why_not = Some("frame sizes are only known for code compiled for x86_64".into());
            return bound;
        };
        if let Some(name) = module.calls.tail_caller() {
            bound.why_not = Some(format!("{name} makes tail calls, which resize frames"));
            return bound;
        }
        let frames = NativeFrames::read(elf, module.calls.imported(), module.calls.defined());
        match frames.and_then(|frames| {
            let native = module.calls.bound(|f| frames.function(f)).map_err(|e| e.to_string())?;
            Ok((native, frames.entry()))
        }) {
            Ok((native, entry)) => {
                bound.native_bytes = Some(native.cost + entry);
                bound.native_target = Some("x86_64");
                bound.chain = named(&native.chain);
            }
            Err(why) => bound.why_not = Some(why),
        }
        bound
    }

    fn none(why: &Uncomputable) -> Self {
        let why_not = Some(why.to_string());
        Self { call_depth: None, native_bytes: None, native_target: None, chain: Vec::new(), why_not }
    }

    /// In a few words, for a table.
    pub(crate) fn short(&self) -> String {
        match (self.native_bytes, self.call_depth) {
            (Some(bytes), _) => format!("at most {} B", grouped(bytes)),
            (None, Some(depth)) => format!("{depth} calls deep"),
            (None, None) => "not computable".into(),
        }
    }

    /// What the bound comes from: the dearest chain of calls, and why there is none in bytes.
    pub(crate) fn by(&self) -> String {
        let chain = self.chain.join(" -> ");
        match &self.why_not {
            None => chain,
            Some(why) if chain.is_empty() => why.clone(),
            Some(why) => format!("{chain} ({why})"),
        }
    }

    /// In full.
    pub(crate) fn long(&self) -> String {
        match (self.native_target, self.call_depth) {
            (Some(target), Some(depth)) => {
                format!("{} in {target} code, calls nest at most {depth} deep: {}", self.short(), self.by())
            }
            (None, Some(depth)) => format!("calls nest at most {depth} deep: {}", self.by()),
            _ => self.by(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::binary::Binary;
    use fuse_edge::Metering;

    fn bound(text: &str) -> StackBound {
        let binary = Binary::open(text.as_bytes()).unwrap().with_code(Metering::Wall);
        StackBound::of(&binary.module.unwrap(), binary.x86_64.as_deref())
    }

    #[test]
    fn depth_and_bytes_of_the_dearest_chain() {
        let bound = bound(
            r#"(module (func $leaf (param i64) (result i64) (i64.mul (local.get 0) (i64.const 3)))
                (func (export "module_init"))
                (func (export "module_step") (drop (call $leaf (i64.const 1)))))"#,
        );
        assert_eq!(
            (bound.call_depth, bound.native_target, bound.why_not.as_ref()),
            (Some(2), Some("x86_64"), None)
        );
        assert_eq!(bound.chain, ["module_step", "leaf"]);
        assert!(bound.native_bytes.is_some_and(|bytes| (800..1200).contains(&bytes)), "{bound:?}");
    }

    #[test]
    fn tail_calls_have_a_depth_and_no_bound_in_bytes() {
        let bound = bound(
            r#"(module (func $next (param i64 i64 i64 i64 i64 i64 i64 i64))
                (func $first (return_call $next (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
                    (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)))
                (func (export "module_step") (call $first)))"#,
        );
        assert_eq!((bound.call_depth, bound.native_bytes), (Some(3), None));
        assert!(bound.by().contains("first makes tail calls"), "{}", bound.by());
    }
}
