//! Which instructions the processor has, where there is no `std` to ask.

use core::arch::x86_64::{__cpuid, __cpuid_count};

/// Whether the processor has the instructions that wasmtime knows by this name; `None` for unknown names.
/// Those that need the operating system to save wide registers are reported as absent: nobody is there to ask.
pub(crate) fn has_feature(name: &str) -> Option<bool> {
    // Every x86-64 processor has `cpuid`, and leaf 0 says up to which leaf it answers.
    let one = __cpuid(1);
    let seven = (__cpuid(0).eax >= 7).then(|| __cpuid_count(7, 0));
    let bit = |word: u32, bit: u32| Some(word & (1 << bit) != 0);
    match name {
        "sse3" => bit(one.ecx, 0),
        "ssse3" => bit(one.ecx, 9),
        "sse4.1" => bit(one.ecx, 19),
        "sse4.2" => bit(one.ecx, 20),
        "popcnt" => bit(one.ecx, 23),
        "bmi1" => Some(seven.is_some_and(|s| s.ebx & (1 << 3) != 0)),
        "bmi2" => Some(seven.is_some_and(|s| s.ebx & (1 << 8) != 0)),
        "cmpxchg16b" => bit(one.ecx, 13),
        "avx" | "avx2" | "fma" | "avx512bitalg" | "avx512dq" | "avx512f" | "avx512vl" | "avx512vbmi"
        | "lzcnt" => Some(false),
        _ => None,
    }
}
