//! What callers ask for, and the rules that it must follow before anything is created.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    AgentSpec, Arch, EnvironmentId, Expose, GuestFile, Healthcheck, HostId, Resources, SnapshotId,
    SnapshotMode, TaskId,
    service::{self, Services},
};
use crate::{Error, Limit, Problem, Result};

/// The most bytes that the files of one request may have together.
pub const MAX_FILES_BYTES: usize = 512 * 1024;
const MAX_SECRETS: usize = 256;
const MAX_SECRET_KEY: usize = 256;
const MAX_SECRET_VALUE: usize = 65_536;
const MAX_SECRETS_TOTAL: usize = 1024 * 1024;
const MAX_SCRIPT: usize = 256 * 1024;
const MAX_SIZE: u32 = i32::MAX as u32;

/// How large an environment is and where it may run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvironmentSpec {
    /// What it takes from its host.
    #[serde(flatten)]
    pub resources: Resources,
    /// Only hosts of exactly this region. Empty: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Seconds until it is destroyed; 0 uses the fleet's default of 2 hours.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_runtime_seconds: u64,
    /// Seconds without use until it is destroyed; 0 never, else at least 60.
    #[serde(skip_serializing_if = "is_zero")]
    pub idle_timeout_seconds: u64,
    /// Only hosts of this architecture. None: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// A named root filesystem of the host. Empty: the host's default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Only this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_id: Option<HostId>,
    /// Only hosts that carry all of these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl EnvironmentSpec {
    fn check(&self, problems: &mut Vec<Problem>) {
        let Resources { cpus, ram_mb, storage_gb } = self.resources;
        for (field, value) in [("spec.cpus", cpus), ("spec.ram_mb", ram_mb), ("spec.storage_gb", storage_gb)]
        {
            if value > MAX_SIZE {
                problems.push(Problem::new(field, format!("{value} is more than {MAX_SIZE}")));
            }
        }
        if (1..60).contains(&self.idle_timeout_seconds) {
            let text = format!("{} is neither 0 nor at least 60", self.idle_timeout_seconds);
            problems.push(Problem::new("spec.idle_timeout_seconds", text));
        }
        check_labels("spec.labels", &self.labels, problems);
    }
}

/// Adds to `problems` what is wrong with `labels`.
pub(crate) fn check_labels(field: &str, labels: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    fn good(text: &str) -> bool {
        let bytes = text.as_bytes();
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b))
    }
    for (key, value) in labels {
        if !good(key) || !good(value) {
            let text = format!(
                "{key}={value}: both sides are 1 to 63 of A-Z a-z 0-9 - . _ and begin and end with a letter or digit"
            );
            problems.push(Problem::new(field, text));
        }
    }
}

/// Where the disk of an environment comes from when not from an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seed {
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// The environment that is forked; none when the snapshot alone is the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<EnvironmentId>,
}

/// A request for an environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProvisionRequest {
    /// The caller's name of the work. At most one live environment has it.
    pub task_id: TaskId,
    /// Size and place.
    #[serde(default)]
    pub spec: EnvironmentSpec,
    /// The agent and the workload.
    #[serde(default)]
    pub agent: AgentSpec,
    /// The guest manifest, base64 of JSON. Empty: a standard one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manifest_inline: String,
    /// Secrets by name, for the guest.
    #[serde(default, skip_serializing)]
    pub secrets: BTreeMap<String, SecretString>,
    /// Run with `sh -lc` after the files are there and before the agent starts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub startup_script: String,
    /// Seconds that the startup script may take; 0 uses the default of 30.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub startup_script_timeout_seconds: u64,
    /// Guest ports to publish.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<Expose>,
    /// How the guest agent finds out whether the environment is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Files for the guest, by absolute path. At most 512 KiB together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, GuestFile>,
    /// A snapshot to boot from instead of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_snapshot_id: Option<SnapshotId>,
}

