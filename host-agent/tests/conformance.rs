//! The conformance suite of providers, over QEMU: in process, and over HTTP through the daemon's routes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{config, import_linux, skip};
use fuse_host_agent::{
    Config, DriverConfig, LocalProvider, NetworkConfig,
    agent::HostAgent,
    driver::qemu::Accelerator,
    http::{Api, Listener, router},
};
use fuse_orchestrator::{
    model::{HostId, Resources},
    provider::{
        Connector, HostAddress, Provider,
        conformance::{self, Bench},
        remote::RemoteConnector,
    },
};

const TOKEN: &str = "a token of the conformance suite";

async fn agent(data: &Path) -> Option<HostAgent> {
    let guest = match common::qemu() {
        Ok(guest) => guest,
        Err(why) => {
            skip("the conformance suite over QEMU", &why);
            return None;
        }
    };
    let driver = DriverConfig::Qemu { program: "qemu-system-x86_64".into(), accelerator: Accelerator::Auto };
    let settings = Config { network: NetworkConfig::User, boot_seconds: 300, ..config(data, driver) };
    let agent = HostAgent::open(settings).await.unwrap();
    import_linux(&agent, &guest);
    agent.warm_up(None, Resources { cpus: 1, ram_mb: 128, storage_gb: 1 }).await.unwrap();
    Some(agent)
}

async fn passes(provider: Arc<dyn Provider>) {
    let report = conformance::run(|| {
        let provider = Arc::clone(&provider);
        async { Bench { patience: Duration::from_secs(240), ..Bench::new(provider) } }
    })
    .await;
    assert!(report.failed().is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    passes(Arc::new(LocalProvider::new(agent.clone(), "this host"))).await;
    end(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None, false).await.unwrap();
    let url = format!("http://{}", listener.address().unwrap());
    let routes = router(Api::new(agent.clone(), TOKEN.into()));
    tokio::spawn(listener.serve(routes, std::future::pending()));
    let address = HostAddress {
        id: HostId::new("h1").unwrap(),
        url,
        backend: "qemu".to_owned(),
        token: Some(TOKEN.into()),
        certificate: None,
    };
    passes(RemoteConnector::default().connect(&address).unwrap()).await;
    end(&agent).await;
}

async fn end(agent: &HostAgent) {
    for vm in agent.list(None, None) {
        agent.destroy(&vm.name).await.unwrap();
    }
}
