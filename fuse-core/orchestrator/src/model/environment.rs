//! The environment: one sandbox and its task.

use serde::{Deserialize, Serialize};

use super::{
    AgentSpec, Attempts, EnvironmentId, EnvironmentSpec, Expose, GuestEndpoint, Healthcheck, HostId, Reason,
    Seed, TaskId, Timestamp, VmName,
    lifecycle::{enters, states},
};

states! {
    /// The states of an environment.
    EnvironmentState {
        /// Accepted, capacity reserved, on its way up.
        Provisioning = "provisioning",
        /// Up, and its agent runs.
        Running = "running",
        /// Told to end its work; takes no new work.
        Draining = "draining",
        /// Its VM is being removed.
        Destroying = "destroying",
        /// Ended: it never came to run. The record stays readable for a while.
        Failed = "failed",
        /// Ended: its VM is gone. The record stays readable for a while.
        Destroyed = "destroyed",
    }
    arrows {
        Provisioning => Running | Destroying | Failed,
        Running => Draining | Destroying,
        Draining => Destroying,
        Destroying => Destroyed,
    }
}

impl EnvironmentState {
    /// Whether nothing follows this state.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Failed | Self::Destroyed)
    }
}

/// What the host was last seen to say about the VM of an environment. Fact, not intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Observed {
    /// The host did not answer, or was not asked yet. Unknown is not gone.
    #[default]
    Unknown,
    /// The host lists the VM.
    Present,
    /// The host answered and did not list the VM.
    Missing,
}

/// Whether an environment is well, by its own health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HealthState {
    /// No verdict yet.
    Starting,
    /// The last check passed.
    Passing,
    /// As many checks in a row as the check allows have failed.
    Failing,
}

impl HealthState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Passing => "passing",
            Self::Failing => "failing",
        }
    }
}

/// The last verdict of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub state: HealthState,
    /// Since when it holds.
    pub since: Timestamp,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// What the last check said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The phases of coming up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Choosing a host and reserving capacity.
    Schedule,
    /// The host creates the VM.
    Create,
    /// Files go into the guest.
    Upload,
    /// The startup script runs.
    StartScript,
    /// The agent starts.
    Agent,
}

impl Phase {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Create => "create",
            Self::Upload => "upload",
            Self::StartScript => "start_script",
            Self::Agent => "agent",
        }
    }
}

/// How long each phase of coming up took, in microseconds. A phase that did not happen is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PhaseTimings {
    /// Choosing a host and reserving capacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_us: Option<u64>,
    /// The host creates the VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_us: Option<u64>,
    /// Files go into the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_us: Option<u64>,
    /// The startup script runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_script_us: Option<u64>,
    /// The agent starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_us: Option<u64>,
}

impl PhaseTimings {
    /// Notes that `phase` took `micros` microseconds.
    pub fn note(&mut self, phase: Phase, micros: u64) {
        let slot = match phase {
            Phase::Schedule => &mut self.schedule_us,
            Phase::Create => &mut self.create_us,
            Phase::Upload => &mut self.upload_us,
            Phase::StartScript => &mut self.start_script_us,
            Phase::Agent => &mut self.agent_us,
        };
        *slot = Some(micros);
    }
}

/// An environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Environment {
    /// Its name: the prefix of the control plane and the task id.
    pub id: EnvironmentId,
    /// The task it works on.
    pub task_id: TaskId,
    /// The name of its VM on the host. No other environment, before or after, has the same.
    pub vm: VmName,
    /// Where it stands.
    pub state: EnvironmentState,
    /// Why it stands there.
    pub reason: Reason,
    /// The host it was placed on.
    pub host_id: HostId,
    /// What was asked for.
    pub spec: EnvironmentSpec,
    /// The agent and the workload, without secrets and files.
    #[serde(default)]
    pub agent: AgentSpec,
    /// The startup script.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub startup_script: String,
    /// Seconds that the startup script may take; 0 uses the default.
    #[serde(default)]
    pub startup_script_timeout_seconds: u64,
    /// Guest ports to publish.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<Expose>,
    /// The health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The snapshot it boots from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    /// Where its agent is reached, as the host says. Empty until it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Published guest ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<GuestEndpoint>,
    /// The last verdict of its health check. Not durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What its host was last seen to say. Not durable: unknown after a restart until the host has answered.
    #[serde(default)]
    pub observed: Observed,
    /// How long each phase of coming up took.
    #[serde(default)]
    pub timings: PhaseTimings,
    /// What the caller should know, such as a part of the request that the host's agent does not do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How often its boot was begun. More than one after a restart of the control plane.
    #[serde(default)]
    pub boots: u32,
    /// How the removal of its VM goes, from `destroying` on.
    #[serde(default)]
    pub removal: Attempts,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

enters!(Environment, EnvironmentState);

impl Environment {
    /// Whether it takes capacity of its host.
    ///
    /// A failed environment does not: what its boot left behind is a teardown, which takes the capacity over.
    #[must_use]
    pub const fn holds_capacity(&self) -> bool {
        !self.state.is_ended()
    }
}

/// Which environments a list shows. The default leaves out those that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvironmentFilter {
    /// Only this task.
    pub task_id: Option<TaskId>,
    /// Only this state; also shows ended ones when it is one of theirs.
    pub state: Option<EnvironmentState>,
    /// Only this host.
    pub host_id: Option<HostId>,
}

impl EnvironmentFilter {
    /// Whether `environment` passes.
    #[must_use]
    pub fn matches(&self, environment: &Environment) -> bool {
        self.task_id.as_ref().is_none_or(|task| *task == environment.task_id)
            && self.host_id.as_ref().is_none_or(|host| *host == environment.host_id)
            && self.state.map_or(!environment.state.is_ended(), |state| state == environment.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_states_have_no_way_out() {
        for from in EnvironmentState::ALL {
            for to in EnvironmentState::ALL {
                assert!(!(from.is_ended() && from.may_become(to)), "{from} -> {to}");
                assert!(!(from == to && from.may_become(to)), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn every_live_state_can_reach_an_end() {
        for from in EnvironmentState::ALL.into_iter().filter(|state| !state.is_ended()) {
            let mut reached = vec![from];
            let mut next = 0;
            while let Some(state) = reached.get(next).copied() {
                reached.extend(
                    EnvironmentState::ALL
                        .into_iter()
                        .filter(|to| state.may_become(*to) && !reached.contains(to))
                        .collect::<Vec<_>>(),
                );
                next += 1;
            }
            assert!(reached.contains(&EnvironmentState::Destroyed), "{from}");
        }
    }
}
