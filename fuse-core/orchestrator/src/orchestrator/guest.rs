//! What is done in guests: exec, upload, attach, logs, credentials.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{ControlPlane, Inner, boot, boot::KeptLogs, change::Change, profile, record, tasks::Work};
use crate::{
    Error, Limit, Result,
    model::{Environment, EnvironmentId, EnvironmentState, Event, EventKind, Subject, Timestamp, VmName},
    provider::{
        AttachRequest, AttachSession, ExecOutput, ExecRequest, FileUpload, LogSource, ProviderErrorKind, Verb,
    },
    secrets::Credentials,
    store::{Expect, Kind},
};

/// How long a command may take when nothing else is said.
const EXEC_DEFAULT: Duration = Duration::from_secs(60);
/// The longest that a command may take.
const EXEC_LONGEST: Duration = Duration::from_secs(600);
/// The most bytes of a secret.
const LONGEST_SECRET: usize = 64 * 1024;
/// The most bytes of one uploaded file.
const UPLOAD_MOST: usize = 48 * 1024 * 1024;

impl ControlPlane {
    /// Runs a command in a running environment and waits for it. Its time is cut to 10 min; beyond its time it is
    /// killed and its exit code is 124.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NotFound`], [`Error::Invalid`] for an empty command, [`Error::Provider`].
    pub async fn exec(&self, id: &EnvironmentId, request: ExecRequest) -> Result<ExecOutput> {
        let environment = self.inner.running(id, "exec in")?;
        if request.argv.is_empty() {
            return Err(Error::invalid("cmd", "is empty; give at least a program"));
        }
        let timeout = request.timeout.min(EXEC_LONGEST);
        let request = ExecRequest { timeout, ..request };
        let _used = Used::begin(&self.inner, &environment.vm);
        let (host, vm) = (&environment.host_id, &environment.vm);
        let provider = self.inner.provider(host)?;
        let limit = timeout + self.inner.config.timeouts.exec_margin;
        let call = provider.exec(vm, &request);
        Ok(self.inner.call(host, Verb::Exec, vm.as_str(), limit, call).await?)
    }

    /// Runs a command line with `sh -lc`, for at most 60 s. See [`ControlPlane::exec`].
    ///
    /// # Errors
    /// As [`ControlPlane::exec`].
    pub async fn exec_shell(&self, id: &EnvironmentId, line: &str) -> Result<ExecOutput> {
        self.exec(id, ExecRequest::shell(line, EXEC_DEFAULT)).await
    }

    /// Writes a file in a running environment. At most 48 MiB.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NotFound`], [`Error::TooLarge`], [`Error::Invalid`] for a path that is not
    /// absolute, [`Error::Provider`].
    pub async fn upload(&self, id: &EnvironmentId, file: FileUpload) -> Result<()> {
        let environment = self.inner.running(id, "upload to")?;
        if !file.path.starts_with('/') || file.path.contains(['\0', '\n']) {
            return Err(Error::invalid("path", format!("{:?} is not an absolute path", file.path)));
        }
        if file.content.len() > UPLOAD_MOST {
            let bytes = file.content.len();
            return Err(Error::TooLarge { what: Limit::Upload, bytes, limit: UPLOAD_MOST });
        }
        let _used = Used::begin(&self.inner, &environment.vm);
        let (host, vm) = (&environment.host_id, &environment.vm);
        let provider = self.inner.provider(host)?;
        let limit = self.inner.config.timeouts.upload;
        Ok(self.inner.call(host, Verb::Upload, vm.as_str(), limit, provider.upload(vm, &file)).await?)
    }

    /// Opens a terminal in a running environment. While it is open the environment counts as used.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NotFound`], [`Error::Provider`].
    pub async fn attach(&self, id: &EnvironmentId, request: AttachRequest) -> Result<AttachSession> {
        let environment = self.inner.running(id, "attach to")?;
        let (host, vm) = (&environment.host_id, &environment.vm);
        let provider = self.inner.provider(host)?;
        let used = Used::begin(&self.inner, vm);
        let limit = self.inner.config.timeouts.query;
        let call = provider.attach(vm, &request);
        let guest = self.inner.call(host, Verb::Attach, vm.as_str(), limit, call).await?;
        let (to_user, output) = mpsc::channel(32);
        let AttachSession { input, output: mut from_guest } = guest;
        self.inner.tasks.spawn(async move {
            let _used = used;
            while let Some(item) = from_guest.recv().await {
                if to_user.send(item).await.is_err() {
                    break;
                }
            }
        });
        Ok(AttachSession { input, output })
    }

