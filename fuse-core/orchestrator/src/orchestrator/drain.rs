//! Drain: an environment is told to end its work.

use std::sync::Arc;

use super::{ControlPlane, Inner, change::Change, state_event};
use crate::{
    Error, Result,
    model::{Environment, EnvironmentId, EnvironmentState, EventKind, Reason, ReasonCode},
    provider::{ExecRequest, ProviderError, ProviderErrorKind, Verb},
};

impl ControlPlane {
    /// Tells a running environment to end its work: it becomes `draining`, and its drain command runs.
    ///
    /// It is not destroyed for that; one that drains for longer than the limit is.
    ///
    /// # Errors
    /// [`Error::EnvironmentTransition`] when it does not run; [`Error::Provider`] when the drain command failed: it is
    /// draining all the same, and its reason says so.
    pub async fn drain(&self, id: &EnvironmentId) -> Result<Arc<Environment>> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        self.inner.finish(async move { inner.drain(&id).await }).await
    }
}

impl Inner {
    pub(super) async fn drain(self: &Arc<Self>, id: &EnvironmentId) -> Result<Arc<Environment>> {
        self.live(id)?;
        let change = |current: &mut Environment, now| {
            current.enter(EnvironmentState::Draining, ReasonCode::DrainRequested.into(), now)?;
            Ok(Change::new().event(state_event(EventKind::VmDraining, current)))
        };
        let environment = self.change_environment(id, change).await?;
        let Some(command) = environment.agent.drain() else {
            return self.note_drain(&environment, EventKind::VmDrainSkipped, None).await;
        };
        let request = ExecRequest::shell(command, self.config.drain_timeout);
        let (host, vm) = (&environment.host_id, &environment.vm);
        let provider = self.provider(host)?;
        let limit = self.config.drain_timeout + self.config.timeouts.exec_margin;
        let result = self.call(host, Verb::Exec, vm.as_str(), limit, provider.exec(vm, &request)).await;
        let error = match result {
            Ok(output) if output.exit_code == 0 => {
                return self.note_drain(&environment, EventKind::VmDrained, None).await;
            }
            Ok(output) => {
                let message = format!("the drain command ended with exit code {}", output.exit_code);
                ProviderError::new(ProviderErrorKind::Failed, Verb::Exec, host, vm, message)
            }
            Err(error) => error,
        };
        let reason = Reason::new(ReasonCode::DrainFailed, error.to_string());
        self.note_drain(&environment, EventKind::VmDrainFailed, Some(reason)).await?;
        Err(error.into())
    }

    /// Notes how the drain went, unless something else happened to the environment meanwhile.
    async fn note_drain(
        &self,
        environment: &Arc<Environment>,
        kind: EventKind,
        reason: Option<Reason>,
    ) -> Result<Arc<Environment>> {
        let change = |current: &mut Environment, _| {
            if current.vm != environment.vm || current.state != EnvironmentState::Draining {
                return Err(super::not_our_vm(&environment.vm));
            }
            if let Some(reason) = reason {
                current.reason = reason;
            }
            let mut event = state_event(kind, current);
            event.time = self.now();
            Ok(Change::new().event(event))
        };
        match self.change_environment(&environment.id, change).await {
            Err(Error::Closed { .. }) if self.check_open().is_ok() => Ok(Arc::clone(environment)),
            result => result,
        }
    }
}
