//! The calls into guests.

use std::time::Duration;

use reqwest::{StatusCode, header};

use super::{Connection, call::Call, logs::RemoteLog};
use crate::{
    Error, LogStream, Result,
    attach::PROTOCOL,
    model::EnvironmentId,
    provider::{AttachRequest, AttachSession, ExecOutput, ExecRequest, FileUpload, LogSource},
    terminal,
    wire::{self, route},
};

/// The longest that a command may take.
const EXEC_LONGEST: Duration = Duration::from_secs(600);
/// How long the server may take to open a terminal.
const HANDSHAKE: Duration = Duration::from_secs(30);

impl Connection {
    pub(crate) async fn exec(&self, id: &EnvironmentId, request: &ExecRequest) -> Result<ExecOutput> {
        let path = route::with_name(route::ENVIRONMENT, id.as_str());
        let limit = request.timeout.min(EXEC_LONGEST).saturating_add(self.client.limits.exec_margin);
        let call = Call::action(&path, route::EXEC, format!("exec in vm {id}"))?
            .json(&wire::ExecCommand::from(request))
            .within(limit);
        self.client.json::<wire::ExecResult>(call).await?.try_into()
    }

    pub(crate) async fn upload(&self, id: &EnvironmentId, file: FileUpload) -> Result<()> {
        let path = route::with_name(route::ENVIRONMENT_FILES, id.as_str());
        let query = wire::FileQuery { path: file.path, mode: format!("{:o}", file.mode) };
        let call = Call::new(reqwest::Method::PUT, &path, format!("upload to vm {id}"))
            .queries(&query)
            .bytes(file.content)
            .within(self.client.limits.work);
        self.client.done(call).await
    }

    pub(crate) async fn logs(&self, id: &EnvironmentId, source: LogSource) -> Result<String> {
        self.client.text_of(self.log_call(id, source)).await
    }

    fn log_call(&self, id: &EnvironmentId, source: LogSource) -> Call {
        let path = route::with_name(route::ENVIRONMENT_LOGS, id.as_str());
        Call::get(&path, format!("read the logs of vm {id}")).query("source", source.as_str())
    }

    pub(crate) async fn follow_logs(&self, id: &EnvironmentId, source: LogSource) -> Result<LogStream> {
        let call = self.log_call(id, source).query("follow", "true");
        let response = self.client.stream(&call).await?;
        Ok(RemoteLog::new(self.client.clone(), call, response).into())
    }

    pub(crate) async fn attach(&self, id: &EnvironmentId, request: &AttachRequest) -> Result<AttachSession> {
        let path = route::with_name(route::ENVIRONMENT_ATTACH, id.as_str());
        let mut call = Call::get(&path, format!("attach to vm {id}"))
            .header("connection", "Upgrade")
            .header("upgrade", PROTOCOL)
            .within(HANDSHAKE);
        for (name, value) in wire::attach::pairs(request) {
            call = call.query(name, value);
        }
        let response = self.client.stream(&call).await?;
        let named = response.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS
            || !named.is_some_and(|name| name.eq_ignore_ascii_case(PROTOCOL))
        {
            let why = format!("it is {} and does not switch to {PROTOCOL}", response.status());
            return Err(Error::BadAnswer { what: "answer to attach".to_owned(), why });
        }
        let upgraded = tokio::time::timeout(HANDSHAKE, response.upgrade()).await;
        match upgraded {
            Ok(Ok(stream)) => Ok(terminal::open(stream)),
            _ => {
                let why = "the connection broke while it switched protocols".to_owned();
                Err(self.client.no_answer(&call, why, "attach again"))
            }
        }
    }
}
