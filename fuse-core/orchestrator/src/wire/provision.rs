//! What callers ask for: environments and forks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Secret, checked, name, optional_name, page::arch, port, problem, seconds, size};
use crate::{
    Problem, Result,
    model::{
        self, AgentSpec, EnvironmentSpec, ForkRequest, GuestFile, HealthcheckProbe, ProvisionRequest,
        Resources, TaskId,
    },
};

/// Body of POST /v1/environments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateEnvironment {
    /// The caller's name of the work: 1 to 128 printable characters. At most one live environment has it.
    pub task_id: String,
    /// Size and place.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub spec: Spec,
    /// The agent and the workload.
    #[serde(skip_serializing_if = "CreateAgent::is_empty")]
    pub agent: CreateAgent,
    /// The guest manifest: JSON in standard base64. Empty: a standard one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub manifest_inline: String,
    /// Secrets by name: at most 256, names up to 256 bytes, values up to 65,536 bytes, 1 MiB together.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// Run with `sh -lc` after the files are there and before the agent starts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub startup_script: String,
    /// Seconds that the startup script may take; 0: 30.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub startup_script_timeout_seconds: i64,
    /// The gateway that the agent calls. `agent.gateway` says the same.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway_url: String,
    /// The token for the gateway. `agent.gateway_token` says the same.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub gateway_token: Secret,
    /// Guest ports to publish.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<Expose>,
    /// How the guest agent finds out whether the environment is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Files for the guest: standard base64 by absolute path, at most 512 KiB together.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// A snapshot to boot from instead of an image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub seed_snapshot_id: String,
    /// A screen. There are no environments with a screen here: it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desktop: Option<Desktop>,
    /// A way out of the guest. Only `direct` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
}

/// Size and place of an environment. Members that are zero or empty are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Spec {
    /// Virtual processors, 0 to 2,147,483,647.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 2147483647_i64))]
    pub cpus: i64,
    /// Memory in MiB.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 2147483647_i64))]
    pub ram_mb: i64,
    /// Disk in GiB.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 2147483647_i64))]
    pub storage_gb: i64,
    /// Only hosts of exactly this region.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Seconds until it is destroyed; 0: the fleet's default of 2 hours.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub max_runtime_seconds: i64,
    /// Seconds without use until it is destroyed; 0 never, else at least 60.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub idle_timeout_seconds: i64,
    /// Only hosts of this architecture: `amd64` or `arm64`, also written `x86_64` and `aarch64`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// A named root filesystem of the host. Empty: the host's default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Only this host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_id: String,
    /// Only hosts that carry all of these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Graphics processors. There are none here: more than 0 is refused.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub gpus: i64,
    /// Kind of graphics processors; without `gpus` it means nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gpu_kind: String,
    /// Part of a graphics processor; without `gpus` it means nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gpu_profile: String,
}

/// The agent and the workload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateAgent {
    /// Files that the agent brings: standard base64 by absolute path.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Where the guest fetches the agent from when its image has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_url: Option<String>,
    /// The workload that the agent starts, run with `sh -lc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What a drain runs with `sh -lc`. Left out: the standard one; empty: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_command: Option<String>,
    /// The token that the agent answers to. Left out: a fresh one.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub auth_token: Secret,
    /// The gateway that the agent calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The token for the gateway.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub gateway_token: Secret,
}

impl CreateAgent {
    fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.download_url.is_none()
            && self.command.is_none()
            && self.drain_command.is_none()
            && self.gateway.is_none()
            && self.auth_token.is_empty()
            && self.gateway_token.is_empty()
    }
}

/// A guest port to publish.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Expose {
    /// The port in the guest, 1 to 65535.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 65535))]
    pub port: i64,
    /// The name to publish it under.
    #[serde(rename = "as", default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `tcp`, which is also what nothing means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
}

/// A health check: exactly one of `http` and `exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Healthcheck {
    /// A GET request inside the guest; an answer from 200 to 399 passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// A command inside the guest; exit code 0 passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// Seconds between two checks; 0: 10.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub interval_seconds: i64,
    /// Seconds that one check may take; 0: 2. At most the interval.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub timeout_seconds: i64,
    /// Failures in a row until the state is failing; 0: 3.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub retries: i64,
    /// Seconds after the start in which failures do not count.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub start_period_seconds: i64,
}

/// A GET request of a health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HttpProbe {
    /// The port in the guest, 1 to 65535.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 65535))]
    pub port: i64,
    /// The path, beginning with `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// The size of a screen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Desktop {
    /// Pixels.
    pub width: i64,
    /// Pixels.
    pub height: i64,
}

/// A way out of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Egress {
    /// `direct`, which is also what nothing means.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
}

