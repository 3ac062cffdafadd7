//! Hosts on the wire.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Reason, Secret, checked, name, page::arch, problem, size, strange};
use crate::{
    HostDrainProgress, HostRegistration, Result,
    model::{
        self, Capacity, CertificatePin, EnvironmentState, HostId, HostState, Liveness, ReasonCode, Timestamp,
    },
};

/// Body of POST /v1/hosts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterHost {
    /// Its name: 1 to 128 of letters, digits, `-`, `_`, `.`.
    pub id: String,
    /// Where its agent is reached.
    pub url: String,
    /// The bearer token of its agent.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub token: Secret,
    /// Its region.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// What runs its VMs: `firecracker` (the default) or `qemu`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backend: String,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// SHA-256 of the certificate that its agent must show, in hex. Empty: one that the system's authorities vouch for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate_sha256: String,
    /// What it has. Members that are zero are asked of the host.
    pub capacity: RegisterHostCapacity,
}

/// What a host is said to have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterHostCapacity {
    /// Virtual processors.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 2147483647_i64))]
    pub cpus: i64,
    /// Memory in MiB.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 2147483647_i64))]
    pub ram_mb: i64,
    /// Disk in GiB.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 2147483647_i64))]
    pub storage_gb: i64,
    /// VM slots, at least 1 unless the host has a limit of its own.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 2147483647_i64))]
    pub vm_count: i64,
    /// The architecture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// Graphics processors. There is no backend for them here: more than 0 is refused.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub gpus: i64,
}

/// A host. Its token is never shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Host {
    /// Its name.
    pub id: String,
    /// Where its agent is reached.
    pub url: String,
    /// Its region.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// What runs its VMs.
    #[serde(default)]
    pub backend: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the operator wants of it.
    pub state: HostState,
    /// What it has.
    #[serde(default)]
    pub capacity: HostCapacity,
    /// What is taken: always with its four numbers.
    #[serde(default)]
    pub allocated: Capacity,
    /// When it last answered.
    pub last_seen: Timestamp,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// What the operator should know about the registration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// SHA-256 of the certificate that its agent must show, in hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub certificate_sha256: String,
    /// Whether it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<HostLiveness>,
}

/// What a host has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostCapacity {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub ram_mb: u32,
    /// Disk in GiB.
    pub storage_gb: u32,
    /// VM slots.
    pub vm_count: u32,
    /// The architecture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arch: String,
}

/// Whether a host answers, since when, and why that is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostLiveness {
    /// Whether it answers.
    pub state: Liveness,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// How the emptying of a host goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostDrain {
    /// When it was asked for.
    pub since: Timestamp,
    /// Seconds that the drain of one environment may take until it is destroyed all the same.
    pub limit_seconds: u64,
    /// How many environments the host had then.
    pub environments: u64,
    /// How many environments and teardowns it still has.
    pub left: u64,
    /// The environments that it still has, by state.
    #[serde(default)]
    pub states: BTreeMap<EnvironmentState, u64>,
    /// When it was empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// Query of POST /v1/hosts/{id}?action=drain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct HostDrainQuery {
    /// Of drain: seconds that the drain of one environment may take until it is destroyed all the same. Left out: as
    /// configured, 15 min.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub limit_seconds: String,
}

impl HostDrainQuery {
    /// The limit.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when it is no number of seconds.
    pub fn limit(&self) -> Result<Option<Duration>> {
        if self.limit_seconds.is_empty() {
            return Ok(None);
        }
        let seconds = self.limit_seconds.parse().map_err(|_| {
            crate::Error::invalid(
                "limit_seconds",
                format!("{:?} is not a number of seconds", self.limit_seconds),
            )
        })?;
        Ok(Some(Duration::from_secs(seconds)))
    }
}

impl From<&HostDrainProgress> for HostDrain {
    fn from(progress: &HostDrainProgress) -> Self {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let model::HostDrain { since, limit_seconds, environments, finished_at } = progress.order;
        Self {
            since,
            limit_seconds,
            environments: count(environments),
            left: count(progress.left),
            states: progress.states.iter().map(|(state, number)| (*state, count(*number))).collect(),
            finished_at,
        }
    }
}

impl From<HostDrain> for HostDrainProgress {
    fn from(drain: HostDrain) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            order: model::HostDrain {
                since: drain.since,
                limit_seconds: drain.limit_seconds,
                environments: count(drain.environments),
                finished_at: drain.finished_at,
            },
            left: count(drain.left),
            states: drain.states.into_iter().map(|(state, number)| (state, count(number))).collect(),
        }
    }
}

