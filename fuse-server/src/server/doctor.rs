//! Looks at everything that a server needs, and says what to do about what is wrong.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuse_orchestrator::store::{Kind, SharedStore};
use tokio::net::TcpListener;

use super::{LocalHost, descriptors, storage};
use crate::{
    listener::Tls,
    settings::{ProviderChoice, Settings, State},
};

/// Free disk below this is a problem, in bytes: 1 GiB.
const LITTLE_DISK: u64 = 1 << 30;
/// A host agent must answer within this.
const AGENT_BUDGET: Duration = Duration::from_secs(5);
/// The store must answer within this.
const STORE_BUDGET: Duration = Duration::from_secs(10);
/// Years before this are not now: seconds since 1970 on 2025-01-01.
const NOT_BEFORE: u64 = 1_735_689_600;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and somebody should know.
    Notice,
    /// It does not work.
    Bad,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "ok",
            Self::Notice => "note",
            Self::Bad => "FAIL",
        })
    }
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The thing.
    pub about: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do; empty when there is nothing to do.
    pub advice: String,
}

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examination {
    /// The findings, in the order in which they were made.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// The worst verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good)
    }

    fn note(
        &mut self,
        about: &'static str,
        verdict: Verdict,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.findings.push(Finding { about, verdict, seen: seen.into(), advice: advice.into() });
    }

    fn good(&mut self, about: &'static str, seen: impl Into<String>) {
        self.note(about, Verdict::Good, seen, "");
    }
}

/// Looks at everything. Changes nothing but what a start would change too: a store that is not there is made.
pub async fn doctor(settings: &Settings, local: Option<&Arc<dyn LocalHost>>) -> Examination {
    let mut found = Examination::default();
    for warning in &settings.warnings {
        found.note("configuration", Verdict::Notice, warning, "");
    }
    if settings.warnings.is_empty() {
        found.good("configuration", "nothing to remark");
    }
    clock(&mut found);
    address(settings, &mut found).await;
    tls(settings, &mut found);
    disk(settings, &mut found);
    files(&mut found);
    let store = store(settings, &mut found).await;
    if let Some(store) = &store {
        keys(settings, store, &mut found).await;
    }
    hosts(settings, local, &mut found).await;
    if let Some(store) = store {
        // Given back at once; what is wrong with it was said.
        let _ = store.close().await;
    }
    found
}

fn clock(found: &mut Examination) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if now < NOT_BEFORE {
        let seen = format!("it says {now} s after 1970, which is before this program was written");
        found.note(
            "clock",
            Verdict::Bad,
            seen,
            "set the clock, best with NTP: certificates and retention go by it",
        );
    } else {
        found.good("clock", "it says a time after this program was written");
    }
}

async fn address(settings: &Settings, found: &mut Examination) {
    let (host, port) = (&settings.host, settings.port);
    let shown = format!("{}:{port}", if host.is_empty() { "all interfaces" } else { host });
    let asked = if host.is_empty() { "0.0.0.0" } else { host };
    match TcpListener::bind((asked, port)).await {
        Ok(_) => found.good("address", format!("{shown} can be listened on")),
        Err(error) => {
            let seen = format!("{shown} cannot be listened on: {error}");
            found.note(
                "address",
                Verdict::Notice,
                seen,
                "fine when the server runs already; else choose another with --listen",
            );
        }
    }
}

fn tls(settings: &Settings, found: &mut Examination) {
    match settings.tls.clone().map(Tls::load) {
        None => found.good("TLS", "off; connections are not encrypted"),
        Some(Ok(_)) => found.good("TLS", "certificate and key can be used"),
        Some(Err(error)) => {
            found.note(
                "TLS",
                Verdict::Bad,
                error.to_string(),
                "give a PEM certificate chain and its PEM key",
            );
        }
    }
}

fn disk(settings: &Settings, found: &mut Examination) {
    let State::Directory { dir, .. } = &settings.state else { return };
    let Some(there) = existing(dir) else { return };
    match rustix::fs::statvfs(there.as_path()) {
        Err(error) => found.note("disk", Verdict::Notice, format!("{}: {error}", there.display()), ""),
        Ok(stats) => {
            let free = stats.f_bavail.saturating_mul(stats.f_frsize);
            let seen = format!("{} MiB are free below {}", free >> 20, there.display());
            if free < LITTLE_DISK {
                found.note("disk", Verdict::Bad, seen, "make room: a store without disk takes no changes");
            } else {
                found.good("disk", seen);
            }
        }
    }
}

