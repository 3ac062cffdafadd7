//! The guest agent as a program beside others: over TCP, and over a Unix socket that stands for the serial port.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod files;
mod guest;
mod hostile;
mod network;
mod programs;
mod workload;

use fuse_guest_protocol::{
    ErrorCode, Token,
    verb::{Exec, Network, Renew, SetTime, Shutdown},
};
use guest::{Fused, TOKEN, token};

#[tokio::test]
async fn the_first_hello_sets_the_token_and_everything_needs_it() {
    let fused = Fused::start(&[]);
    let client = fused.connect().await;
    assert_eq!(client.health().await.unwrap().status, "ok");
    let early = client.exec_collect(&Exec::shell("true"), 10).await.unwrap_err();
    assert_eq!(early.code(), Some(ErrorCode::Unauthorized), "{early}");

    let info = client.hello(Some(token(TOKEN))).await.unwrap();
    assert_eq!((info.agent.as_str(), info.verbs.len()), ("fused", fuse_guest_protocol::Verb::ALL.len()));
    assert_eq!(client.exec_collect(&Exec::shell("echo on"), 10).await.unwrap().stdout, b"on\n");

    drop(client);
    let second = fused.connect().await;
    let wrong = second.hello(Some(token("another-token-than-that"))).await.unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::Unauthorized), "{wrong}");
    assert_eq!(second.hello(None).await.unwrap_err().code(), Some(ErrorCode::Unauthorized));
    second.hello(Some(token(TOKEN))).await.unwrap();
}

#[tokio::test]
async fn a_new_token_ends_what_the_old_one_opened() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    client.set_token(token("the-next-token-of-it")).await.unwrap();
    client.exec_collect(&Exec::argv(["true"]), 10).await.expect("the connection that asked goes on");
    drop(client);
    let old = fused.connect().await;
    assert_eq!(old.hello(Some(token(TOKEN))).await.unwrap_err().code(), Some(ErrorCode::Unauthorized));
    old.hello(Some(token("the-next-token-of-it"))).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_does_not_own_the_machine_leaves_it_alone() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let codes = [
        client.call(&SetTime { unix_ns: 1_000_000_000_000_000_000 }).await.unwrap_err().code(),
        client.call(&Shutdown::default()).await.unwrap_err().code(),
        client
            .call(&Network { address: "10.9.8.7/24".into(), ..Network::default() })
            .await
            .unwrap_err()
            .code(),
        client.call(&Renew::default()).await.unwrap_err().code(),
    ];
    assert_eq!(codes, [Some(ErrorCode::Refused); 4]);
    assert!(Token::new(TOKEN).is_ok());
}
