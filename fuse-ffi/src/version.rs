//! Which library this is.

use core::ffi::c_char;

/// The major version of the ABI: the number in the SONAME. Within one, functions, constants and trailing fields are
/// added, and nothing else changes.
pub const FUSE_ABI_MAJOR: u32 = 1;
/// The minor version of the ABI: it grows with each addition.
pub const FUSE_ABI_MINOR: u32 = 0;
/// The version of the ABI that this header describes: the major version times 65536, plus the minor version.
pub const FUSE_ABI_VERSION: u32 = 65536;

const _: () = assert!(FUSE_ABI_VERSION == FUSE_ABI_MAJOR << 16 | FUSE_ABI_MINOR);

/// The library contains the compiler: it loads .wasm and .wat, and has fuse_compile.
pub const FUSE_FEATURE_COMPILER: u32 = 1;
/// The library reads policies and applications as JSON.
pub const FUSE_FEATURE_JSON: u32 = 2;
/// The library has its own platform (Linux) and reads files.
pub const FUSE_FEATURE_PLATFORM: u32 = 4;
/// The library contains the orchestrator.
pub const FUSE_FEATURE_ORCHESTRATOR: u32 = 8;

/// The version of the ABI that the library has, as FUSE_ABI_VERSION. A program works with a library of the same
/// major version and of an equal or larger minor version.
///
/// ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub extern "C" fn fuse_abi_version() -> u32 {
    FUSE_ABI_VERSION
}

/// What the library contains: a set of the FUSE_FEATURE_ bits.
///
/// ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub extern "C" fn fuse_features() -> u32 {
    if cfg!(feature = "full") {
        FUSE_FEATURE_COMPILER | FUSE_FEATURE_JSON | FUSE_FEATURE_PLATFORM | FUSE_FEATURE_ORCHESTRATOR
    } else if cfg!(feature = "std") {
        FUSE_FEATURE_PLATFORM
    } else {
        0
    }
}

/// The version of Fuse, such as "0.1.0". The text lives as long as the program.
///
/// ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub extern "C" fn fuse_library_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The engine that artifacts must be compiled for, such as "wasmtime-48.0.8". The text lives as long as the program.
///
/// ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub extern "C" fn fuse_engine_version() -> *const c_char {
    const TEXT: &[u8] = {
        const NAME: &str = fuse_edge::ENGINE_VERSION;
        const WITH_END: [u8; NAME.len() + 1] = {
            let mut bytes = [0; NAME.len() + 1];
            let mut at = 0;
            while at < NAME.len() {
                bytes[at] = NAME.as_bytes()[at];
                at += 1;
            }
            bytes
        };
        &WITH_END
    };
    TEXT.as_ptr().cast()
}
