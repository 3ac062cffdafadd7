//! Firecracker's API: HTTP over a Unix socket.

use std::{fmt, path::Path, time::Duration};

use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use crate::{Error, ErrorKind, Result, system::connect_below};

/// The most bytes of an answer.
const ANSWER: usize = 1024 * 1024;

/// Asks the VMM behind `socket` in `dir`. Answers 204 and 200 are good; the body of others says why.
pub(super) async fn ask(
    dir: &Path,
    socket: &str,
    vm: &(dyn fmt::Display + Sync),
    (method, path, body): (Method, &str, Option<Value>),
    limit: Duration,
) -> Result<Value> {
    let what = format!("{method} {path}");
    let fail = |why: String| Error::new(ErrorKind::Vmm, "ask Firecracker for", vm, format!("{what}: {why}"));
    let exchange = async {
        let stream = connect_below(dir, socket).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| fail(error.to_string()))?;
        let connection = tokio::spawn(connection);
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| fail(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| fail(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        let bytes = body.map_err(|error| fail(error.to_string()))?.to_bytes();
        connection.abort();
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let why = value.get("fault_message").and_then(Value::as_str).unwrap_or("it does not say why");
        Err(fail(format!("{status}: {why}")))
    };
    match timeout(limit, exchange).await {
        Ok(result) => result,
        Err(_) => Err(fail(format!("no answer within {} s", limit.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
    };

    use super::*;

    async fn answered(answer: &'static str) -> Result<Value> {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("api")).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(buffer.get(..read).unwrap().starts_with(b"PUT /actions HTTP/1.1"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let call = (Method::PUT, "/actions", Some(serde_json::json!({})));
        ask(dir.path(), "api", &"vm-1", call, Duration::from_secs(10)).await
    }

    #[tokio::test]
    async fn refusals_say_why() {
        assert_eq!(answered("HTTP/1.1 204 No Content\r\n\r\n").await.unwrap(), Value::Null);
        let refusal =
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 34\r\n\r\n{\"fault_message\":\"Resource busy.\"}";
        let error = answered(refusal).await.unwrap_err();
        assert!(error.to_string().contains("Resource busy"), "{error}");
        assert!(answered("").await.is_err(), "a VMM that dies is an error");
    }
}
