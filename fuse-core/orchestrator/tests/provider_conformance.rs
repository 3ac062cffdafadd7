//! One suite for every provider: the stub, and hosts behind agents of each kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod agent;

use std::sync::Arc;

use agent::{Agent, Flavour};
use fuse_orchestrator::provider::{
    conformance::{self, Bench, CASES, Can},
    stub::StubHost,
};

#[tokio::test]
async fn the_stub_passes() {
    let stub = || async { Bench::new(Arc::new(StubHost::new("h1", StubHost::standard_capacity()))) };
    let report = conformance::run(stub).await;
    assert!(report.failed().is_empty(), "\n{report}");
    assert_eq!(report.cases.len(), CASES.len());
}

/// Runs the suite over one agent, and sees that nothing is left there.
async fn over(agent: &Agent, can: Can) {
    let bench = || async { Bench { can, ..Bench::new(agent.provider()) } };
    let report = conformance::run(bench).await;
    assert!(report.failed().is_empty(), "\n{report}");
    assert!(agent.stub.vms().is_empty(), "{:?}", agent.stub.vms());
}

#[tokio::test]
async fn a_host_behind_our_agent_passes() {
    over(&Agent::start(Flavour::Ours).await, Can::ALL).await;
}

#[tokio::test]
async fn a_host_behind_our_agent_over_tls_passes() {
    over(&Agent::start_tls().await, Can::ALL).await;
}

const ORIGINAL: Can = Can { owner: false, logs: false, delete_snapshot: false, workload: false, ..Can::ALL };

#[tokio::test]
async fn a_host_behind_the_original_agent_passes() {
    over(&Agent::start(Flavour::Original).await, ORIGINAL).await;
}

/// The oldest agents do not say what they have; everything else is the same.
#[tokio::test]
async fn a_host_behind_the_first_agent_passes() {
    let agent = Agent::start(Flavour::First).await;
    let bench = Bench { can: ORIGINAL, ..Bench::new(agent.provider()) };
    for case in CASES.iter().filter(|case| case.name != "a_probe_tells_what_the_host_has") {
        let result = case.run(&bench).await;
        // It does not repeat the digest and the size of a snapshot; no case asks for them.
        assert_eq!(result, Ok(()), "{}", case.name);
    }
    let facts = agent.provider().probe().await.unwrap();
    assert_eq!(facts, fuse_orchestrator::provider::HostFacts::default());
}

/// The suite is worth something: a host that breaks a promise fails the case about it.
#[tokio::test]
async fn a_host_that_breaks_a_promise_fails_the_case_about_it() {
    use fuse_orchestrator::provider::{
        ProviderErrorKind, Verb,
        stub::{Effect, Fault},
    };
    let broken = [
        (Verb::Destroy, "destroy_is_idempotent"),
        (Verb::List, "lists_are_complete_and_know_whose_a_vm_is"),
        (Verb::Restore, "a_vm_is_set_back_to_a_snapshot"),
        (Verb::Upload, "files_arrive_whole_and_replace_older_ones"),
        (Verb::Logs, "logs_are_read_and_followed"),
    ];
    for (verb, name) in broken {
        let stub = StubHost::new("h1", StubHost::standard_capacity());
        stub.inject(Fault::always(verb, Effect::Fail(ProviderErrorKind::Failed, "broken".into())));
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        assert!(case.run(&Bench::new(Arc::new(stub))).await.is_err(), "{name}");
    }
}
