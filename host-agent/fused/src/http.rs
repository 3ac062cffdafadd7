//! The two pages of the agent: `GET /health` and `GET /v1/info`. One request per connection.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{agent::Agent, tokens::Trust};

/// Bytes of a request's head.
const HEAD: usize = 8 * 1024;
/// Headers of a request.
const HEADERS: usize = 32;

/// What `/v1/info` says.
#[derive(Serialize)]
struct Info {
    vm_id: String,
    manifest_bytes: u64,
    secret_count: u64,
    gateway: String,
    tls: bool,
}

/// An answer: status, content type, body.
type Answer = (&'static str, &'static str, String);

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers one request, of which `head` was read already.
pub(crate) async fn serve<S>(agent: &Agent, mut stream: S, mut head: Vec<u8>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = loop {
        if let Some(answer) = answer(agent, &head) {
            break answer;
        }
        if head.len() >= HEAD {
            break error("431 Request Header Fields Too Large", "the request's head is longer than 8 KiB");
        }
        let mut buffer = [0; 2048];
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    };
    let (status, kind, body) = answer;
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// None: the head is not complete.
fn answer(agent: &Agent, head: &[u8]) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        Err(why) => return Some(error("400 Bad Request", &format!("the request cannot be read: {why}"))),
    }
    let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
    Some(match (request.method.unwrap_or_default(), path) {
        ("GET", "/health") => json(&agent.health()),
        ("GET", "/v1/info") => {
            let token =
                request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("authorization"));
            let token = token.and_then(|header| std::str::from_utf8(header.value).ok());
            let token = token.and_then(|value| value.strip_prefix("Bearer "));
            if agent.tokens.accepts(Trust::Network, token) {
                info(agent)
            } else {
                ("401 Unauthorized", TEXT, "unauthorized\n".to_owned())
            }
        }
        (_, "/health" | "/v1/info") => error("405 Method Not Allowed", "only GET"),
        _ => error("404 Not Found", "there are /health and /v1/info"),
    })
}

fn info(agent: &Agent) -> Answer {
    let info = agent.info();
    json(&Info {
        vm_id: info.vm_id,
        manifest_bytes: info.manifest_bytes,
        secret_count: info.secret_count,
        gateway: info.gateway,
        tls: info.tls,
    })
}

fn json<T: Serialize>(value: &T) -> Answer {
    match serde_json::to_string(value) {
        Ok(body) => ("200 OK", JSON, body),
        Err(why) => error("500 Internal Server Error", &why.to_string()),
    }
}

fn error(status: &'static str, message: &str) -> Answer {
    (status, JSON, serde_json::json!({ "error": message }).to_string())
}
