//! Streams: events, and logs that go on.

use std::sync::Arc;

use fuse_orchestrator::model::EnvironmentId;
use fuse_orchestrator::{Delivery, LogStream, Orchestrator, Result, Subscription, wire};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::calls::{json, name, parse};

/// A stream. It is opened when the first piece is asked for; a clone is the same stream.
#[derive(Clone, Debug)]
pub struct Stream {
    source: Arc<Mutex<Source>>,
}

#[derive(Debug)]
enum Source {
    New { fuse: Orchestrator, kind: String, arguments: String },
    Events(Subscription),
    Log(LogStream),
}

#[derive(Deserialize)]
struct LogArguments {
    id: String,
    #[serde(default)]
    source: String,
}

async fn open(fuse: &Orchestrator, kind: &str, arguments: &str) -> Result<Source> {
    Ok(match kind {
        "events" => {
            let query: wire::EventQuery = parse(arguments)?;
            let (after, subject) = query.parts()?;
            let after = match after {
                Some(after) => after,
                None => fuse.newest_event().await?,
            };
            Source::Events(match subject {
                Some(subject) => fuse.events_about(subject, after),
                None => fuse.events(after),
            })
        }
        _ => {
            let LogArguments { id, source } = parse(arguments)?;
            let id: EnvironmentId = name("id", &id)?;
            let query = wire::LogQuery { source, follow: String::new() };
            Source::Log(fuse.follow_logs(&id, query.parts()?.0).await?)
        }
    })
}

impl Stream {
    pub(crate) fn new(fuse: Orchestrator, kind: &str, arguments: &str) -> Self {
        let source = Source::New { fuse, kind: kind.to_owned(), arguments: arguments.to_owned() };
        Self { source: Arc::new(Mutex::new(source)) }
    }

    /// The next piece: a frame of `GET /v1/events` as JSON, or text of the log; `None` at the end.
    ///
    /// # Errors
    /// As [`Subscription::next`] and [`LogStream::next`]; the first one also what opening it fails with.
    pub async fn next(self) -> Result<Option<String>> {
        let mut source = self.source.lock().await;
        if let Source::New { fuse, kind, arguments } = &*source {
            let opened = open(fuse, kind, arguments).await?;
            *source = opened;
        }
        match &mut *source {
            Source::New { .. } => Ok(None),
            Source::Events(events) => match events.next().await? {
                Some(delivery) => json(&frame(delivery, events.position())).map(Some),
                None => Ok(None),
            },
            Source::Log(log) => log.next().await,
        }
    }
}

fn frame(delivery: Delivery, position: u64) -> wire::Frame {
    match delivery {
        Delivery::Event(event) => wire::Frame::Event(wire::Event::from(&*event)),
        Delivery::Lost { count } => wire::Frame::Lost(wire::Lost::new(count, position)),
    }
}
