//! Routes about what is done in guests.

use std::time::Duration;

use axum::{
    Json,
    body::Body as Stream,
    extract::{Path, RawQuery, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use fuse_guest_protocol::verb::Upload as GuestUpload;
use fuse_orchestrator::{
    attach::{Frame, FrameReader, MEDIA_TYPE, PROTOCOL},
    model::VmName,
    provider::{
        AttachInput, AttachOutput, AttachRequest, AttachSession, ExecChunk, ExecRequest, LogSource, Provider,
        ProviderError, ProviderErrorKind,
        agent_api::{Endpoint, Exec, ExecAnswer, LOG_START, StartAgent, StartAgentAnswer, Upload},
    },
};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Api,
    answer::{Answer, Body, Failure, bad},
    query,
    vms::name_in_path,
};
use crate::{
    agent::{EXEC_LONGEST, WorkloadStart},
    provider::{LocalProvider, exec_of, read_log, read_log_after},
};

/// The most bytes of a log in one answer.
const LOG_MOST: usize = 4 * 1024 * 1024;

fn limit_of(exec: &Exec) -> Result<Duration, Failure> {
    if exec.cmd.is_empty() {
        return Err(bad("cmd is empty; give at least a program"));
    }
    Ok(exec.timeout_ms.map_or(EXEC_LONGEST, Duration::from_millis).min(EXEC_LONGEST))
}

pub(super) async fn exec(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(body): Body<Exec>,
) -> Answer<ExecAnswer> {
    let limit = limit_of(&body)?;
    let done = api.agent.exec(&name_in_path(&id)?, &exec_of(&body.cmd, limit)).await?;
    Ok(Json(ExecAnswer {
        exit_code: done.result.exit_code,
        stdout: BASE64_STANDARD.encode(&done.stdout),
        stderr: BASE64_STANDARD.encode(&done.stderr),
    }))
}

fn provider_failure(error: ProviderError) -> Failure {
    let status = match error.kind {
        ProviderErrorKind::NotFound => StatusCode::NOT_FOUND,
        ProviderErrorKind::AlreadyExists => StatusCode::CONFLICT,
        ProviderErrorKind::Refused => StatusCode::BAD_REQUEST,
        ProviderErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ProviderErrorKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Failure(status, error.message)
}

pub(super) async fn exec_stream(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(body): Body<Exec>,
) -> Result<Response, Failure> {
    let (limit, name) = (limit_of(&body)?, name_in_path(&id)?);
    let provider = LocalProvider::new(api.agent.clone(), "this host");
    let request = ExecRequest { argv: body.cmd, timeout: limit };
    let stream = provider.exec_stream(&name, &request).await.map_err(provider_failure)?;
    let (writer, reader) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let (mut output, mut writer) = (stream.output, writer);
        while let Some(chunk) = output.recv().await {
            let frame = match chunk {
                ExecChunk::Stdout(bytes) => Frame::Stdout(bytes),
                ExecChunk::Stderr(bytes) => Frame::Stderr(bytes),
                ExecChunk::Exit(code) => Frame::Exit(code),
            };
            if writer.write_all(&frame.encode()).await.is_err() {
                // Nobody reads; the command goes on until its time is over.
                while output.recv().await.is_some() {}
                return;
            }
        }
    });
    let body = Stream::from_stream(tokio_util::io::ReaderStream::new(reader));
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response())
}

pub(super) async fn upload(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(body): Body<Upload>,
) -> Answer<Value> {
    let content = BASE64_STANDARD.decode(&body.content_b64).map_err(|_| bad("content_b64 is not base64"))?;
    let upload = GuestUpload {
        path: body.path,
        mode: body.mode.unwrap_or(0o644) & 0o7777,
        size: Some(content.len() as u64),
    };
    api.agent.upload(&name_in_path(&id)?, &upload, &mut content.as_slice()).await?;
    Ok(Json(json!({ "ok": true })))
}