impl ProvisionRequest {
    /// A request with nothing but a task.
    #[must_use]
    pub fn new(task_id: TaskId) -> Self {
        Self {
            task_id,
            spec: EnvironmentSpec::default(),
            agent: AgentSpec::default(),
            manifest_inline: String::new(),
            secrets: BTreeMap::new(),
            startup_script: String::new(),
            startup_script_timeout_seconds: 0,
            expose: Vec::new(),
            healthcheck: None,
            files: BTreeMap::new(),
            seed_snapshot_id: None,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every problem at once, or [`Error::TooLarge`] when only the size of the files is
    /// wrong.
    pub fn check(&self, script_ceiling: Duration) -> Result<()> {
        let mut problems = Vec::new();
        self.spec.check(&mut problems);
        if self.startup_script_timeout_seconds > script_ceiling.as_secs() {
            let text = format!(
                "{} s is above the ceiling of {} s",
                self.startup_script_timeout_seconds,
                script_ceiling.as_secs()
            );
            problems.push(Problem::new("startup_script_timeout_seconds", text));
        }
        if self.startup_script.len() > MAX_SCRIPT {
            problems.push(Problem::new("startup_script", format!("is longer than {MAX_SCRIPT} bytes")));
        }
        if self.seed_snapshot_id.is_some() && !self.spec.image.is_empty() {
            problems.push(Problem::new("seed_snapshot_id", "excludes spec.image; give one of them"));
        }
        for expose in &self.expose {
            if expose.port == 0 {
                problems.push(Problem::new("expose.port", "0 is not a port; use 1 to 65535"));
            }
        }
        if let Some(healthcheck) = &self.healthcheck {
            healthcheck.check(&mut problems);
        }
        self.check_secrets(&mut problems);
        check_paths("files", &self.files, &mut problems);
        check_paths("agent.files", &self.agent.files, &mut problems);
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        let bytes: usize = self.files.values().chain(self.agent.files.values()).map(|f| f.0.len()).sum();
        if bytes > MAX_FILES_BYTES {
            return Err(Error::TooLarge { what: Limit::Files, bytes, limit: MAX_FILES_BYTES });
        }
        Ok(())
    }

    fn check_secrets(&self, problems: &mut Vec<Problem>) {
        if self.secrets.len() > MAX_SECRETS {
            let text = format!("{} secrets are more than {MAX_SECRETS}", self.secrets.len());
            problems.push(Problem::new("secrets", text));
        }
        let mut total = 0;
        for (key, value) in &self.secrets {
            let bytes = value.expose_secret().len();
            total += key.len() + bytes;
            if key.is_empty() || key.len() > MAX_SECRET_KEY {
                problems.push(Problem::new("secrets", format!("a name has 1 to {MAX_SECRET_KEY} bytes")));
            }
            if bytes > MAX_SECRET_VALUE {
                let text = format!("the value of {key} is longer than {MAX_SECRET_VALUE} bytes");
                problems.push(Problem::new("secrets", text));
            }
        }
        if total > MAX_SECRETS_TOTAL {
            problems.push(Problem::new("secrets", format!("are more than {MAX_SECRETS_TOTAL} bytes")));
        }
        match self.manifest() {
            Ok(manifest) => {
                service::check(manifest.services(), problems);
                for name in manifest.secret_names() {
                    if !self.secrets.contains_key(name) {
                        problems.push(Problem::new(
                            "secrets",
                            format!("the manifest needs {name:?}, which is not there"),
                        ));
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }

    /// The manifest, decoded.
    ///
    /// # Errors
    /// A [`Problem`] when it is not base64 or not JSON of the right shape.
    pub fn manifest(&self) -> std::result::Result<Manifest, Problem> {
        if self.manifest_inline.is_empty() {
            return Ok(Manifest::standard());
        }
        let bytes = BASE64_STANDARD
            .decode(self.manifest_inline.trim())
            .map_err(|e| Problem::new("manifest_inline", format!("is not standard base64: {e}")))?;
        let json = String::from_utf8(bytes)
            .map_err(|e| Problem::new("manifest_inline", format!("is not UTF-8: {e}")))?;
        Manifest::parse(&json)
    }
}

/// A guest manifest: its text as it goes into the guest, and the parts that matter here.
#[derive(Debug, Clone)]
pub struct Manifest {
    json: String,
    shape: ManifestShape,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct ManifestShape {
    #[serde(default)]
    machine: Machine,
    #[serde(default)]
    services: Services,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Machine {
    #[serde(default)]
    env: BTreeMap<String, EnvValue>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct EnvValue {
    #[serde(default)]
    pub(super) value: Option<String>,
    #[serde(default)]
    pub(super) secret: Option<String>,
}

impl Manifest {
    fn standard() -> Self {
        Self {
            json: r#"{"version":"1","machine":{"workspace":"/workspace"},"services":{}}"#.to_owned(),
            shape: ManifestShape::default(),
        }
    }

    /// The manifest as JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Whether it declares services, which need a container runtime in the image.
    #[must_use]
    pub fn has_services(&self) -> bool {
        !self.shape.services.is_empty()
    }

    /// The manifest of this text.
    pub(crate) fn parse(json: &str) -> std::result::Result<Self, Problem> {
        let shape = serde_json::from_str(json)
            .map_err(|e| Problem::new("manifest_inline", format!("is not a manifest: {e}")))?;
        Ok(Self { json: json.to_owned(), shape })
    }

    /// The services that it declares.
    pub(crate) const fn services(&self) -> &Services {
        &self.shape.services
    }

    fn secret_names(&self) -> impl Iterator<Item = &str> {
        let services = self.shape.services.values().flat_map(|service| service.env.values());
        self.shape.machine.env.values().chain(services).filter_map(|value| value.secret.as_deref())
    }

    /// The `/fuse/env` file: one `NAME='value'` a line, sorted, names that a shell cannot take left out. None when
    /// the manifest declares no variables.
    #[must_use]
    pub fn env_file(&self, secrets: &BTreeMap<String, SecretString>) -> Option<String> {
        if self.shape.machine.env.is_empty() {
            return None;
        }
        let mut text = String::new();
        for (name, value) in &self.shape.machine.env {
            let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                continue;
            }
            let from_secret = value.secret.as_ref().and_then(|name| secrets.get(name));
            let value = match (&value.value, from_secret) {
                (_, Some(secret)) => secret.expose_secret(),
                (Some(value), None) => value,
                (None, None) => "",
            };
            text.push_str(name);
            text.push_str("='");
            text.push_str(&value.replace('\'', "'\\''"));
            text.push_str("'\n");
        }
        Some(text)
    }
}

fn check_paths(field: &str, files: &BTreeMap<String, GuestFile>, problems: &mut Vec<Problem>) {
    for path in files.keys() {
        let parts = || path.split('/').skip(1);
        let rule = if !path.starts_with('/') || path.len() < 2 {
            "must be absolute"
        } else if path.contains(['\0', '\n', '\r']) {
            "must not contain NUL or a line end"
        } else if parts().any(|part| part.is_empty() || part == "." || part == "..") {
            "must be clean: no //, no . or .., no / at the end"
        } else if parts().next() == Some("fuse") {
            "must not be /fuse or below, which belongs to the agent"
        } else {
            continue;
        };
        problems.push(Problem::new(field, format!("{path:?} {rule}")));
    }
}

/// A request for a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotRequest {
    /// Words for people.
    pub comment: String,
    /// Who asked.
    pub mode: SnapshotMode,
    /// Seconds that it is kept; 0 keeps it until it is deleted.
    pub retention_seconds: u64,
    /// The caller's own data.
    pub metadata: BTreeMap<String, String>,
    /// With memory and processor state, where the provider can.
    pub live: bool,
}

/// A request for a fork of a running environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForkRequest {
    /// A snapshot of the source to use instead of a fresh one.
    pub reuse_snapshot_id: Option<SnapshotId>,
    /// Words for people.
    pub comment: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ProvisionRequest {
        ProvisionRequest::new(TaskId::new("t1").unwrap())
    }

    fn problems(request: &ProvisionRequest) -> Vec<String> {
        match request.check(Duration::from_secs(55)) {
            Err(Error::Invalid(problems)) => problems.iter().map(|p| p.field.clone()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_empty_request_is_good() {
        request().check(Duration::from_secs(55)).unwrap();
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let mut bad = request();
        bad.spec.idle_timeout_seconds = 59;
        bad.spec.labels.insert("-x".into(), "y".into());
        bad.startup_script_timeout_seconds = 56;
        bad.seed_snapshot_id = Some(SnapshotId::new("s").unwrap());
        bad.spec.image = "debian".into();
        assert_eq!(
            problems(&bad),
            [
                "spec.idle_timeout_seconds",
                "spec.labels",
                "startup_script_timeout_seconds",
                "seed_snapshot_id"
            ]
        );
    }

    #[test]
    fn paths_are_clean_absolute_and_outside_fuse() {
        for path in ["etc/x", "/", "/a//b", "/a/../b", "/a/", "/fuse", "/fuse/x", "/a\nb"] {
            let mut bad = request();
            bad.files.insert(path.into(), GuestFile::default());
            assert_eq!(problems(&bad), ["files"], "{path:?}");
        }
        let mut good = request();
        good.files.insert("/fuselage/x".into(), GuestFile::default());
        good.check(Duration::from_secs(55)).unwrap();
    }

    #[test]
    fn files_have_a_limit_together() {
        let mut big = request();
        big.files.insert("/a".into(), GuestFile(vec![0; MAX_FILES_BYTES]));
        big.check(Duration::from_secs(55)).unwrap();
        big.files.insert("/b".into(), GuestFile(vec![0]));
        assert!(matches!(big.check(Duration::from_secs(55)), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn secrets_that_the_manifest_names_must_be_there() {
        let mut bad = request();
        let manifest = r#"{"machine":{"env":{"A":{"secret":"one"},"B":{"value":"it's"}}},
            "services":{"db":{"image":"db","env":{"P":{"secret":"two"}}}}}"#;
        bad.manifest_inline = BASE64_STANDARD.encode(manifest);
        assert_eq!(problems(&bad), ["secrets", "secrets"]);
        bad.secrets.insert("one".into(), "1".into());
        bad.secrets.insert("two".into(), "2".into());
        bad.check(Duration::from_secs(55)).unwrap();
        let env = bad.manifest().unwrap().env_file(&bad.secrets).unwrap();
        assert_eq!(env, "A='1'\nB='it'\\''s'\n");
        bad.manifest_inline = "%%%".into();
        assert_eq!(problems(&bad), ["manifest_inline"]);
    }

    #[test]
    fn negative_sizes_never_become_a_request() {
        let json = r#"{"task_id":"t","spec":{"cpus":-1}}"#;
        assert!(serde_json::from_str::<ProvisionRequest>(json).is_err());
    }
}