/// Body of POST /v1/environments/{id}?action=fork; may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForkEnvironment {
    /// A ready snapshot of the source to use instead of a fresh one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reuse_snapshot_id: String,
    /// Words for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

impl CreateEnvironment {
    /// The request, with every name and number checked. What else it must follow, `provision` checks.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) with every problem at once.
    pub fn request(self) -> Result<ProvisionRequest> {
        let problems = &mut Vec::new();
        let task_id: Option<TaskId> = name("task_id", &self.task_id, problems);
        let spec = self.spec.checked(problems);
        let agent = self.agent.checked(&self.gateway_url, self.gateway_token, problems);
        let files = decode_files("files", self.files, problems);
        let expose = self.expose.iter().filter_map(|expose| expose.checked(problems)).collect();
        let healthcheck = self.healthcheck.and_then(|check| check.checked(problems));
        let field = "startup_script_timeout_seconds";
        let startup_script_timeout_seconds = seconds(field, self.startup_script_timeout_seconds, problems);
        let seed_snapshot_id = optional_name("seed_snapshot_id", &self.seed_snapshot_id, problems);
        if self.desktop.is_some() {
            problem(problems, "desktop", "is not supported: no image here has a screen");
        }
        if self.egress.is_some_and(|egress| !matches!(egress.mode.as_str(), "" | "direct")) {
            problem(problems, "egress.mode", "is not supported; only direct is");
        }
        let Some(task_id) = task_id.filter(|_| problems.is_empty()) else {
            return Err(crate::Error::Invalid(std::mem::take(problems)));
        };
        Ok(ProvisionRequest {
            task_id,
            spec,
            agent,
            manifest_inline: self.manifest_inline,
            secrets: self.secrets.into_iter().map(|(name, secret)| (name, secret.0)).collect(),
            startup_script: self.startup_script,
            startup_script_timeout_seconds,
            expose,
            healthcheck,
            files,
            seed_snapshot_id,
        })
    }
}

impl From<&ProvisionRequest> for CreateEnvironment {
    fn from(request: &ProvisionRequest) -> Self {
        Self {
            task_id: request.task_id.to_string(),
            spec: Spec::from(&request.spec),
            agent: CreateAgent::from(&request.agent),
            manifest_inline: request.manifest_inline.clone(),
            secrets: request
                .secrets
                .iter()
                .map(|(name, secret)| (name.clone(), Secret(secret.clone())))
                .collect(),
            startup_script: request.startup_script.clone(),
            startup_script_timeout_seconds: long(request.startup_script_timeout_seconds),
            expose: request.expose.iter().map(Expose::from).collect(),
            healthcheck: request.healthcheck.as_ref().map(Healthcheck::from),
            files: encode_files(&request.files),
            seed_snapshot_id: request.seed_snapshot_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..Self::default()
        }
    }
}

fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn encode_files(files: &BTreeMap<String, GuestFile>) -> BTreeMap<String, String> {
    files.iter().map(|(path, file)| (path.clone(), file.to_base64())).collect()
}

