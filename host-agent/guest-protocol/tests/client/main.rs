//! The host's client against a small guest that is written from the page alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod guest;

use std::time::Duration;

use fuse_guest_protocol::{
    ErrorCode, Frame, MAX_STREAMS, Token, WINDOW,
    client::{Client, ClientError, Output, Transport},
    verb::{Download, Exec, Upload, WorkloadStatus},
};
use guest::{Guest, Seen};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::timeout,
};

const LONG: Duration = Duration::from_secs(60);

async fn connected() -> (Client, Guest) {
    let (host, guest) = duplex(64 * 1024);
    let guest = Guest::start(guest);
    let client = timeout(LONG, Client::connect(host, Transport::Socket)).await.unwrap().unwrap();
    (client, guest)
}

#[tokio::test]
async fn hello_needs_the_token_and_answers_who_it_is() {
    let (client, _guest) = connected().await;
    let wrong = client.hello(Some(Token::new("not-the-right-one").unwrap())).await.unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::Unauthorized));
    let info = client.hello(Some(Token::new(guest::TOKEN).unwrap())).await.unwrap();
    assert_eq!(info.agent, "small");
    client.ping().await.unwrap();
}

#[tokio::test]
async fn input_and_output_are_longer_than_the_window() {
    let (client, _guest) = connected().await;
    let text = vec![b'x'; 5 * WINDOW as usize + 7];
    let mut stream = client.exec(&Exec { stdin: true, ..Exec::argv(["cat"]) }).await.unwrap();
    let input = stream.input();
    let sent = text.clone();
    let writer = tokio::spawn(async move {
        input.send(&sent).await.unwrap();
        input.finish().await.unwrap();
    });
    let mut back = Vec::new();
    loop {
        match timeout(LONG, stream.next()).await.unwrap().unwrap() {
            Output::Stdout(bytes) => back.extend(bytes),
            Output::Stderr(_) => panic!("no errors were written"),
            Output::Exit(result) => break assert_eq!(result.exit_code, 0),
        }
    }
    writer.await.unwrap();
    assert!(back == text, "{} bytes came back", back.len());
}

#[tokio::test]
async fn a_reader_that_stops_stops_only_its_own_stream() {
    let (client, guest) = connected().await;
    let idle = client.exec(&Exec::argv(["yes"])).await.unwrap();
    for round in 0..20 {
        let output = client.exec_collect(&Exec::argv(["echo", &round.to_string()]), 64).await.unwrap();
        assert_eq!(output.stdout, round.to_string().into_bytes());
    }
    assert!(guest.sent(1) <= WINDOW as usize, "the guest holds what nobody reads");
    drop(idle);
}

#[tokio::test]
async fn a_dropped_request_is_given_up_and_its_place_is_free_again() {
    let (client, guest) = connected().await;
    for round in 0..3 * MAX_STREAMS {
        let stream = timeout(LONG, client.exec(&Exec::argv(["sleep"]))).await.expect("a free place").unwrap();
        drop(stream);
        guest.wait(|seen| seen.iter().filter(|event| matches!(event, Seen::Reset(_))).count() > round).await;
    }
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_behind() {
    let (client, guest) = connected().await;
    let exec = Exec::argv(["sleep"]);
    assert!(timeout(Duration::from_millis(50), client.exec_collect(&exec, 10)).await.is_err());
    guest.wait(|seen| seen.contains(&Seen::Reset(1))).await;
    assert_eq!(client.exec_collect(&Exec::argv(["echo", "on"]), 10).await.unwrap().stdout, b"on");
}

#[tokio::test]
async fn files_go_in_and_come_out() {
    let (client, _guest) = connected().await;
    let content: Vec<u8> = (0..900_000_u32).map(|i| (i / 7) as u8).collect();
    let upload = Upload { path: "/a".into(), mode: 0o600, size: None };
    let facts = client.upload_bytes(&upload, &content).await.unwrap();
    assert_eq!(facts.bytes, content.len() as u64);
    let mut back = Vec::new();
    let download = Download { path: "/a".into(), offset: 0, length: None };
    client.download(&download, &mut back).await.unwrap();
    assert!(back == content, "{} bytes came back", back.len());

    let refused = Upload { path: "relative".into(), mode: 0o600, size: None };
    assert_eq!(client.upload_bytes(&refused, &content).await.unwrap_err().code(), Some(ErrorCode::Refused));
}

#[tokio::test]
async fn long_arguments_take_several_frames() {
    let (client, _guest) = connected().await;
    let line = "ä".repeat(100_000);
    let output = client.exec_collect(&Exec::argv(["echo", &line]), usize::MAX).await.unwrap();
    assert!(output.stdout == line.into_bytes());
    let long = "x".repeat(fuse_guest_protocol::MAX_ARGUMENTS);
    let error = client.exec(&Exec::argv(["echo", &long])).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn a_verb_that_the_guest_does_not_know_is_said() {
    let (client, _guest) = connected().await;
    let error = client.call(&WorkloadStatus {}).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unsupported));
}