    /// Reads the end of a log of an environment, also of one that ended while its record is kept. Secrets are
    /// replaced.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Provider`], [`Error::Store`].
    pub async fn logs(&self, id: &EnvironmentId, source: LogSource) -> Result<String> {
        let environment = self.inner.environment(id)?.value;
        let vm = &environment.vm;
        let kept = self.inner.kept_logs(vm).await?.remove(&source);
        if environment.state.is_ended() || kept.is_some() {
            return Ok(kept.unwrap_or_default());
        }
        let host = &environment.host_id;
        let provider = self.inner.provider(host)?;
        let (limit, most) = (self.inner.config.timeouts.query, self.inner.config.log_bytes);
        let bytes = match self
            .inner
            // More than is told, so that a secret at the cut is whole when it is looked for.
            .call(host, Verb::Logs, vm.as_str(), limit, provider.logs(vm, source, most + LONGEST_SECRET))
            .await
        {
            // The VM is not there yet.
            Err(error)
                if error.kind == ProviderErrorKind::NotFound
                    && environment.state == EnvironmentState::Provisioning =>
            {
                Vec::new()
            }
            result => result?,
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let vault = self.inner.vault(vm).await?;
        Ok(boot::tail(&vault.scrub(&text), most).to_owned())
    }

    /// The credentials of an environment: what its guest agent takes and shows.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has ended, [`Error::Store`], [`Error::Secret`].
    pub async fn credentials(&self, id: &EnvironmentId) -> Result<Credentials> {
        let environment = self.inner.live(id)?.value;
        Ok(self.inner.vault(&environment.vm).await?.credentials)
    }

    /// Gives a running environment new credentials. When it returns, its agent takes the new token and no other.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NotFound`], [`Error::Provider`]: then reconcile finishes the rotation.
    pub async fn rotate_token(&self, id: &EnvironmentId) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        self.inner.finish(async move { inner.rotate(&id, Token::Fresh).await }).await
    }
}

/// Whether new credentials have a new token. A renewed certificate goes with the token that callers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Fresh,
    Kept,
}

impl Token {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Kept => "kept",
        }
    }
}

/// Use of an environment: it is not idle meanwhile.
struct Used {
    inner: Arc<Inner>,
    vm: VmName,
}

impl Used {
    fn begin(inner: &Arc<Inner>, vm: &VmName) -> Self {
        let now = inner.now();
        let mut fleet = inner.fleet();
        let activity = fleet.activity(vm, now);
        activity.used_at = now;
        activity.attached += 1;
        drop(fleet);
        Self { inner: Arc::clone(inner), vm: vm.clone() }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        let now = self.inner.now();
        if let Some(activity) = self.inner.fleet().known_activity_mut(&self.vm) {
            activity.attached = activity.attached.saturating_sub(1);
            activity.used_at = now;
        }
    }
}

impl Inner {
    /// The environment, when it runs.
    pub(super) fn running(&self, id: &EnvironmentId, operation: &'static str) -> Result<Arc<Environment>> {
        self.check_open()?;
        let environment = self.live(id)?.value;
        if environment.state != EnvironmentState::Running {
            return Err(Error::NotRunning { operation, id: id.clone(), state: environment.state });
        }
        Ok(environment)
    }

    /// Notes that an environment has just come up: its idle time begins, its certificate is new.
    pub(super) fn note_fresh(&self, vm: &VmName) {
        let now = self.now();
        let mut fleet = self.fleet();
        let activity = fleet.activity(vm, now);
        activity.used_at = now;
        activity.renewal_checked_at = now;
    }

    pub(super) async fn kept_logs(&self, vm: &VmName) -> Result<KeptLogs> {
        match self.store.get(Kind::Log, vm.as_str()).await? {
            None => Ok(KeptLogs::new()),
            Some(found) => record::decode("log", vm.as_str(), &found.body),
        }
    }

    /// Gives a running environment new credentials, or finishes a rotation that was begun.
    pub(super) async fn rotate(self: &Arc<Self>, id: &EnvironmentId, token: Token) -> Result<()> {
        let vm = self.running(id, "rotate the token of")?.vm.clone();
        let _work = Work::begin(self, &vm).await;
        let environment = self.running(id, "rotate the token of")?;
        let mut vault = self.vault(&vm).await?;
        let next = match vault.next.take() {
            Some(next) => next,
            None => {
                let kept = (token == Token::Kept).then(|| vault.credentials.token().clone());
                self.secrets.credentials(&vm, kept.as_ref(), self.now())?
            }
        };
        // One that breaks off here is taken up by housekeeping.
        let now = self.now();
        self.fleet().activity(&vm, now).renewal_checked_at = Timestamp::EPOCH;
        vault.next = Some(next.clone());
        let sealed = self.seal(&vm, &vault)?;
        self.commit(Change::new().put_bytes(Kind::Secret, vm.as_str(), Expect::Present, sealed)).await?;

        let host = &environment.host_id;
        let provider = self.provider(host)?;
        boot::upload_all(self, &provider, &environment, profile::credential_files(&next)).await?;
        let start = boot::agent_start(&environment, &vault, &next);
        let limit = self.config.timeouts.agent;
        let call = provider.start_agent(&vm, &start);
        self.call(host, Verb::StartAgent, vm.as_str(), limit, call).await?;

        vault.credentials = next;
        vault.next = None;
        let sealed = self.seal(&vm, &vault)?;
        let event = Event::new(self.now(), EventKind::VmTokenRotated, Subject::Environment(id.clone()));
        let change = Change::new().put_bytes(Kind::Secret, vm.as_str(), Expect::Present, sealed);
        self.commit(change.event(event.with("token", token.as_str()))).await?;
        let now = self.now();
        self.fleet().activity(&vm, now).renewal_checked_at = now;
        Ok(())
    }
}
