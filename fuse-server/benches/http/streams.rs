//! Time from a change until every stream has told of it.

use std::time::{Duration, Instant};

use fuse_orchestrator::{
    ControlPlane,
    model::{ProvisionRequest, TaskId},
};
use reqwest::{Client, Response};

use crate::site::TOKEN;

/// Opens `streams` of one environment, destroys it, and waits until each has told so; microseconds, in order.
pub(crate) async fn fan_out(url: &str, fuse: &ControlPlane, streams: usize) -> Vec<f64> {
    let task = TaskId::new(format!("fan-{streams}")).expect("a name");
    let accepted = fuse.provision(ProvisionRequest::new(task)).await.expect("accepted");
    fuse.wait_running(&accepted.id, Duration::from_secs(60)).await.expect("it runs");
    let client = Client::new();
    let events = format!("{url}/v1/environments/{}/events", accepted.id);
    let mut open = Vec::new();
    for _ in 0..streams {
        let mut stream = client.get(&events).bearer_auth(TOKEN).send().await.expect("a stream");
        assert!(stream.status().is_success(), "{}", stream.status());
        until(&mut stream, "\"running\"").await;
        open.push(stream);
    }
    let began = Instant::now();
    let followers: Vec<_> = open
        .into_iter()
        .map(|mut stream| {
            tokio::spawn(async move {
                until(&mut stream, "\"destroyed\"").await;
                began.elapsed().as_secs_f64() * 1e6
            })
        })
        .collect();
    fuse.destroy(&accepted.id).await.expect("it goes");
    let mut times = Vec::new();
    for follower in followers {
        times.push(follower.await.expect("a follower"));
    }
    times.sort_by(f64::total_cmp);
    times
}

async fn until(stream: &mut Response, word: &str) {
    let mut text = String::new();
    while !text.contains(word) {
        let part = stream.chunk().await.expect("the stream goes on").expect("it says so before it ends");
        text.push_str(&String::from_utf8_lossy(&part));
    }
}
