//! From a verb to what does it.

use std::sync::Arc;

use fuse_guest_protocol::{
    ErrorCode, GuestError, Verb,
    verb::{Done, Request},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    agent::Agent,
    files, machine, program,
    session::{Greeting, Input, Output},
};

/// What a verb works with.
pub(crate) struct Context<'a> {
    pub(crate) agent: &'a Arc<Agent>,
    pub(crate) greeting: Greeting,
    pub(crate) output: Output,
    pub(crate) input: Input,
}

/// Reads the arguments of a verb.
pub(crate) fn read<T: DeserializeOwned>(verb: Verb, arguments: &[u8]) -> Result<T, GuestError> {
    let arguments = if arguments.is_empty() { b"{}" } else { arguments };
    serde_json::from_slice(arguments).map_err(|error| {
        // serde's messages can repeat what they found, and that may be a token.
        let text = format!(
            "the arguments of {verb} cannot be read (line {}, column {})",
            error.line(),
            error.column()
        );
        GuestError::new(ErrorCode::Invalid, text)
    })
}

fn arguments<R: Request>(arguments: &[u8]) -> Result<R, GuestError> {
    read(R::VERB, arguments)
}

fn write<T: Serialize>(answer: &T) -> Result<Vec<u8>, GuestError> {
    serde_json::to_vec(answer)
        .map_err(|error| GuestError::new(ErrorCode::Failed, format!("writing the answer: {error}")))
}

/// Does what is asked; the answer as JSON.
pub(crate) async fn run(context: Context<'_>, verb: Verb, given: &[u8]) -> Result<Vec<u8>, GuestError> {
    let agent = context.agent;
    match verb {
        Verb::Hello | Verb::Info => write(&agent.info()),
        Verb::Health => write(&agent.health()),
        Verb::Exec => write(&program::exec::run(context, arguments(given)?).await?),
        Verb::Attach => write(&program::terminal::run(context, arguments(given)?).await?),
        Verb::Upload => write(&files::upload(context, arguments(given)?).await?),
        Verb::Download => write(&files::download(context, arguments(given)?).await?),
        Verb::StartWorkload => write(&agent.workload.start(agent, arguments(given)?).await?),
        Verb::StopWorkload => write(&agent.workload.stop(agent, arguments(given)?).await),
        Verb::WorkloadStatus => write(&agent.workload.facts()),
        Verb::Drain => write(&agent.workload.drain(agent, arguments(given)?).await?),
        Verb::SetTime => {
            machine::owned(agent)?;
            write(&machine::clock::set(arguments(given)?)?)
        }
        Verb::Renew => write(&machine::renew::run(&context, arguments(given)?).await?),
        Verb::Sync => write(&machine::disks::sync().await?),
        Verb::Freeze => write(&agent.freezer.freeze(agent, arguments(given)?).await?),
        Verb::Thaw => write(&agent.freezer.thaw()?),
        Verb::Logs => {
            program::logs::run(context, arguments(given)?).await?;
            write(&Done {})
        }
        Verb::Shutdown => {
            machine::owned(agent)?;
            machine::power::shutdown(agent, arguments(given)?).await;
            write(&Done {})
        }
        Verb::SetToken => {
            let request: fuse_guest_protocol::verb::SetToken = arguments(given)?;
            context.greeting.set(Some(request.token.clone()));
            agent.tokens.set(request.token);
            write(&Done {})
        }
        Verb::Network => {
            machine::owned(agent)?;
            machine::network::configure(&arguments(given)?)?;
            write(&Done {})
        }
    }
}
