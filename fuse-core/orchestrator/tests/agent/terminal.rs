//! The terminal of the agent.

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use fuse_orchestrator::{
    attach::{Frame, FrameReader, PROTOCOL},
    provider::{AttachInput, AttachOutput, AttachRequest, Provider},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::routes::{Answer, Host, name};

/// The values of one parameter.
fn values(query: &str, wanted: &str) -> Vec<String> {
    let decode = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.bytes());
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                other => other,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| decode(value)).collect()
}

pub async fn attach(
    State(host): State<Host>,
    Path(id): Path<String>,
    mut request: Request,
) -> Answer<Response> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let upgrade = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if upgrade.is_none_or(|name| !name.eq_ignore_ascii_case(PROTOCOL)) || values(&query, "tty") != ["1"] {
        return Ok((StatusCode::BAD_REQUEST, "no terminal was asked for").into_response());
    }
    let number = |name: &str| values(&query, name).first().and_then(|text| text.parse().ok()).unwrap_or(24);
    let ask = AttachRequest { argv: values(&query, "cmd"), rows: number("rows"), cols: number("cols") };
    let mut session = host.stub.attach(&name(&id)?, &ask).await?;
    let switched = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(stream) = switched.await else { return };
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(stream));
        let (mut frames, mut piece) = (FrameReader::default(), vec![0; 4_096]);
        loop {
            tokio::select! {
                shown = session.output.recv() => {
                    let frame = match shown {
                        Some(AttachOutput::Stdout(bytes)) => Frame::Stdout(bytes),
                        Some(AttachOutput::Exit(code)) => Frame::Exit(code),
                        None => break,
                    };
                    if writer.write_all(&frame.encode()).await.is_err() {
                        break;
                    }
                }
                read = reader.read(&mut piece) => {
                    let Ok(count @ 1..) = read else { break };
                    frames.push(&piece[..count]);
                    while let Ok(Some(frame)) = frames.next_frame() {
                        let item = match frame {
                            Frame::Stdin(bytes) => AttachInput::Stdin(bytes),
                            Frame::Resize { rows, cols } => AttachInput::Resize { rows, cols },
                            _ => continue,
                        };
                        let _ = session.input.send(item).await;
                    }
                }
            }
        }
        let _ = writer.shutdown().await;
    });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}
