//! Limits: sizes, times, and clients that do not behave.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Backend, Site, Stream, client::request, run};

crate::on_every_backend!(
    a_create_that_is_cut_off_at_every_byte,
    requests_under_way_end_before_the_server_does,
);

async fn impatient() -> Site {
    let limits = [
        ("read-header-timeout", "1s"),
        ("body-timeout", "1s"),
        ("idle-timeout", "1s"),
        ("write-timeout", "6s"),
    ];
    Site::start_with(Backend::Memory, &limits).await.expect("a server")
}

/// Whether the server ends the connection, while `send` keeps feeding it.
async fn is_cut_off(stream: &mut Stream, mut feed: impl FnMut() -> &'static [u8]) -> bool {
    let mut buffer = [0; 1024];
    for _ in 0..300 {
        if stream.io.get_mut().write_all(feed()).await.is_err() {
            return true;
        }
        let read = tokio::time::timeout(Duration::from_millis(100), stream.io.read(&mut buffer)).await;
        if matches!(read, Ok(Ok(0) | Err(_))) {
            return true;
        }
    }
    false
}

#[test]
fn headers_that_trickle_are_cut_off() {
    run(async {
        let site = impatient().await;
        let mut slow = site.connect().await;
        slow.send("GET /health HTTP/1.1\r\n").await;
        assert!(is_cut_off(&mut slow, || b"x: y\r\n").await, "one header every 100 ms");
        let mut silent = site.connect().await;
        assert!(is_cut_off(&mut silent, || b"").await, "no header at all");
        let mut idle = site.connect().await;
        idle.send(request("GET", "/health", &[], None)).await;
        idle.reply().await.expect("an answer").expect(200);
        assert!(is_cut_off(&mut idle, || b"").await, "no second request");
        let mut second = site.connect().await;
        second.send(request("GET", "/health", &[], None)).await;
        second.reply().await.expect("an answer").expect(200);
        second.send("GET /health HTTP/1.1\r\n").await;
        assert!(is_cut_off(&mut second, || b"x: y\r\n").await, "a second header that trickles");
    });
}

#[test]
fn bodies_that_trickle_are_refused() {
    run(async {
        let site = impatient().await;
        let head =
            format!("POST /v1/environments HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {}\r\n", site.token);
        for length in ["content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"] {
            let mut stream = site.connect().await;
            stream.send(format!("{head}{length}")).await;
            let reply = stream.reply().await.expect("an answer");
            assert!(reply.error(408, "invalid_argument").contains("1 s"));
        }
    });
}

#[test]
fn bodies_have_a_size() {
    run(async {
        let site = Site::start(Backend::Memory).await.expect("a server");
        site.create("t1").await;
        let rows = [
            ("/v1/environments", 1024 * 1024),
            ("/v1/environments/fuse-t1?action=exec", 1024 * 1024),
            ("/v1/environments/fuse-t1?action=fork", 64 * 1024),
            ("/v1/environments/fuse-t1/snapshots", 64 * 1024),
            ("/v1/hosts", 64 * 1024),
            ("/v1/api-keys", 64 * 1024),
            ("/login", 4 * 1024),
        ];
        let bearer = format!("Bearer {}", site.token);
        for (path, limit) in rows {
            let large = vec![b' '; limit + 1];
            let mut stream = site.connect().await;
            let told = request("POST", path, &[("authorization", &bearer)], Some(&large));
            // The answer may come before all was sent.
            let _ = stream.io.get_mut().write_all(&told).await;
            let message = stream.reply().await.expect("an answer").error(413, "payload_too_large");
            assert!(message.contains(&limit.to_string()), "{path}: {message}");

            let mut stream = site.connect().await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: {bearer}\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            stream.send(format!("{head}{:x}\r\n", large.len())).await;
            let _ = stream.io.get_mut().write_all(&large).await;
            let _ = stream.io.get_mut().write_all(b"\r\n0\r\n\r\n").await;
            stream.reply().await.expect("an answer").error(413, "payload_too_large");
        }
    });
}

#[test]
fn headers_have_a_size() {
    run(async {
        let site =
            Site::start_with(Backend::Memory, &[("max-header-bytes", "8192")]).await.expect("a server");
        let mut stream = site.connect().await;
        let _ = stream
            .io
            .get_mut()
            .write_all(format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000)).as_bytes())
            .await;
        if let Some(reply) = stream.reply().await {
            assert_eq!(reply.status, 431);
        }
        site.get("/health").await.expect(200);
    });
}

