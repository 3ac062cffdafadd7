//! `fuse status`: how a control plane is.

use std::collections::BTreeMap;

use fuse_orchestrator::model::{EnvironmentFilter, HostState, Liveness};
use serde::Serialize;

use super::Session;
use crate::outcome::{Outcome, Verdict};
use crate::output::Page;

/// The most pages of a list that are counted: 100,000 entries.
const PAGES: usize = 500;

#[derive(Serialize)]
struct Status {
    url: String,
    version: String,
    ready: bool,
    state_store: String,
    fleet: String,
    environments: BTreeMap<String, usize>,
    hosts: usize,
    hosts_ready: usize,
    hosts_cordoned: usize,
    dead_letters: usize,
}

pub(crate) async fn run(session: Session) -> Outcome {
    let (fuse, connection) = (&session.fuse, &session.connection);
    let version = connection.version().await?.version;
    let readiness = connection.readiness().await?;
    let mut environments = BTreeMap::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let page = fuse.list(&EnvironmentFilter::default(), Some(200), cursor.as_deref()).await?;
        for environment in page.items {
            *environments.entry(environment.state.to_string()).or_default() += 1;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let (mut hosts, mut hosts_ready, mut hosts_cordoned) = (0, 0, 0);
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let page = fuse.hosts(Some(200), cursor.as_deref()).await?;
        for host in page.items {
            hosts += 1;
            hosts_ready += usize::from(host.liveness.state == Liveness::Ready);
            hosts_cordoned += usize::from(host.state == HostState::Cordoned);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let status = Status {
        url: connection.url().to_owned(),
        version,
        ready: readiness.is_ready(),
        state_store: readiness.checks.state_store,
        fleet: readiness.checks.fleet,
        environments,
        hosts,
        hosts_ready,
        hosts_cordoned,
        dead_letters: fuse.dead_letters().await?.len(),
    };
    session.format.print(&status, || text(&status));
    Ok(if status.ready { Verdict::Fine } else { Verdict::Problems })
}

fn text(status: &Status) -> String {
    let counts: Vec<_> =
        status.environments.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let mut page = Page::new();
    page.facts(&[
        ("server", format!("{} (version {})", status.url, status.version)),
        ("ready", if status.ready { "yes" } else { "no" }.to_owned()),
        ("store", status.state_store.clone()),
        ("fleet", status.fleet.clone()),
        (
            "hosts",
            format!("{}: {} ready, {} cordoned", status.hosts, status.hosts_ready, status.hosts_cordoned),
        ),
        ("environments", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }),
        ("dead letters", status.dead_letters.to_string()),
    ]);
    if status.dead_letters > 0 {
        page.line("see what keeps failing with `fuse dead-letter list`");
    }
    page.into_text()
}
