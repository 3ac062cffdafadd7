//! HTTP/1.1 by hand: every byte that is sent is the test's choice.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// An answer that should have come by now has not.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// By name in lower case; the last of several.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The answer, when it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The message of an error with this status and code.
    #[track_caller]
    pub fn error(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json", "{}", self.text());
        assert!(self.body.ends_with(b"\n"), "an error ends its line");
        let json = self.json();
        assert_eq!(json["error"]["code"], code, "{json}");
        json["error"]["message"].as_str().expect("a message").to_owned()
    }
}

/// A connection.
pub struct Stream {
    pub io: BufReader<TcpStream>,
}

impl Stream {
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("the server takes connections");
        socket.set_nodelay(true).expect("a socket option");
        Self { io: BufReader::new(socket) }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.get_mut().write_all(bytes.as_ref()).await.expect("the server reads");
    }

    pub async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(LIMIT, self.io.read_line(&mut line)).await.expect("a line in time");
        match read {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    /// Status and headers; none when the connection ends instead.
    pub async fn head(&mut self) -> Option<Reply> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(Reply { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').expect("a header");
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }

    /// A chunk of a chunked body; none at its end.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line().await?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut chunk = vec![0; size];
        self.io.read_exact(&mut chunk).await.ok()?;
        self.line().await?;
        (size > 0).then_some(chunk)
    }

    /// A whole answer; none when the connection ends before.
    pub async fn reply(&mut self) -> Option<Reply> {
        let mut reply = self.head().await?;
        if reply.status == 204 || reply.status == 101 || reply.status == 304 {
            return Some(reply);
        }
        if reply.header("transfer-encoding") == "chunked" {
            while let Some(chunk) = self.chunk().await {
                reply.body.extend(chunk);
            }
        } else {
            let length = reply.header("content-length").parse().unwrap_or(0);
            reply.body = vec![0; length];
            self.io.read_exact(&mut reply.body).await.ok()?;
        }
        Some(reply)
    }

    /// The next frame of an event stream, as id and data; none at its end. Keepalives are skipped.
    pub async fn frame(&mut self) -> Option<(String, Value)> {
        let mut text = String::new();
        while !text.ends_with("\n\n") || text.starts_with(':') {
            if text.starts_with(':') {
                text.clear();
            }
            text.push_str(&String::from_utf8(self.chunk().await?).expect("text"));
        }
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = line("data: ").unwrap_or_else(|| panic!("{text:?}"));
        assert!(
            text.lines()
                .all(|line| line.is_empty() || line.starts_with("id: ") || line.starts_with("data: "))
        );
        Some((line("id: ").expect("an id"), serde_json::from_str(&data).expect("JSON")))
    }
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}