fn existing(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().find(|path| path.exists()).map(Path::to_owned)
}

fn files(found: &mut Examination) {
    // The server raises its soft limit to this one.
    let Some(limit) = descriptors::most().filter(|limit| *limit < 4_096) else {
        return found.good("file descriptors", "there are at least 4096");
    };
    let seen = format!("at most {limit}, which is that many connections and files together");
    found.note(
        "file descriptors",
        Verdict::Notice,
        seen,
        "raise the hard limit: `ulimit -Hn 65536` as root, or LimitNOFILE= in the unit",
    );
}

async fn store(settings: &Settings, found: &mut Examination) -> Option<SharedStore> {
    let opened = tokio::time::timeout(STORE_BUDGET, storage::open_store(settings)).await;
    let store = match opened {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => {
            let advice = "when a server runs on it, ask that: GET /ready; else do what the error says";
            found.note("store", Verdict::Bad, error.to_string(), advice);
            return None;
        }
        Err(_) => {
            found.note(
                "store",
                Verdict::Bad,
                "it does not answer within 10 s",
                "check that it runs and is reached",
            );
            return None;
        }
    };
    match store.position().await {
        Ok(at) => {
            let seen =
                format!("{}: {} records, {} events", store.describe(), at.records, at.last_event - at.floor);
            found.good("store", seen);
        }
        Err(error) => found.note("store", Verdict::Bad, error.to_string(), "do what the error says"),
    }
    Some(store)
}

/// Whether a secret of the store opens with the keys.
async fn keys(settings: &Settings, store: &SharedStore, found: &mut Examination) {
    let ring = match storage::open_keys(settings) {
        Ok(ring) => ring,
        Err(error) => {
            return found.note(
                "keys",
                Verdict::Bad,
                error.to_string(),
                "give the keys that the store was written with",
            );
        }
    };
    let page = match store.list(Kind::Secret, None, 1).await {
        Ok(page) => page,
        Err(error) => return found.note("keys", Verdict::Bad, error.to_string(), "do what the error says"),
    };
    match page.records.first() {
        None => found.good("keys", "there are keys, and no secrets yet"),
        Some(secret) => match ring.open(Kind::Secret, &secret.id, &secret.body) {
            Ok(_) => found.good("keys", "they open the secrets of the store"),
            Err(error) => found.note(
                "keys",
                Verdict::Bad,
                error.to_string(),
                "give the keys that the store was written with",
            ),
        },
    }
}

async fn hosts(settings: &Settings, local: Option<&Arc<dyn LocalHost>>, found: &mut Examination) {
    match &settings.agent_url {
        Some(url) => agent(url, found).await,
        None => match local.map(|local| local.url()) {
            Some(Ok(url)) => found.good("VMs of this machine", format!("they work ({url})")),
            Some(Err(why)) => {
                found.note(
                    "VMs of this machine",
                    Verdict::Notice,
                    format!("none: {why}"),
                    "environments are only simulated until there is a host",
                );
            }
            None if matches!(settings.provider, ProviderChoice::Local) => {
                found.note(
                    "VMs of this machine",
                    Verdict::Bad,
                    "this program was built without them",
                    "use a build with them, or a host agent",
                );
            }
            None => found.note(
                "hosts",
                Verdict::Notice,
                "no host agent is configured",
                "set FIRECRACKER_BASE_URL, or register hosts once the server runs",
            ),
        },
    }
}

/// Whether a host agent is reached.
async fn agent(url: &str, found: &mut Examination) {
    let place = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = place.split('/').next().unwrap_or_default();
    let default = if url.starts_with("https") { 443 } else { 80 };
    let place = if place.rsplit(']').next().is_some_and(|tail| tail.contains(':')) {
        place.to_owned()
    } else {
        format!("{place}:{default}")
    };
    match tokio::time::timeout(AGENT_BUDGET, tokio::net::TcpStream::connect(&place)).await {
        Ok(Ok(_)) => found.good("host agent", format!("{place} takes connections")),
        Ok(Err(error)) => {
            found.note(
                "host agent",
                Verdict::Bad,
                format!("{place} takes none: {error}"),
                "start it, or correct FIRECRACKER_BASE_URL",
            );
        }
        Err(_) => {
            found.note(
                "host agent",
                Verdict::Bad,
                format!("{place} does not answer within 5 s"),
                "check the network and its firewall",
            );
        }
    }
}
