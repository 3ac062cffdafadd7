//! Environments as answers show them.

use serde::{Deserialize, Serialize};

use super::{Expose, Healthcheck, Spec, checked, name, optional_name, strange};
use crate::{
    Result,
    model::{
        self, AgentSpec, Attempts, EnvironmentState, HealthState, Observed, PhaseTimings, ReasonCode, Seed,
        TaskId, Timestamp,
    },
};

/// An environment.
///
/// `id`, `state`, `task_id`, `url`, `spec`, `created_at` and `updated_at` are always there; what else is empty is left
/// out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Environment {
    /// Its name.
    pub id: String,
    /// Where it stands.
    pub state: EnvironmentState,
    /// The task that it works on; empty from `destroying` on, when the task is free for another environment.
    #[serde(default)]
    pub task_id: String,
    /// The task that it worked on, when `task_id` is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub former_task_id: String,
    /// Where its agent is reached: `host:port`. Empty until it runs.
    #[serde(default)]
    pub url: String,
    /// What was asked for.
    #[serde(default)]
    pub spec: Spec,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// The host that it was placed on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_id: String,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Published guest ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// The last verdict of its health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Why it is in its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What its host was last seen to say about its VM.
    #[serde(default)]
    pub observed: Observed,
    /// How long each phase of coming up took, in microseconds.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub timings: PhaseTimings,
    /// What the caller should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The name of its VM on the host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vm: String,
    /// How often its boot was begun.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub boots: u32,
    /// The agent and the workload.
    #[serde(default, skip_serializing_if = "Agent::is_empty")]
    pub agent: Agent,
    /// Guest ports that were to be published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<Expose>,
    /// Its health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The snapshot that it boots from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seed_snapshot_id: String,
    /// The environment that it was forked from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub forked_from: String,
    /// How the removal of its VM goes, once a try has failed.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub removal: Attempts,
}

/// A page of environments, by id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvironmentList {
    /// The environments.
    pub environments: Vec<Environment>,
    /// Where the next page begins; left out on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A published guest port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Endpoint {
    /// The name it is published under.
    #[serde(rename = "as", default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// The port in the guest.
    pub port: u16,
}

/// The last verdict of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// The verdict.
    pub state: HealthState,
    /// Since when it holds.
    pub since: Timestamp,
    /// Failures in a row.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub failures: u32,
    /// What the last check said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Why a record is in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reason {
    /// The cause.
    pub code: ReasonCode,
    /// What happened, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// The agent and the workload, without secrets and files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Agent {
    /// Where the guest fetches the agent from when its image has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_url: Option<String>,
    /// The workload, run with `sh -lc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What a drain runs with `sh -lc`; an empty text runs nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_command: Option<String>,
    /// The gateway that the agent calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