/// A page of hosts, by id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostList {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// Where the next page begins; left out on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl RegisterHost {
    /// The name and the registration.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) with every problem at once.
    pub fn registration(self) -> Result<(HostId, HostRegistration)> {
        let problems = &mut Vec::new();
        let id: Option<HostId> = name("id", &self.id, problems);
        check_url(&self.url, problems);
        let capacity = &self.capacity;
        if capacity.gpus != 0 {
            let text = format!("{} cannot be: no backend here drives graphics processors", capacity.gpus);
            problem(problems, "capacity.gpus", text);
        }
        let registration = HostRegistration {
            url: self.url,
            token: self.token.some(),
            region: self.region,
            backend: self.backend,
            labels: self.labels,
            arch: arch("capacity.arch", &capacity.arch, problems),
            certificate: pin(&self.certificate_sha256, problems),
            capacity: Capacity {
                cpus: size("capacity.cpus", capacity.cpus, problems),
                ram_mb: size("capacity.ram_mb", capacity.ram_mb, problems),
                storage_gb: size("capacity.storage_gb", capacity.storage_gb, problems),
                vm_count: size("capacity.vm_count", capacity.vm_count, problems),
            },
        };
        let id = id
            .filter(|_| problems.is_empty())
            .ok_or_else(|| crate::Error::Invalid(std::mem::take(problems)))?;
        Ok((id, registration))
    }

    /// The body for a registration.
    #[must_use]
    pub fn new(id: &HostId, registration: &HostRegistration) -> Self {
        let Capacity { cpus, ram_mb, storage_gb, vm_count } = registration.capacity;
        Self {
            id: id.to_string(),
            url: registration.url.clone(),
            token: registration.token.clone().into(),
            region: registration.region.clone(),
            backend: registration.backend.clone(),
            labels: registration.labels.clone(),
            certificate_sha256: pin_text(registration.certificate),
            capacity: RegisterHostCapacity {
                cpus: cpus.into(),
                ram_mb: ram_mb.into(),
                storage_gb: storage_gb.into(),
                vm_count: vm_count.into(),
                arch: registration.arch.map(|arch| arch.as_str().to_owned()).unwrap_or_default(),
                gpus: 0,
            },
        }
    }
}

/// A pin; none for an empty text.
fn pin(text: &str, problems: &mut Vec<crate::Problem>) -> Option<CertificatePin> {
    if text.is_empty() {
        return None;
    }
    text.parse().map_err(|why: String| problem(problems, "certificate_sha256", why)).ok()
}

fn pin_text(pin: Option<CertificatePin>) -> String {
    pin.map(|pin| pin.to_string()).unwrap_or_default()
}

/// A URL of an agent has a scheme, a host, and neither user, query nor fragment; its port, where it has one, is one.
fn check_url(url: &str, problems: &mut Vec<crate::Problem>) {
    let text = match url.split_once("://") {
        None => "must be a URL such as http://192.0.2.1:8090",
        Some((scheme, rest)) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let port =
                authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map(|(_, port)| port);
            if scheme.is_empty()
                || url.len() > 2_048
                || url.chars().any(|c| c.is_whitespace() || c.is_control())
            {
                "must be a URL such as http://192.0.2.1:8090"
            } else if authority.is_empty() || authority.starts_with(':') {
                "names no host"
            } else if authority.contains('@') {
                "must not carry a user or a password; use token"
            } else if rest.contains(['?', '#']) {
                "must not have a query or a fragment"
            } else if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
                "has a port that is not from 1 to 65535"
            } else {
                return;
            }
        }
    };
    problem(problems, "url", text);
}

impl From<&model::Host> for Host {
    fn from(host: &model::Host) -> Self {
        let Capacity { cpus, ram_mb, storage_gb, vm_count } = host.capacity;
        Self {
            id: host.id.to_string(),
            url: host.url.clone(),
            region: host.region.clone(),
            backend: host.backend.clone(),
            labels: host.labels.clone(),
            state: host.state,
            capacity: HostCapacity {
                cpus,
                ram_mb,
                storage_gb,
                vm_count,
                arch: host.arch.as_str().to_owned(),
            },
            allocated: host.allocated,
            last_seen: host.last_seen,
            created_at: host.created_at,
            updated_at: host.updated_at,
            warnings: host.warnings.clone(),
            certificate_sha256: pin_text(host.certificate),
            liveness: Some(HostLiveness {
                state: host.liveness.state,
                since: host.liveness.since,
                reason: Reason::from(&host.liveness.reason),
            }),
        }
    }
}

impl TryFrom<Host> for model::Host {
    type Error = crate::Error;

    fn try_from(wire: Host) -> Result<Self> {
        let mut problems = Vec::new();
        let id: Option<HostId> = name("id", &wire.id, &mut problems);
        let arch = arch("capacity.arch", &wire.capacity.arch, &mut problems);
        let certificate = pin(&wire.certificate_sha256, &mut problems);
        let id = checked(id, problems).map_err(|why| strange("host", why))?;
        let HostCapacity { cpus, ram_mb, storage_gb, vm_count, .. } = wire.capacity;
        let liveness = wire.liveness.map_or_else(
            || model::HostLiveness {
                state: Liveness::Ready,
                since: wire.last_seen,
                reason: ReasonCode::Unknown.into(),
            },
            |liveness| model::HostLiveness {
                state: liveness.state,
                since: liveness.since,
                reason: liveness.reason.into(),
            },
        );
        Ok(Self {
            id: id.ok_or_else(|| strange("host", "it has no id"))?,
            url: wire.url,
            region: wire.region,
            backend: wire.backend,
            labels: wire.labels,
            arch: arch.unwrap_or_default(),
            state: wire.state,
            liveness,
            capacity: Capacity { cpus, ram_mb, storage_gb, vm_count },
            allocated: wire.allocated,
            last_seen: wire.last_seen,
            created_at: wire.created_at,
            updated_at: wire.updated_at,
            warnings: wire.warnings,
            certificate,
            drain: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(url: &str) -> usize {
        let mut problems = Vec::new();
        check_url(url, &mut problems);
        problems.len()
    }

    #[test]
    fn urls_of_agents_are_plain() {
        for good in [
            "http://h:8090",
            "https://h/prefix",
            "http://[::1]:8090",
            "http://[::1]",
            "stub://default",
            "http://h",
        ] {
            assert_eq!(problems(good), 0, "{good}");
        }
        for bad in [
            "",
            "h:8090",
            "://h",
            "http://",
            "http://:80",
            "http://u:p@h",
            "http://h?x",
            "http://h/#f",
            "http://h:0",
            "http://h:99999",
            "http://h:x",
            "http://h h",
            "http:// h",
        ] {
            assert_eq!(problems(bad), 1, "{bad}");
        }
    }
}
