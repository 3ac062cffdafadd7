//! Damaged artifacts: every bit and every length.

use fuse_edge::artifact::{
    Artifact, CompileOptions, CpuLevel, Demand, EngineIdentity, Payload, Target, compile,
};
use fuse_edge::{AppConfig, ErrorKind, ManualPlatform, Metering, Policy, Runtime, RuntimeConfig, TrapMode};
use proptest::prelude::*;

use crate::IDLE;

/// A runtime that takes artifacts and nothing else.
fn strict_runtime() -> Runtime {
    let config = RuntimeConfig { compile_on_load: false, ..RuntimeConfig::default() };
    Runtime::new(config, ManualPlatform::new()).unwrap()
}

fn small(target: Target, portable: bool) -> Vec<u8> {
    compile(IDLE.as_bytes(), &CompileOptions { target, portable, ..CompileOptions::default() }).unwrap()
}

fn refused(rt: &mut Runtime, bytes: &[u8], damage: &str) {
    let error = rt.load("damaged", bytes, &Policy::default()).expect_err(damage);
    assert_eq!(error.kind(), ErrorKind::LoadFailed, "{damage}: {error}");
}

#[test]
fn every_truncation_is_refused() {
    for target in [Target::default_here(), Target::pulley()] {
        let (mut rt, whole) = (strict_runtime(), small(target, true));
        for len in 0..whole.len() {
            refused(&mut rt, &whole[..len], &format!("cut to {len}"));
        }
        rt.load("whole", &whole, &Policy::default()).unwrap();
        assert_eq!(rt.modules().count(), 1);
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let (mut rt, whole) = (strict_runtime(), small(Target::default_here(), true));
    let mut bytes = whole.clone();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused(&mut rt, &bytes, &format!("bit {bit}"));
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(bytes, whole);
    rt.load("whole", &whole, &Policy::default()).unwrap();
}

/// A hash that was made to fit what was changed is not enough either where the header does not fit this runtime.
#[test]
fn a_well_formed_artifact_for_another_engine_is_refused() {
    let whole = small(Target::default_here(), false);
    let artifact = Artifact::parse(&whole).unwrap();
    let with = |change: &dyn Fn(&mut EngineIdentity)| {
        let mut identity = artifact.identity.clone();
        change(&mut identity);
        Artifact { identity, ..artifact.clone() }.to_bytes()
    };
    let mut rt = strict_runtime();
    for (what, bytes) in [
        ("another version", with(&|i| i.engine = "wasmtime-47.0.0".into())),
        ("another target", with(&|i| i.target = Target::S390x)),
        ("other settings", with(&|i| i.settings = "0123456789abcdef".into())),
    ] {
        refused(&mut rt, &bytes, what);
    }
    let metering = Artifact { metering: Metering::Fuel, ..artifact.clone() }.to_bytes();
    refused(&mut rt, &metering, "another metering");
}

#[test]
fn the_same_source_gives_the_same_artifact() {
    for target in [Target::default_here(), Target::pulley(), Target::Aarch64] {
        assert_eq!(small(target, true), small(target, true));
    }
}

fn identities() -> impl Strategy<Value = EngineIdentity> {
    let target = proptest::sample::select(Target::ALL.to_vec());
    ("[a-z0-9.-]{1,20}", target, "[a-z0-9+]{1,20}", "[0-9a-f]{16}")
        .prop_map(|(engine, target, cpu, settings)| EngineIdentity { engine, target, cpu, settings })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn artifacts_round_trip(
        identity in identities(),
        metering in proptest::sample::select(Metering::ALL.to_vec()),
        signals: bool,
        pages in proptest::option::of(0u32..=65_536),
        tables in proptest::option::of(0u32..32_767),
        code: Vec<u8>,
        portable: Option<Vec<u8>>,
    ) {
        let artifact = Artifact {
            identity,
            metering,
            traps: if signals { TrapMode::Signals } else { TrapMode::Explicit },
            demand: Demand { memory_pages: pages, table_elements: tables.map(|units| units * 64) },
            code: Payload::new(&code),
            portable: portable.as_deref().map(Payload::new),
        };
        let bytes = artifact.to_bytes();
        prop_assert_eq!(Artifact::parse(&bytes), Ok(artifact));
    }

    #[test]
    fn noise_is_refused(noise: Vec<u8>, prefixed: bool) {
        let mut bytes = if prefixed { fuse_edge::artifact::MAGIC.to_vec() } else { Vec::new() };
        bytes.extend(noise);
        prop_assert!(Artifact::parse(&bytes).is_err());
        prop_assert!(AppConfig::from_binary(&bytes).is_err());
    }
}

#[test]
fn processor_levels_that_do_not_go_with_a_target_are_refused() {
    let options = CompileOptions { target: Target::Aarch64, cpu: CpuLevel::V3, ..CompileOptions::default() };
    let error = compile(IDLE.as_bytes(), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArg);
    assert!(error.to_string().contains("aarch64"), "{error}");
}