impl Agent {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&model::Reason> for Reason {
    fn from(reason: &model::Reason) -> Self {
        Self { code: reason.code, text: reason.text.clone() }
    }
}

impl From<Reason> for model::Reason {
    fn from(reason: Reason) -> Self {
        Self::new(reason.code, reason.text)
    }
}

impl From<&model::GuestEndpoint> for Endpoint {
    fn from(endpoint: &model::GuestEndpoint) -> Self {
        let name = endpoint.name.clone().unwrap_or_default();
        Self { name, url: endpoint.url.clone(), port: endpoint.port }
    }
}

impl From<Endpoint> for model::GuestEndpoint {
    fn from(endpoint: Endpoint) -> Self {
        let name = (!endpoint.name.is_empty()).then_some(endpoint.name);
        Self { name, url: endpoint.url, port: endpoint.port }
    }
}

impl From<&model::Health> for Health {
    fn from(health: &model::Health) -> Self {
        let model::Health { state, since, failures, message } = health.clone();
        Self { state, since, failures, message }
    }
}

impl From<Health> for model::Health {
    fn from(health: Health) -> Self {
        let Health { state, since, failures, message } = health;
        Self { state, since, failures, message }
    }
}

impl From<&AgentSpec> for Agent {
    fn from(agent: &AgentSpec) -> Self {
        let AgentSpec { download_url, command, drain_command, gateway, .. } = agent.kept();
        Self { download_url, command, drain_command, gateway }
    }
}

impl From<Agent> for AgentSpec {
    fn from(agent: Agent) -> Self {
        let Agent { download_url, command, drain_command, gateway } = agent;
        Self { download_url, command, drain_command, gateway, ..Self::default() }
    }
}

impl From<&model::Environment> for Environment {
    fn from(environment: &model::Environment) -> Self {
        let gone = environment.state.is_ended() || environment.state == EnvironmentState::Destroying;
        let task = environment.task_id.to_string();
        let (task_id, former_task_id) = if gone { (String::new(), task) } else { (task, String::new()) };
        let seed = environment.seed.as_ref();
        let forked_from = seed.and_then(|seed| seed.forked_from.as_ref());
        Self {
            id: environment.id.to_string(),
            state: environment.state,
            task_id,
            former_task_id,
            url: environment.url.clone(),
            spec: Spec::from(&environment.spec),
            created_at: environment.created_at,
            updated_at: environment.updated_at,
            host_id: environment.host_id.to_string(),
            error: error_of(environment.state, &environment.reason),
            endpoints: environment.endpoints.iter().map(Endpoint::from).collect(),
            health: environment.health.as_ref().map(Health::from),
            reason: Some(Reason::from(&environment.reason)),
            observed: environment.observed,
            timings: environment.timings,
            warnings: environment.warnings.clone(),
            vm: environment.vm.to_string(),
            boots: environment.boots,
            agent: Agent::from(&environment.agent),
            expose: environment.expose.iter().map(Expose::from).collect(),
            healthcheck: environment.healthcheck.as_ref().map(Healthcheck::from),
            seed_snapshot_id: seed.map(|seed| seed.snapshot_id.to_string()).unwrap_or_default(),
            forked_from: forked_from.map(ToString::to_string).unwrap_or_default(),
            removal: environment.removal.clone(),
        }
    }
}

/// What `error` shows: the words of a reason that tells of a failure.
pub(super) fn error_of(state: EnvironmentState, reason: &model::Reason) -> String {
    if state == EnvironmentState::Failed || reason.code.is_failure() {
        if reason.text.is_empty() { reason.code.as_str().to_owned() } else { reason.text.clone() }
    } else {
        String::new()
    }
}

impl TryFrom<Environment> for model::Environment {
    type Error = crate::Error;

    /// The environment as far as the wire tells it: without its startup script.
    fn try_from(wire: Environment) -> Result<Self> {
        let problems = &mut Vec::new();
        let id = name("id", &wire.id, problems);
        let task = if wire.task_id.is_empty() { &wire.former_task_id } else { &wire.task_id };
        // A server of another make tells no former task: the id is the nearest thing to it.
        let task = if task.is_empty() { &wire.id } else { task };
        let task_id: Option<TaskId> = name("task_id", task, problems);
        // So it is with the VM and the host.
        let vm = if wire.vm.is_empty() { "unknown" } else { &wire.vm };
        let vm = name("vm", vm, problems);
        let host = if wire.host_id.is_empty() { "unknown" } else { &wire.host_id };
        let host_id = name("host_id", host, problems);
        let forked_from = optional_name("forked_from", &wire.forked_from, problems);
        let seed = optional_name("seed_snapshot_id", &wire.seed_snapshot_id, problems)
            .map(|snapshot_id| Seed { snapshot_id, forked_from });
        let spec = wire.spec.checked(problems);
        let expose = wire.expose.iter().filter_map(|expose| expose.checked(problems)).collect();
        let healthcheck = wire.healthcheck.and_then(|check| check.checked(problems));
        let reason = match wire.reason {
            Some(reason) => reason.into(),
            None => model::Reason::new(ReasonCode::Unknown, wire.error),
        };
        let (Some(id), Some(task_id), Some(vm), Some(host_id)) = (id, task_id, vm, host_id) else {
            return checked((), std::mem::take(problems))
                .and(Err(strange("environment", "a name is missing")));
        };
        if let Some(problem) = problems.first() {
            return Err(strange("environment", problem));
        }
        Ok(Self {
            id,
            task_id,
            vm,
            state: wire.state,
            reason,
            host_id,
            spec,
            agent: wire.agent.into(),
            startup_script: String::new(),
            startup_script_timeout_seconds: 0,
            expose,
            healthcheck,
            seed,
            url: wire.url,
            endpoints: wire.endpoints.into_iter().map(Into::into).collect(),
            health: wire.health.map(Into::into),
            observed: wire.observed,
            timings: wire.timings,
            warnings: wire.warnings,
            boots: wire.boots,
            removal: wire.removal,
            created_at: wire.created_at,
            updated_at: wire.updated_at,
        })
    }
}