fn decode_files(
    field: &str,
    files: BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, GuestFile> {
    let mut decoded = BTreeMap::new();
    for (path, text) in files {
        match GuestFile::from_base64(&text) {
            Ok(file) => {
                decoded.insert(path, file);
            }
            Err(why) => problem(problems, field, format!("{path:?} is not standard base64: {why}")),
        }
    }
    decoded
}

impl Spec {
    pub(super) fn checked(&self, problems: &mut Vec<Problem>) -> EnvironmentSpec {
        if self.gpus != 0 {
            problem(
                problems,
                "spec.gpus",
                format!("{} cannot be had: no host here has graphics processors", self.gpus),
            );
        }
        EnvironmentSpec {
            resources: Resources {
                cpus: size("spec.cpus", self.cpus, problems),
                ram_mb: size("spec.ram_mb", self.ram_mb, problems),
                storage_gb: size("spec.storage_gb", self.storage_gb, problems),
            },
            region: self.region.clone(),
            max_runtime_seconds: seconds("spec.max_runtime_seconds", self.max_runtime_seconds, problems),
            idle_timeout_seconds: seconds("spec.idle_timeout_seconds", self.idle_timeout_seconds, problems),
            arch: arch("spec.arch", &self.arch, problems),
            image: self.image.clone(),
            host_id: optional_name("spec.host_id", &self.host_id, problems),
            labels: self.labels.clone(),
        }
    }
}

impl From<&EnvironmentSpec> for Spec {
    fn from(spec: &EnvironmentSpec) -> Self {
        Self {
            cpus: spec.resources.cpus.into(),
            ram_mb: spec.resources.ram_mb.into(),
            storage_gb: spec.resources.storage_gb.into(),
            region: spec.region.clone(),
            max_runtime_seconds: long(spec.max_runtime_seconds),
            idle_timeout_seconds: long(spec.idle_timeout_seconds),
            arch: spec.arch.map(|arch| arch.as_str().to_owned()).unwrap_or_default(),
            image: spec.image.clone(),
            host_id: spec.host_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            labels: spec.labels.clone(),
            ..Self::default()
        }
    }
}

impl CreateAgent {
    fn checked(self, gateway_url: &str, gateway_token: Secret, problems: &mut Vec<Problem>) -> AgentSpec {
        let outer = (!gateway_url.is_empty()).then(|| gateway_url.to_owned());
        AgentSpec {
            files: decode_files("agent.files", self.files, problems),
            download_url: self.download_url.filter(|url| !url.is_empty()),
            command: self.command.filter(|command| !command.is_empty()),
            drain_command: self.drain_command,
            auth_token: self.auth_token.some(),
            gateway: self.gateway.filter(|gateway| !gateway.is_empty()).or(outer),
            gateway_token: self.gateway_token.some().or(gateway_token.some()),
        }
    }
}

impl From<&AgentSpec> for CreateAgent {
    fn from(agent: &AgentSpec) -> Self {
        Self {
            files: encode_files(&agent.files),
            download_url: agent.download_url.clone(),
            command: agent.command.clone(),
            drain_command: agent.drain_command.clone(),
            auth_token: agent.auth_token.clone().into(),
            gateway: agent.gateway.clone(),
            gateway_token: agent.gateway_token.clone().into(),
        }
    }
}

impl Expose {
    pub(super) fn checked(&self, problems: &mut Vec<Problem>) -> Option<model::Expose> {
        if !matches!(self.protocol.as_str(), "" | "tcp") {
            problem(
                problems,
                "expose.protocol",
                format!("{:?} is not supported; only tcp is", self.protocol),
            );
        }
        let before = problems.len();
        let port = port("expose.port", self.port, problems);
        let name = (!self.name.is_empty()).then(|| self.name.clone());
        (problems.len() == before).then_some(model::Expose { port, name })
    }
}

impl From<&model::Expose> for Expose {
    fn from(expose: &model::Expose) -> Self {
        let name = expose.name.clone().unwrap_or_default();
        Self { port: expose.port.into(), name, protocol: String::new() }
    }
}

impl Healthcheck {
    pub(super) fn checked(self, problems: &mut Vec<Problem>) -> Option<model::Healthcheck> {
        let before = problems.len();
        let probe = match (self.http, self.exec) {
            (Some(http), None) => {
                let path = if http.path.is_empty() { "/".to_owned() } else { http.path };
                Some(HealthcheckProbe::Http {
                    port: port("healthcheck.http.port", http.port, problems),
                    path,
                })
            }
            (None, Some(argv)) => Some(HealthcheckProbe::Exec(argv)),
            (Some(_), Some(_)) => {
                problem(problems, "healthcheck", "has both http and exec; give one of them");
                None
            }
            (None, None) => {
                problem(problems, "healthcheck", "has neither http nor exec; give one of them");
                None
            }
        };
        let check = model::Healthcheck {
            probe: probe?,
            interval_seconds: size("healthcheck.interval_seconds", self.interval_seconds, problems),
            timeout_seconds: size("healthcheck.timeout_seconds", self.timeout_seconds, problems),
            retries: size("healthcheck.retries", self.retries, problems),
            start_period_seconds: size(
                "healthcheck.start_period_seconds",
                self.start_period_seconds,
                problems,
            ),
        };
        (problems.len() == before).then_some(check)
    }
}

impl From<&model::Healthcheck> for Healthcheck {
    fn from(check: &model::Healthcheck) -> Self {
        let (http, exec) = match &check.probe {
            HealthcheckProbe::Http { port, path } => {
                (Some(HttpProbe { port: (*port).into(), path: path.clone() }), None)
            }
            HealthcheckProbe::Exec(argv) => (None, Some(argv.clone())),
        };
        Self {
            http,
            exec,
            interval_seconds: check.interval_seconds.into(),
            timeout_seconds: check.timeout_seconds.into(),
            retries: check.retries.into(),
            start_period_seconds: check.start_period_seconds.into(),
        }
    }
}

impl ForkEnvironment {
    /// The request.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a snapshot id that cannot be.
    pub fn request(self) -> Result<ForkRequest> {
        let mut problems = Vec::new();
        let reuse_snapshot_id = optional_name("reuse_snapshot_id", &self.reuse_snapshot_id, &mut problems);
        checked(ForkRequest { reuse_snapshot_id, comment: self.comment }, problems)
    }
}

impl From<&ForkRequest> for ForkEnvironment {
    fn from(request: &ForkRequest) -> Self {
        let reuse_snapshot_id =
            request.reuse_snapshot_id.as_ref().map(ToString::to_string).unwrap_or_default();
        Self { reuse_snapshot_id, comment: request.comment.clone() }
    }
}
