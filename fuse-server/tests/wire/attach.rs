//! Terminals.

use fuse_orchestrator::attach::{Frame, FrameReader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Backend, Site, Stream, client::request, run};

crate::on_every_backend!(a_terminal_over_an_upgraded_connection);

async fn open(site: &Site, query: &str, upgrade: &str) -> (u16, Stream) {
    let bearer = format!("Bearer {}", site.token);
    let headers = [("authorization", bearer.as_str()), ("connection", "Upgrade"), ("upgrade", upgrade)];
    let mut stream = site.connect().await;
    stream.send(request("GET", &format!("/v1/environments/fuse-t1/attach{query}"), &headers, None)).await;
    let head = stream.head().await.expect("an answer");
    if head.status == 101 {
        assert_eq!(head.header("upgrade"), "fuse-attach/1");
        assert_eq!(head.header("connection").to_ascii_lowercase(), "upgrade");
        assert!(!head.headers.contains_key("x-request-id"));
    }
    (head.status, stream)
}

async fn next(stream: &mut Stream, frames: &mut FrameReader) -> Option<Frame> {
    loop {
        if let Some(frame) = frames.next_frame().expect("frames") {
            return Some(frame);
        }
        let mut buffer = [0; 4096];
        match stream.io.read(&mut buffer).await {
            Ok(count @ 1..) => frames.push(&buffer[..count]),
            _ => return None,
        }
    }
}

async fn a_terminal_over_an_upgraded_connection(site: Site) {
    site.create("t1").await;
    assert_eq!(open(&site, "", "fuse-attach/1").await.0, 400, "tty is required");
    assert_eq!(open(&site, "?tty=1", "websocket").await.0, 400, "the upgrade must be ours");
    let (status, mut stream) = open(&site, "?tty=true&rows=24&cols=80", "Fuse-Attach/1").await;
    assert_eq!(status, 101);
    let mut frames = FrameReader::default();
    let mut typed = Frame::Resize { rows: 40, cols: 100 }.encode();
    typed.extend([9, 0, 0, 0, 0, 0, 0, 1, b'?']);
    typed.extend(Frame::Stdin(b"echo hello\n".to_vec()).encode());
    // In two pieces, through the middle of a frame.
    let (first, second) = typed.split_at(typed.len() - 5);
    stream.send(first).await;
    stream.send(second).await;
    assert_eq!(next(&mut stream, &mut frames).await, Some(Frame::Stdout(b"hello\n".to_vec())));
    stream.send(Frame::Stdin(b"exit 7\n".to_vec()).encode()).await;
    assert_eq!(next(&mut stream, &mut frames).await, Some(Frame::Exit(7)));
    assert_eq!(next(&mut stream, &mut frames).await, None, "nothing follows");

    let (status, mut stream) = open(&site, "?tty=1&cmd=echo&cmd=a%20b", "fuse-attach/1").await;
    assert_eq!(status, 101);
    let mut frames = FrameReader::default();
    assert_eq!(next(&mut stream, &mut frames).await, Some(Frame::Stdout(b"a b\n".to_vec())));
    assert_eq!(next(&mut stream, &mut frames).await, Some(Frame::Exit(0)));
}

#[test]
fn a_terminal_of_a_frame_that_cannot_be_ends() {
    run(async {
        let site = Site::start(Backend::Memory).await.expect("a server");
        site.create("t1").await;
        let (_, mut stream) = open(&site, "?tty=1", "fuse-attach/1").await;
        stream.send([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).await;
        assert_eq!(next(&mut stream, &mut FrameReader::default()).await, None);
        let (_, mut left) = open(&site, "?tty=1", "fuse-attach/1").await;
        left.io.get_mut().shutdown().await.expect("closed");
        assert_eq!(next(&mut left, &mut FrameReader::default()).await, None);
        site.stop().await;
    });
}

/// An idle terminal lives longer than an idle connection may.
#[test]
fn a_silent_terminal_stays_open() {
    run(async {
        let limits = [("idle-timeout", "1s"), ("read-header-timeout", "1s"), ("write-timeout", "6s")];
        let site = Site::start_with(Backend::Memory, &limits).await.expect("a server");
        site.create("t1").await;
        let (_, mut stream) = open(&site, "?tty=1", "fuse-attach/1").await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        stream.send(Frame::Stdin(b"echo still\n".to_vec()).encode()).await;
        let mut frames = FrameReader::default();
        assert_eq!(next(&mut stream, &mut frames).await, Some(Frame::Stdout(b"still\n".to_vec())));
    });
}