pub(super) async fn start_agent(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(body): Body<StartAgent>,
) -> Answer<StartAgentAnswer> {
    let secret = |text: Option<String>| text.filter(|text| !text.is_empty()).map(SecretString::from);
    let start = WorkloadStart {
        token: secret(body.auth_token),
        command: body.command,
        gateway: body.gateway,
        gateway_token: secret(body.gateway_token),
        expose: body.expose.into_iter().map(|expose| (expose.port, expose.name)).collect(),
    };
    let published = api.agent.start_workload(&name_in_path(&id)?, &start).await?;
    let endpoint = |port: &crate::store::Published| Endpoint {
        name: port.name.clone(),
        url: api.agent.public_url(port),
        port: port.guest,
        host_port: Some(port.host),
    };
    Ok(Json(StartAgentAnswer { ok: true, endpoints: published.iter().map(endpoint).collect() }))
}

fn number<T: std::str::FromStr>(parts: &[(String, String)], name: &str) -> Result<Option<T>, Failure> {
    let Some(text) = query::value(parts, name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| bad(format!("{name} is not a number that fits")))
}

pub(super) async fn logs(
    State(api): State<Api>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let parts = query::parts(query.as_deref());
    let name = name_in_path(&id)?;
    let source = query::value(&parts, "source").unwrap_or("console");
    let source = LogSource::ALL.into_iter().find(|known| known.as_str() == source);
    let source = source.ok_or_else(|| bad("source is none of console, startup, agent"))?;
    let limit = number(&parts, "limit")?.unwrap_or(64 * 1024).min(LOG_MOST);
    let (start, bytes) = match number::<u64>(&parts, "after")? {
        None => (0, read_log(&api.agent, &name, source, limit).await?),
        Some(after) => {
            let chunk = read_log_after(&api.agent, &name, source, after, limit).await?;
            (chunk.start, chunk.bytes)
        }
    };
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
        (LOG_START, start.to_string()),
    ];
    Ok((headers, bytes).into_response())
}

pub(super) async fn console(
    State(api): State<Api>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let limit = number(&query::parts(query.as_deref()), "limit")?.unwrap_or(64 * 1024).min(LOG_MOST);
    let bytes = api.agent.console(&name_in_path(&id)?, limit).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], bytes).into_response())
}

pub(super) async fn attach(
    State(api): State<Api>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Failure> {
    let parts = query::parts(query.as_deref());
    let wanted = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if !wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(PROTOCOL)) {
        return Err(bad(format!("this route needs `Upgrade: {PROTOCOL}`")));
    }
    if !matches!(query::value(&parts, "tty"), None | Some("1" | "true")) {
        return Err(bad("only terminals are attached; use exec for commands without one"));
    }
    let words = parts.iter().filter(|(name, _)| name == "cmd").map(|(_, word)| word.clone());
    let ask = AttachRequest {
        argv: words.collect(),
        rows: number(&parts, "rows")?.unwrap_or(24).max(1),
        cols: number(&parts, "cols")?.unwrap_or(80).max(1),
    };
    let name: VmName = name_in_path(&id)?;
    let provider = LocalProvider::new(api.agent.clone(), "this host");
    let session = provider.attach(&name, &ask).await.map_err(provider_failure)?;
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(stream) = upgrade.await {
            carry(TokioIo::new(stream), session).await;
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// Carries a terminal over a connection, until either side ends.
async fn carry(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite, session: AttachSession) {
    let AttachSession { input, mut output } = session;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let typing = async {
        let mut frames = FrameReader::default();
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut piece).await {
            frames.push(piece.get(..count).unwrap_or_default());
            loop {
                let item = match frames.next_frame() {
                    Ok(Some(Frame::Stdin(bytes))) => AttachInput::Stdin(bytes),
                    Ok(Some(Frame::Resize { rows, cols })) => AttachInput::Resize { rows, cols },
                    Ok(Some(_)) => continue,
                    Ok(None) => break,
                    Err(_) => return,
                };
                if input.send(item).await.is_err() {
                    return;
                }
            }
        }
    };
    let showing = async {
        while let Some(item) = output.recv().await {
            let frame = match item {
                AttachOutput::Stdout(bytes) => Frame::Stdout(bytes),
                AttachOutput::Exit(code) => Frame::Exit(code),
            };
            let last = matches!(frame, Frame::Exit(_));
            if writer.write_all(&frame.encode()).await.is_err() || writer.flush().await.is_err() || last {
                break;
            }
        }
        let _ = writer.shutdown().await;
    };
    tokio::select! {
        () = showing => {}
        () = typing => {}
    }
}
