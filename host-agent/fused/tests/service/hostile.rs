//! Whoever connects may send what they like.

use fuse_guest_protocol::{
    Channel, Frame, MAX_PAYLOAD, VERSION, Verb,
    client::{Client, Transport},
    sync::{PADDING, Sync},
    verb::Exec,
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::guest::{Fused, LONG, TOKEN, token};

async fn throw(fused: &Fused, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(fused.tcp).await.unwrap();
    // The agent may have closed it before all is sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(LONG, reading).await.expect("the agent closes what makes no sense");
    answer
}

fn sync() -> Vec<u8> {
    Sync { version: VERSION, nonce: [7; 16] }.encode().to_vec()
}

fn with(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = sync();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

fn memory(fused: &Fused) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", fused.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_agent_survives_whatever_strangers_send() {
    let mut fused = Fused::start(&[]);
    let before = memory(&fused);
    let long_open = {
        let mut frames = Frame::open(1, Verb::Health, &vec![b' '; 900_000]);
        frames.truncate(20);
        frames
    };
    let throws = [
        Vec::new(),
        vec![0; 100],
        vec![0xf5; 100_000],
        b"GET / HTTP/1.1\r\nX: ".iter().copied().chain(vec![b'x'; 100_000]).collect(),
        b"\x16\x03\x01 not TLS".to_vec(),
        sync()[..39].to_vec(),
        with(&[Frame::data(1, Channel::Input, vec![0; MAX_PAYLOAD])]),
        with(&Frame::open(0, Verb::Health, b"{}")),
        with(&Frame::open(1, Verb::Exec, b"{\"argv\":[\"true\"]}")),
        with(&Frame::open(1, Verb::Hello, b"{\"token\":")),
        with(&long_open),
        with(&[Frame::credit(1, u32::MAX), Frame::reset(9), Frame::ok(3, Vec::new())]),
        with(&vec![Frame::ping(vec![1; MAX_PAYLOAD]); 50]),
        [with(&[]), vec![0xff; 1000]].concat(),
    ];
    for bytes in &throws {
        throw(&fused, bytes).await;
    }
    let mut runner = TestRunner::deterministic();
    let noise = proptest::collection::vec(proptest::num::u8::ANY, 0..3000);
    for _ in 0..100 {
        let noise = noise.new_tree(&mut runner).unwrap().current();
        throw(&fused, &noise).await;
        throw(&fused, &[sync(), noise].concat()).await;
    }
    assert!(fused.runs());
    let client = fused.host().await;
    assert_eq!(client.exec_collect(&Exec::argv(["echo", "on"]), 10).await.unwrap().stdout, b"on\n");
    let grown = memory(&fused).saturating_sub(before);
    assert!(grown < 16 * 1024, "the agent has grown by {grown} KiB");
}

#[tokio::test]
async fn strangers_do_not_run_programs() {
    let fused = Fused::start(&[]);
    let mark = fused.path("mark");
    let exec = serde_json::to_vec(&Exec::shell(format!("touch {mark}"))).unwrap();
    let answer = throw(&fused, &with(&Frame::open(1, Verb::Exec, &exec))).await;
    assert!(answer.windows(5).any(|window| window == b"hello"), "it is told what to do first");
    assert!(!std::fs::exists(mark).unwrap());
}

#[tokio::test]
async fn connections_have_a_limit_and_strangers_do_not_keep_the_host_out() {
    let fused = Fused::start(&[]);
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(fused.tcp).await.unwrap());
    }
    let client = fused.host().await;
    client.exec_collect(&Exec::argv(["true"]), 10).await.unwrap();
    drop(idle);
    let answered = async {
        loop {
            let stream = TcpStream::connect(fused.tcp).await.unwrap();
            if let Ok(Ok(client)) =
                tokio::time::timeout(LONG, Client::connect(stream, Transport::Socket)).await
            {
                break client.health().await.unwrap();
            }
        }
    };
    tokio::time::timeout(LONG, answered).await.expect("places are free again");
}

#[tokio::test]
async fn a_host_that_vanishes_in_the_middle_of_a_frame_is_followed_by_another() {
    let fused = Fused::start(&[]);
    let mut port = fused.port().await;

    // A host that says hello, starts something that writes without end, and stops in the middle of a frame.
    let hello = format!("{{\"token\":\"{TOKEN}\"}}");
    let exec = serde_json::to_vec(&Exec { stdin: true, ..Exec::shell("yes") }).unwrap();
    let mut bytes =
        with(&[Frame::open(1, Verb::Hello, hello.as_bytes()), Frame::open(2, Verb::Exec, &exec)].concat());
    let whole = bytes.len();
    Frame::data(2, Channel::Input, vec![9; 20_000]).encode(&mut bytes);
    bytes.truncate(whole + 7_777);
    port.write_all(&bytes).await.unwrap();
    port.read_exact(&mut vec![0; 100_003]).await.unwrap();

    // The same port, the next host.
    let client = tokio::time::timeout(LONG, Client::connect(port, Transport::Serial)).await.unwrap().unwrap();
    client.hello(Some(token(TOKEN))).await.unwrap();
    assert_eq!(client.exec_collect(&Exec::argv(["echo", "new"]), 10).await.unwrap().stdout, b"new\n");
    assert_eq!(PADDING, 32_824, "the page names the number");
    let left = client.exec_collect(&Exec::shell("ps -o args= | grep -c '^yes' || true"), 10).await.unwrap();
    assert!(left.result.exit_code == 0);
}
