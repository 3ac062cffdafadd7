//! The services of a manifest, started in a guest that boots.

use std::time::Duration;

use super::boot::{Boot, Down, tail};
use crate::{
    model::ReasonCode,
    provider::{ExecRequest, LogSource, Provider, Verb},
};

/// How long the services may take to start: their images may have to be fetched.
const STARTING: Duration = Duration::from_secs(600);
/// How long the look for podman may take.
const LOOKING: Duration = Duration::from_secs(10);

impl Boot {
    /// Starts the services of the manifest, where it has some. A guest without podman refuses them.
    pub(super) async fn run_services(&mut self, provider: &dyn Provider) -> Result<(), Down> {
        let Some(script) = self.services_script()? else { return Ok(()) };
        let looking = ExecRequest::shell("command -v podman", LOOKING);
        if self.exec(provider, &looking).await?.exit_code != 0 {
            let image = match self.environment().spec.image.as_str() {
                "" => "the default image of its host".to_owned(),
                image => format!("image {image:?}"),
            };
            let text = format!(
                "its manifest declares services, and {image} has no podman to run them; use an image that has it, or a \
                 manifest without services"
            );
            return Err(Down::Failed(ReasonCode::BootFailed, text));
        }
        if provider.starts_services().await {
            return Ok(());
        }
        let done = self.exec(provider, &ExecRequest::shell(&script, STARTING)).await?;
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        let said = self.scrubbed(&said);
        self.note_log(LogSource::Startup, &said);
        match done.exit_code {
            0 => Ok(()),
            code => {
                let text =
                    format!("its services did not start, exit code {code}: {}", tail(said.trim_end(), 400));
                Err(Down::Failed(ReasonCode::BootFailed, text))
            }
        }
    }

    async fn exec(
        &self,
        provider: &dyn Provider,
        request: &ExecRequest,
    ) -> Result<crate::provider::ExecOutput, Down> {
        let environment = self.environment();
        let (host, vm) = (&environment.host_id, &environment.vm);
        let (inner, call) = (self.inner(), provider.exec(vm, request));
        let limit = request.timeout + inner.config.timeouts.exec_margin;
        Ok(inner.call(host, Verb::Exec, vm.as_str(), limit, call).await?)
    }
}
