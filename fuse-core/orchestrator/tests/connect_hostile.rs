//! `Orchestrator::connect` against servers that mean it no good, and networks that do not work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![cfg(feature = "connect")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fuse_orchestrator::{
    Connect, ConnectionLimits, Error, ErrorCode, Orchestrator,
    model::{EnvironmentFilter, EnvironmentId, ProvisionRequest, Subject, TaskId},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a server does with a connection, by its number from 0.
type Script = dyn Fn(usize, &str) -> Vec<u8> + Send + Sync;

/// A server that answers each request with bytes of the test's choice, and closes. No bytes: it closes at once.
struct Fake {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start(script: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script): (_, Arc<Script>) = (Arc::clone(&requests), Arc::new(script));
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                tokio::spawn(async move { Self::serve(stream, number, &seen, &*script).await });
            }
        });
        Self { url, requests }
    }

    async fn serve(mut stream: TcpStream, number: usize, seen: &Mutex<Vec<String>>, script: &Script) {
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !is_whole(&request) {
            match stream.read(&mut buffer).await {
                Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let answer = script(number, &request);
        seen.lock().unwrap().push(request);
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn fuse(&self) -> Orchestrator {
        self.fuse_with(|_| {})
    }

    fn fuse_with(&self, adjust: impl FnOnce(&mut ConnectionLimits)) -> Orchestrator {
        let mut limits = ConnectionLimits::default();
        limits.call = Duration::from_secs(20);
        adjust(&mut limits);
        Connect::new(&self.url).token("t0ken-of-the-test").limits(limits).connection().unwrap().into()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
    });
    body.len() >= length.unwrap_or(0)
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
        .into_bytes()
}

fn json(body: &str) -> Vec<u8> {
    answer("200 OK", "content-type: application/json\r\n", body)
}

fn id() -> EnvironmentId {
    EnvironmentId::new("fuse-t1").unwrap()
}

const ENVIRONMENT: &str = r#"{"id":"fuse-t1","state":"running","task_id":"t1","url":"","spec":{},
    "created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z"}"#;