#[tokio::test]
async fn the_end_of_the_connection_ends_every_request() {
    let (client, guest) = connected().await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(client.exec(&Exec::argv(["sleep"])).await.unwrap());
    }
    guest.stop();
    for mut stream in streams {
        let error = timeout(LONG, stream.next()).await.unwrap().unwrap_err();
        assert!(error.is_connection(), "{error}");
    }
    assert!(timeout(LONG, client.closed()).await.unwrap().is_connection());
    assert!(client.health().await.unwrap_err().is_connection());
}

#[tokio::test]
async fn halves_of_frames_on_a_serial_port_do_not_hurt() {
    let (mut port, guest_end) = duplex(256 * 1024);
    let guest = Guest::start(guest_end);

    // An earlier host, which went away in the middle of a frame of 20,000 bytes.
    let (mut here, there) = duplex(64 * 1024);
    let early = tokio::spawn(Client::connect(there, Transport::Serial));
    let mut sync = vec![0; fuse_guest_protocol::sync::PADDING + fuse_guest_protocol::sync::LENGTH];
    here.read_exact(&mut sync).await.unwrap();
    early.abort();
    port.write_all(&sync).await.unwrap();
    let mut half = Vec::new();
    for frame in
        Frame::open(1, fuse_guest_protocol::Verb::Exec, &serde_json::to_vec(&Exec::argv(["yes"])).unwrap())
    {
        frame.encode(&mut half);
    }
    let end = half.len() + 9000;
    Frame::data(1, fuse_guest_protocol::Channel::Input, vec![7; 20_000]).encode(&mut half);
    port.write_all(&half[..end]).await.unwrap();
    guest.wait(|seen| seen.contains(&Seen::Open(1))).await;
    // Some of what the guest sent went to the earlier host, up to the middle of a frame.
    port.read_exact(&mut vec![0; 40_007]).await.unwrap();

    let client = timeout(LONG, Client::connect(port, Transport::Serial)).await.unwrap().unwrap();
    assert_eq!(client.exec_collect(&Exec::argv(["echo", "new"]), 100).await.unwrap().stdout, b"new");
    guest.wait(|seen| seen.contains(&Seen::Lost)).await;
}

#[tokio::test]
async fn a_guest_that_sends_more_than_its_window_is_cut_off() {
    let (client, _guest) = connected().await;
    let mut stream = client.exec(&Exec::argv(["flood"])).await.unwrap();
    timeout(LONG, client.closed()).await.unwrap();
    let error = loop {
        match stream.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("window"), "{error}");
}

#[tokio::test]
async fn garbage_is_never_a_guest() {
    let (host, mut guest) = duplex(64 * 1024);
    let connecting = tokio::spawn(Client::connect(host, Transport::Socket));
    guest.write_all(&b"\xf6FUSE-GUEST-SYNC and something else HTTP/1.1 400 ".repeat(500)).await.unwrap();
    drop(guest);
    let error = timeout(LONG, connecting).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Io(_)), "{error}");
}
