//! What the fuzz targets do with their bytes. Each function panics when a promise is broken, and must do nothing else
//! that a fuzzer would call a crash.
//!
//! `tests/fuzz.sh` runs the targets; the kept corpus is also replayed by this crate's test, without a fuzzer.

#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a broken promise is told to the fuzzer by a panic")]

mod modules;
mod seal;

pub use modules::module;

use fuse_edge::artifact::Artifact;
use fuse_edge::{AppConfig, ErrorKind, ManualPlatform, POLICY_BYTES, Policy, Runtime, RuntimeConfig};

/// Artifacts: as the bytes are, the loader says what is wrong; with hashes that fit, the header still must. What parses is
/// written again as it was.
pub fn artifact(data: &[u8]) {
    // Code from outside is run only after its hash was checked; a fuzzer that guesses a SHA-256 deserves to win.
    let config = RuntimeConfig { compile_on_load: false, ..RuntimeConfig::default() };
    let mut rt = Runtime::new(config, ManualPlatform::new()).unwrap();
    match rt.load("fuzzed", data, &Policy::default()) {
        Ok(id) => rt.unload(id).unwrap(),
        Err(e) => assert_eq!(e.kind(), ErrorKind::LoadFailed, "{e}"),
    }
    if let Ok(artifact) = Artifact::parse(data) {
        assert_eq!(artifact.to_bytes(), data);
    }
    let sealed = seal::artifact(data);
    if let Ok(artifact) = Artifact::parse(&sealed) {
        assert_eq!(artifact.to_bytes(), sealed);
    }
}

/// Policies and applications as JSON: an error with a path, or something that its binary form says as well.
pub fn policy_json(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    match Policy::from_json(text) {
        Ok(policy) => {
            let known = Policy { fuel_quota: 0, priority: fuse_edge::DEFAULT_PRIORITY, ..policy.clone() };
            assert_eq!(Policy::from_bytes(&policy.to_bytes()), Ok(known));
        }
        Err(e) => assert!(e.kind() == ErrorKind::InvalidArg && e.to_string().contains('$'), "{e}"),
    }
    match AppConfig::from_json(text) {
        Ok(app) => assert_eq!(AppConfig::from_binary(&app.to_binary().unwrap()), Ok(app)),
        Err(e) => assert!(e.kind() == ErrorKind::InvalidArg && e.to_string().contains('$'), "{e}"),
    }
}

/// Policies as 32 bytes: any other length is refused, and what is taken is written again as it was.
pub fn policy_binary(data: &[u8]) {
    match Policy::from_bytes(data) {
        Ok(policy) => {
            assert_eq!(data.len(), POLICY_BYTES);
            assert_eq!(Policy::from_bytes(&policy.to_bytes()), Ok(policy));
        }
        Err(e) => assert_eq!(e.kind(), ErrorKind::InvalidArg),
    }
}

/// Packed applications: as they are, and with a length and a hash that fit.
pub fn app_binary(data: &[u8]) {
    for bytes in [data.to_vec(), seal::application(data)] {
        match AppConfig::from_binary(&bytes) {
            Ok(app) => {
                // Activation 0 is read as INTERVAL and written so, hence not the bytes but the meaning.
                assert_eq!(AppConfig::from_binary(&app.to_binary().unwrap()), Ok(app));
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::InvalidArg, "{e}"),
        }
    }
}
