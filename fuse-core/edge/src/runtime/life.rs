//! The states of a module, and the stop and restart of the whole runtime.

use super::Runtime;
use crate::budget::Reservation;
use crate::error::{Entry, Error, Result};
use crate::instance::Instance;
use crate::module::{ModuleId, ModuleState};

impl Runtime {
    /// Starts a module that is Loaded or Paused. The first start runs `module_init`, under the policy.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound); [`WrongState`](crate::ErrorKind::WrongState); the failure of
    /// `module_init`, which leaves the module Trapped or QuotaExceeded.
    pub fn start(&mut self, id: ModuleId) -> Result<()> {
        if self.stopped {
            return Err(self.is_stopped("start a module"));
        }
        self.deliver_events();
        let loaded = self.loaded(id)?;
        match loaded.state {
            ModuleState::Loaded | ModuleState::Paused => {}
            state => return Err(wrong_state("start", id, state, "Loaded or Paused")),
        }
        if !loaded.started {
            self.run(id, Entry::Init)?;
        }
        let loaded = self.loaded_mut(id)?;
        (loaded.state, loaded.started) = (ModuleState::Running, true);
        self.deliver_events();
        self.schedule.activate(id.slot() as u32);
        Ok(())
    }

    /// Pauses a module that is Running. Events that come meanwhile wait for it.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound); [`WrongState`](crate::ErrorKind::WrongState).
    pub fn pause(&mut self, id: ModuleId) -> Result<()> {
        self.deliver_events();
        let loaded = self.loaded_mut(id)?;
        if loaded.state != ModuleState::Running {
            return Err(wrong_state("pause", id, loaded.state, "Running"));
        }
        loaded.state = ModuleState::Paused;
        self.schedule.deactivate(id.slot() as u32);
        Ok(())
    }

    /// Restarts a module that is Trapped or QuotaExceeded, from its artifact: fresh memory, `module_init`, then
    /// Running. Its statistics go on.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound); [`WrongState`](crate::ErrorKind::WrongState);
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) when there is no room for a second instance until the first is
    /// dropped, [`LoadFailed`](crate::ErrorKind::LoadFailed) or the failure of `module_init`, which leave it failed.
    pub fn restart_module(&mut self, id: ModuleId) -> Result<()> {
        if self.stopped {
            return Err(self.is_stopped("restart a module"));
        }
        self.deliver_events();
        let token = self.next_token();
        let (slots, host) = (&mut self.slots, &mut self.host);
        let loaded = match slots.get_mut(id.slot()) {
            Some(slot) if slot.generation == id.generation() => slot.loaded.as_deref_mut(),
            _ => None,
        };
        let Some(loaded) = loaded else { return Err(Error::NoSuchModule { module: id }) };
        if !matches!(loaded.state, ModuleState::Trapped | ModuleState::QuotaExceeded) {
            return Err(wrong_state("restart", id, loaded.state, "Trapped or QuotaExceeded"));
        }
        let (ledger, bytes) = (self.ledger, loaded.code.instance_bytes);
        let _both = Reservation::take(ledger, "a second instance", bytes)?;
        loaded.instance = Instance::new(&loaded.code, &loaded.policy, id, token, host).map_err(|stop| {
            Error::load(&loaded.name, alloc::format!("it ended at restart: {}", stop.failure))
        })?;
        self.schedule.reset(id.slot() as u32);
        self.run(id, Entry::Init)?;
        let loaded = self.loaded_mut(id)?;
        (loaded.state, loaded.started, loaded.failure) = (ModuleState::Running, true, None);
        self.schedule.activate(id.slot() as u32);
        Ok(())
    }

    /// Stops the runtime: every Running module is held, and no module runs until [`restart`](Self::restart).
    /// Events still latch.
    ///
    /// # Errors
    /// [`WrongState`](crate::ErrorKind::WrongState) when it is stopped already.
    pub fn stop(&mut self) -> Result<()> {
        if self.stopped {
            return Err(self.is_stopped("stop"));
        }
        self.stopped = true;
        Ok(())
    }

    /// Lifts a [`stop`](Self::stop): the modules that it held run again; those that the host had paused itself stay
    /// paused.
    ///
    /// # Errors
    /// [`WrongState`](crate::ErrorKind::WrongState) when it is not stopped.
    pub fn restart(&mut self) -> Result<()> {
        if !self.stopped {
            let remedy = "stop it first";
            return Err(Error::RuntimeState { call: "restart", state: "running", remedy });
        }
        self.stopped = false;
        Ok(())
    }

    /// Whether the runtime is stopped.
    #[must_use]
    pub const fn is_runtime_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn is_stopped(&self, call: &'static str) -> Error {
        Error::RuntimeState { call, state: "stopped", remedy: "call restart first" }
    }
}

pub(super) fn wrong_state(
    call: &'static str,
    module: ModuleId,
    state: ModuleState,
    needs: &'static str,
) -> Error {
    Error::WrongState { call, module, state, needs }
}