#[test]
fn json_that_is_none_is_told_so() {
    run(async {
        let site = Site::start(Backend::Memory).await.expect("a server");
        let bearer = format!("Bearer {}", site.token);
        for body in [
            "",
            "{",
            "[]",
            "null",
            "\"x\"",
            "{\"task_id\":7}",
            "{\"task_id\":\"a\"}x",
            "\u{0}",
            "{\"spec\":7}",
        ] {
            let bytes =
                request("POST", "/v1/environments", &[("authorization", &bearer)], Some(body.as_bytes()));
            let message = site.raw(bytes).await.error(400, "invalid_argument");
            assert!(message.starts_with("invalid JSON body:"), "{body:?}: {message}");
        }
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let bytes = request("POST", "/v1/environments", &[("authorization", &bearer)], Some(deep.as_bytes()));
        site.raw(bytes).await.error(400, "invalid_argument");
        let bytes =
            request("POST", "/v1/environments", &[("authorization", &bearer)], Some(&[b'"', 0xff, b'"']));
        site.raw(bytes).await.error(400, "invalid_argument");
    });
}

/// A create is cut off after each of its bytes. Whatever arrived, the server is well, and an environment is there only
/// if the request was whole.
async fn a_create_that_is_cut_off_at_every_byte(site: Site) {
    let bearer = format!("Bearer {}", site.token);
    let whole =
        request("POST", "/v1/environments", &[("authorization", &bearer)], Some(br#"{"task_id":"cut"}"#));
    for length in 0..whole.len() {
        let mut stream = site.connect().await;
        stream.send(&whole[..length]).await;
        drop(stream);
    }
    site.get("/v1/environments/fuse-cut").await.error(404, "not_found");
    let mut stream = site.connect().await;
    stream.send(&whole).await;
    drop(stream);
    for _ in 0..300 {
        if site.get("/v1/environments/fuse-cut").await.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let text = site.get("/metrics").await.text();
    assert!(text.contains("orchestrator_http_requests_in_flight 0\n"), "{text}");
}

/// A client that asks and never reads costs a connection, not the others their answers.
#[test]
fn a_client_that_never_reads_is_cut_off() {
    run(async {
        let site = Site::start_with(Backend::Memory, &[("write-timeout", "2s")]).await.expect("a server");
        for number in 0..200 {
            site.call_with(
                "POST",
                "/v1/environments",
                &[("prefer", "respond-async")],
                Some(json!({"task_id": format!("t{number}")})),
            )
            .await
            .expect(202);
        }
        let bearer = format!("Bearer {}", site.token);
        let ask = request("GET", "/v1/environments?limit=200", &[("authorization", &bearer)], None);
        let mut deaf = site.connect().await;
        // Enough questions that their answers fill every buffer on the way.
        for _ in 0..2_000 {
            let write = deaf.io.get_mut().write_all(&ask);
            if !matches!(tokio::time::timeout(Duration::from_secs(1), write).await, Ok(Ok(()))) {
                break;
            }
        }
        let mut cut = false;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let write = deaf.io.get_mut().write_all(b"G");
            if let Ok(Err(_)) = tokio::time::timeout(Duration::from_secs(1), write).await {
                cut = true;
                break;
            }
        }
        assert!(cut, "the connection goes on");
        site.get("/v1/environments/fuse-t1").await.expect(200);
    });
}

#[test]
fn connections_have_a_number() {
    run(async {
        let site = Site::start_with(
            Backend::Memory,
            &[("max-connections", "2"), ("idle-timeout", "2s"), ("read-header-timeout", "2s")],
        )
        .await
        .expect("a server");
        let (one, two) = (site.connect().await, site.connect().await);
        let mut third = site.connect().await;
        third.send(request("GET", "/health", &[], None)).await;
        let early = tokio::time::timeout(Duration::from_millis(500), third.reply()).await;
        assert!(early.is_err(), "it waits to be accepted");
        drop((one, two));
        third.reply().await.expect("an answer").expect(200);
    });
}

async fn requests_under_way_end_before_the_server_does(site: Site) {
    site.create("t1").await;
    let bearer = format!("Bearer {}", site.token);
    let mut stream = site.connect().await;
    let body = json!({"cmd": ["sleep", "1"]}).to_string();
    stream
        .send(request(
            "POST",
            "/v1/environments/fuse-t1?action=exec",
            &[("authorization", &bearer)],
            Some(body.as_bytes()),
        ))
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let address = site.address;
    let Site { server, .. } = site;
    server.stop();
    let (reply, cut) = tokio::join!(stream.reply(), server.wait());
    reply.expect("an answer").expect(200);
    assert_eq!(cut.expect("it closes"), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
