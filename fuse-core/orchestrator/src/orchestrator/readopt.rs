//! VMs of ours that no record knows, taken back: what a control plane in memory does after a restart.

use std::sync::Arc;

use super::{Inner, change::Change, state_event, vault::Vault};
use crate::{
    Result,
    model::{
        AgentSpec, Attempts, Environment, EnvironmentId, EnvironmentSpec, EnvironmentState, EventKind,
        HostId, Observed, PhaseTimings, Reason, ReasonCode, TaskId, Timestamp, VmName,
    },
    provider::VmFacts,
    store::{Expect, Kind},
};

/// What the caller should know about an environment that was taken back.
const WARNING: &str = "its VM was taken back after a restart without a durable store: its secrets, files, workload and \
    limits are not known any more; rotate its token to get one that its agent takes";

impl Inner {
    /// Makes a record for a VM of ours that none knows. When its environment has another VM by now, it must go instead.
    pub(super) async fn readopt(self: &Arc<Self>, host: &HostId, vm: &VmFacts) -> Result<()> {
        let now = self.now();
        let Some(environment) = self.remembered(host, vm, now) else {
            return self.adopt_orphan(host, &vm.name).await;
        };
        let id = environment.id.clone();
        let vault = Vault {
            credentials: self.secrets.credentials(&vm.name, None, now)?,
            next: None,
            secrets: Default::default(),
            gateway_token: None,
            boot: None,
        };
        let sealed = self.seal(&vm.name, &vault)?;
        let held = self.locks.hold(crate::RecordKind::Environment, id.as_str()).await;
        let Some(replaced) = self.claim(&environment) else {
            drop(held);
            return self.adopt_orphan(host, &vm.name).await;
        };
        let change = Change::new()
            .put_bytes(Kind::Secret, vm.name.as_str(), Expect::Absent, sealed)
            .event(state_event(EventKind::VmRecovered, &environment).with("host_id", host));
        let task = environment.task_id.clone();
        let result = self.commit(change.environment(environment, replaced)).await;
        match result {
            Ok(()) => self.note_fresh(&vm.name),
            Err(_) => {
                let mut fleet = self.fleet();
                fleet.scheduler.release(&vm.name);
                fleet.give_task_back(&task);
            }
        }
        result
    }

    /// Takes the task and the room of an environment that is taken back. The revision of the ended record that it replaces,
    /// if there is one; nothing when its name or its task is taken.
    fn claim(&self, environment: &Environment) -> Option<Option<u64>> {
        let mut fleet = self.fleet();
        let known = fleet.environment(&environment.id);
        let replaced = known.map(|entry| (entry.value.state.is_ended(), entry.revision));
        if fleet.holder_of(&environment.task_id).is_some() || replaced.is_some_and(|(ended, _)| !ended) {
            return None;
        }
        fleet.take_task(&environment.task_id, &environment.id);
        // It is there, whether or not it fits.
        fleet.scheduler.charge(&environment.vm, &environment.host_id, environment.spec.resources);
        Some(replaced.map(|(_, revision)| revision))
    }

    /// The environment of a VM, from what its host says; none when the names make no sense together.
    fn remembered(&self, host: &HostId, vm: &VmFacts, now: Timestamp) -> Option<Environment> {
        let prefix = self.config.prefix.as_str();
        let (id, task_id) = names(prefix, vm)?;
        Some(Environment {
            id,
            task_id,
            vm: vm.name.clone(),
            state: EnvironmentState::Running,
            reason: Reason::new(ReasonCode::Recovered, "its VM was taken back after a restart"),
            host_id: host.clone(),
            spec: EnvironmentSpec {
                resources: vm.resources.unwrap_or_default(),
                ..EnvironmentSpec::default()
            },
            agent: AgentSpec::default(),
            startup_script: String::new(),
            startup_script_timeout_seconds: 0,
            expose: Vec::new(),
            healthcheck: None,
            seed: None,
            url: vm.url.clone(),
            endpoints: Vec::new(),
            health: None,
            observed: Observed::Present,
            timings: PhaseTimings::default(),
            warnings: vec![WARNING.to_owned()],
            boots: 1,
            removal: Attempts::default(),
            created_at: now,
            updated_at: now,
        })
    }
}

/// The names of the environment and of its task: as the host keeps them, else made of the VM's own name.
fn names(prefix: &str, vm: &VmFacts) -> Option<(EnvironmentId, TaskId)> {
    let own = |name: &VmName| EnvironmentId::new(name.as_str()).ok();
    let id = vm.environment_id.clone().or_else(|| own(&vm.name))?;
    let task = TaskId::new(id.as_str().strip_prefix(prefix)?).ok()?;
    Some((id, task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_has_the_names_that_its_host_keeps_else_its_own() {
        let mut vm = VmFacts::new(VmName::new("fuse-task-1-0123456789abcdef").unwrap(), String::new());
        let (id, task) = names("fuse-", &vm).unwrap();
        assert_eq!((id.as_str(), task.as_str()), ("fuse-task-1-0123456789abcdef", "task-1-0123456789abcdef"));
        vm.environment_id = Some(EnvironmentId::new("fuse-Task_1").unwrap());
        let (id, task) = names("fuse-", &vm).unwrap();
        assert_eq!((id.as_str(), task.as_str()), ("fuse-Task_1", "Task_1"));
        assert_eq!(names("other-", &vm), None, "it is not of this prefix");
    }
}