#[tokio::test]
async fn another_service_is_told_apart() {
    for (body, says) in [
        (r#"{"service":"nginx","version":"1"}"#, "nginx"),
        (r#"{"status":"ok"}"#, "cannot be read"),
        ("<html>hello</html>", "cannot be read"),
    ] {
        let fake = Fake::start(move |_, _| json(body)).await;
        let error = Orchestrator::connect(&fake.url, None).await.unwrap_err();
        assert!(matches!(error, Error::BadAnswer { .. }) && error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_with_what_to_do() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = Orchestrator::connect(&format!("http://{free}"), None).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::NoAnswer { .. }), "{text}");
    assert!(text.contains(&free.to_string()) && text.contains("check the address"), "{text}");
}

#[tokio::test]
async fn redirects_are_not_followed_and_take_no_token_along() {
    let thief = Fake::start(|_, _| json(ENVIRONMENT)).await;
    let to = format!("location: {}/v1/environments/fuse-t1\r\n", thief.url);
    let fake = Fake::start(move |_, _| answer("302 Found", &to, "")).await;
    let error = fake.fuse().get(&id()).await.unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn a_broken_read_is_tried_again() {
    let fake = Fake::start(|number, _| if number < 2 { Vec::new() } else { json(ENVIRONMENT) }).await;
    assert_eq!(fake.fuse().get(&id()).await.unwrap().id, id());
    assert_eq!(fake.requests().len(), 3);
}

#[tokio::test]
async fn a_create_is_tried_again_under_the_same_key() {
    let script =
        |number, _: &str| if number == 0 { Vec::new() } else { answer("202 Accepted", "", ENVIRONMENT) };
    let fake = Fake::start(script).await;
    let request = ProvisionRequest::new(TaskId::new("t1").unwrap());
    fake.fuse().provision(request).await.unwrap();
    let keys: Vec<_> = fake
        .requests()
        .iter()
        .map(|text| {
            text.lines()
                .find(|line| line.to_ascii_lowercase().starts_with("idempotency-key:"))
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
    assert!(fake.requests()[0].to_ascii_lowercase().contains("prefer: respond-async"));
}

#[tokio::test]
async fn a_delete_whose_answer_was_lost_and_that_finds_nothing_was_done() {
    let gone = r#"{"error":{"code":"not_found","message":"vm fuse-t1 not found"}}"#;
    let fake =
        Fake::start(move |n, _| if n == 0 { Vec::new() } else { answer("404 Not Found", "", gone) }).await;
    fake.fuse().destroy(&id()).await.unwrap();
    // The first answer of this one is that there is nothing.
    let fake = Fake::start(move |_, _| answer("404 Not Found", "", gone)).await;
    assert_eq!(fake.fuse().destroy(&id()).await.unwrap_err().code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn an_answer_of_the_server_is_not_tried_again() {
    let full = r#"{"error":{"code":"unavailable","message":"no capacity"}}"#;
    let fake =
        Fake::start(move |_, _| answer("503 Service Unavailable", "x-request-id: req_7\r\n", full)).await;
    let error = fake.fuse().provision(ProvisionRequest::new(TaskId::new("t1").unwrap())).await.unwrap_err();
    assert_eq!(error.to_string(), "no capacity (503 unavailable, request req_7)");
    assert_eq!(fake.requests().len(), 1);
    // One from something between is.
    let fake =
        Fake::start(|n, _| if n < 2 { answer("502 Bad Gateway", "", "oops") } else { json(ENVIRONMENT) })
            .await;
    fake.fuse().get(&id()).await.unwrap();
    assert_eq!(fake.requests().len(), 3);
}

#[tokio::test]
async fn who_asks_too_often_waits() {
    let slow = |number, _: &str| {
        if number == 0 {
            answer("429 Too Many Requests", "retry-after: 0\r\n", "")
        } else {
            json(ENVIRONMENT)
        }
    };
    let fake = Fake::start(slow).await;
    fake.fuse().get(&id()).await.unwrap();
    let fake = Fake::start(|_, _| answer("429 Too Many Requests", "retry-after: 86400\r\n", "")).await;
    assert_eq!(fake.fuse().get(&id()).await.unwrap_err().code(), ErrorCode::RateLimited);
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn answers_have_a_limit() {
    let fake = Fake::start(|_, _| {
        let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        endless.extend(vec![b' '; 200_000]);
        endless
    })
    .await;
    let error = fake.fuse_with(|limits| limits.answer = 100_000).get(&id()).await.unwrap_err();
    assert!(error.to_string().contains("longer than 100000 bytes"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_has_a_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut limits = ConnectionLimits::default();
    limits.call = Duration::from_millis(300);
    let fuse: Orchestrator = Connect::new(url).limits(limits).connection().unwrap().into();
    let error = fuse.get(&id()).await.unwrap_err();
    assert!(matches!(&error, Error::NoAnswer { why, .. } if why.contains("longer than")), "{error}");
}

#[tokio::test]
async fn no_answer_makes_it_panic_or_lie() {
    let long = format!("[{}", "[".repeat(100_000));
    let bodies = [
        "",
        "null",
        "[]",
        "{}",
        "\"x\"",
        "{\"environments\":null}",
        "{\"environments\":[{}]}",
        "\u{0}",
        &long,
        r#"{"environments":[{"id":"","state":"running","created_at":"x","updated_at":"y"}]}"#,
        r#"{"environments":[{"id":"fuse-t1","state":"asleep","created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z"}]}"#,
        r#"{"environments":[{"id":"fuse-t1","state":"running","spec":{"cpus":-1},"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z"}]}"#,
    ];
    for body in bodies.map(str::to_owned) {
        let shown = body.chars().take(60).collect::<String>();
        let fake = Fake::start(move |_, _| json(&body)).await;
        match fake.fuse().list(&EnvironmentFilter::default(), None, None).await {
            Err(Error::BadAnswer { .. }) => {}
            other => panic!("{shown}: {other:?}"),
        }
    }
    for answer in [
        &b"HTTP/9.9 banana\r\n\r\n"[..],
        b"\x16\x03\x01\x02",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
    ] {
        let fake = Fake::start(move |_, _| answer.to_vec()).await;
        let error = fake.fuse().get(&id()).await.unwrap_err();
        assert!(matches!(error, Error::NoAnswer { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn errors_that_are_no_fuse_errors_are_told_as_they_are() {
    for (status, code) in [
        ("405 Method Not Allowed", ErrorCode::RouteNotFound),
        ("401 Unauthorized", ErrorCode::Unauthorized),
        ("413 Payload Too Large", ErrorCode::PayloadTooLarge),
        ("500 Internal Server Error", ErrorCode::Internal),
    ] {
        let fake = Fake::start(move |_, _| answer(status, "", "<h1>proxy says no\u{1b}[31m</h1>")).await;
        let error = fake.fuse().get(&id()).await.unwrap_err();
        assert_eq!(error.code(), code, "{status}");
        let text = error.to_string();
        assert!(
            text.contains("proxy says no") && !text.contains('\u{1b}') && !text.contains("t0ken"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_stream_of_events_is_taken_up_where_it_broke() {
    let event = |number: u64| {
        format!(
            "id: {number:032x}\ndata: {{\"id\":\"{number:032x}\",\"sequence\":{number},\"time\":\"2026-01-02T03:04:05Z\",\
             \"event\":\"vm.running\",\"subject\":{{\"kind\":\"environment\",\"id\":\"fuse-t1\"}}}}\n\n"
        )
    };
    let fake = Fake::start(move |number, request| {
        let asked = |after: u64| request.contains(&format!("after={after}"));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        match number {
            0 if asked(4) => format!("{head}: keepalive\n\n{}{}id: torn", event(5), event(6)).into_bytes(),
            1 if asked(6) => Vec::new(),
            _ if asked(6) => {
                let lost = format!(
                    "id: {0:032x}\ndata: {{\"id\":\"{0:032x}\",\"event\":\"lost\",\"count\":3}}\n\n",
                    9
                );
                format!("{head}{lost}{}", event(10)).into_bytes()
            }
            _ => answer("500 Internal Server Error", "", request),
        }
    })
    .await;
    let mut events = fake.fuse().events_about(Subject::Environment(id()), 4);
    let mut seen = Vec::new();
    for _ in 0..4 {
        events.next().await.unwrap().unwrap();
        seen.push(events.position());
    }
    assert_eq!(seen, [5, 6, 9, 10]);
}

#[tokio::test]
async fn a_stream_that_is_none_ends_with_words() {
    let fake = Fake::start(|_, _| json("{}")).await;
    let error = fake.fuse().events(0).next().await.unwrap_err();
    assert!(error.to_string().contains("text/event-stream"), "{error}");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let fake = Fake::start(move |_, _| format!("{head}data: not json\n\n").into_bytes()).await;
    assert!(matches!(fake.fuse().events(0).next().await.unwrap_err(), Error::BadAnswer { .. }));
}

#[tokio::test]
async fn a_terminal_that_is_none_is_refused() {
    let fake = Fake::start(|_, _| json("{}")).await;
    let ask = fuse_orchestrator::provider::AttachRequest { argv: Vec::new(), rows: 24, cols: 80 };
    let error = fake.fuse().attach(&id(), ask).await.unwrap_err();
    assert!(error.to_string().contains("does not switch"), "{error}");
}

#[test]
fn what_cannot_be_is_refused_before_anybody_is_asked() {
    for url in ["127.0.0.1", "ftp://h", "http://user:p4ssword@h", "http://h?x"] {
        let error = Connect::new(url).connection().unwrap_err().to_string();
        assert!(!error.contains("p4ssword"), "{error}");
    }
    let error = Connect::new("http://h").token("a\nb").connection().unwrap_err().to_string();
    assert!(error.contains("token"), "{error}");
    for pem in [&b""[..], b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(Connect::new("https://h").authorities(pem).connection().is_err());
    }
    let error = Connect::new("https://h").client_certificate(b"x", b"s3cret-key").connection().unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert!(!format!("{:?}", Connect::new("http://h").token("t0ken")).contains("t0ken"));
}
