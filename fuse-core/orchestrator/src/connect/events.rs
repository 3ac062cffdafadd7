//! Events from a server, taken up where they broke off.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use reqwest::{Response, header};
use tokio::time::{Instant, timeout};

use super::{Connection, call::Call, client::Client, sse};
use crate::{
    Delivery, Error, ErrorCode, Result,
    model::{Environment, EnvironmentId, EnvironmentState, Subject},
    orchestrator::boot_failure,
    wire::{self, route},
};

/// The wait before a stream that broke is taken up again.
const AGAIN: Duration = Duration::from_millis(200);
/// How many events are asked for at once.
const PAGE: &str = "200";

impl Connection {
    pub(crate) fn events(&self, after: u64, subject: Option<Subject>) -> RemoteReader {
        RemoteReader {
            client: Arc::clone(&self.client),
            after,
            subject,
            ready: VecDeque::new(),
            stream: None,
        }
    }

    pub(crate) async fn newest_event(&self) -> Result<u64> {
        let query = wire::EventQuery::new(Some(u64::MAX), None);
        let call = Call::get(route::EVENTS, "ask for the newest event").queries(&query).query("limit", "1");
        Ok(self.client.json::<wire::EventList>(call).await?.newest)
    }

    /// Follows the states of an environment until it runs or never will.
    pub(crate) async fn wait_running(&self, id: &EnvironmentId, limit: Duration) -> Result<Arc<Environment>> {
        let wait = async {
            loop {
                let environment = self.environment(id).await?;
                match environment.state {
                    EnvironmentState::Running => return Ok(environment),
                    EnvironmentState::Provisioning => {}
                    _ => return Err(boot_failure(&environment)),
                }
                self.state_change(id).await?;
            }
        };
        timeout(limit, wait)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout { what: format!("the boot of vm {id}"), after: limit }))
    }

    /// Waits until an environment is not provisioning any more, or the stream that tells so breaks.
    async fn state_change(&self, id: &EnvironmentId) -> Result<()> {
        let path = route::with_name(route::ENVIRONMENT_EVENTS, id.as_str());
        let call = Call::get(&path, format!("follow vm {id}"));
        let mut stream = Stream::open(&self.client, call).await?;
        while let Ok(Some(frame)) = stream.next(&self.client).await {
            match serde_json::from_str::<wire::StateEvent>(&frame.data) {
                Ok(told) if told.state == EnvironmentState::Provisioning => {}
                _ => return Ok(()),
            }
        }
        tokio::time::sleep(AGAIN).await;
        Ok(())
    }
}

/// A place in the order of the events of a server.
#[derive(Debug)]
pub(crate) struct RemoteReader {
    client: Arc<Client>,
    after: u64,
    subject: Option<Subject>,
    /// What came and was not told yet, with the place in the order after it.
    ready: VecDeque<(u64, Delivery)>,
    stream: Option<Stream>,
}

impl RemoteReader {
    pub(crate) const fn position(&self) -> u64 {
        self.after
    }

    fn take_ready(&mut self) -> Option<Delivery> {
        let (after, delivery) = self.ready.pop_front()?;
        self.after = after;
        Some(delivery)
    }

    fn call(&self, after: u64) -> Call {
        Call::get(route::EVENTS, "follow the events")
            .queries(&wire::EventQuery::new(Some(after), self.subject.as_ref()))
    }

    pub(crate) async fn next(&mut self) -> Result<Delivery> {
        let patience = self.client.limits.reconnect;
        // Counted from the first failure: silence is no failure.
        let mut give_up: Option<Instant> = None;
        loop {
            if let Some(delivery) = self.take_ready() {
                return Ok(delivery);
            }
            match self.fill_from_stream().await {
                Ok(()) => give_up = None,
                Err(error) if is_passing(&error) => {
                    let end = *give_up.get_or_insert_with(|| Instant::now() + patience);
                    if Instant::now() >= end {
                        return Err(error);
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the next frame. The stream is kept when the wait is given up.
    async fn fill_from_stream(&mut self) -> Result<()> {
        if self.stream.is_none() {
            let call = self.call(self.after).header("accept", "text/event-stream");
            self.stream = Some(Stream::open(&self.client, call).await?);
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match stream.next(&self.client).await {
            Ok(Some(frame)) => {
                let ready = read_frame(&frame.data, self.after)?;
                self.ready.push_back(ready);
                Ok(())
            }
            // The server ended it, or the connection broke: it is taken up again from the last event that was told.
            Ok(None) => {
                self.stream = None;
                tokio::time::sleep(AGAIN).await;
                Ok(())
            }
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<Delivery>> {
        loop {
            if let Some(delivery) = self.take_ready() {
                return Ok(Some(delivery));
            }
            // A stream would tell what the list tells once more.
            self.stream = None;
            let list: wire::EventList = self.client.json(self.call(self.after).query("limit", PAGE)).await?;
            if list.lost > 0 {
                let before_first = list.events.first().map_or(list.next_after, |event| event.sequence - 1);
                self.ready.push_back((before_first, Delivery::Lost { count: list.lost }));
            }
            for event in list.events {
                self.ready.push_back((event.sequence, Delivery::Event(event.try_into()?)));
            }
            if self.ready.is_empty() {
                self.after = self.after.max(list.next_after);
                return Ok(None);
            }
        }
    }
}

/// What a frame tells, and the place in the order after it.
fn read_frame(data: &str, after: u64) -> Result<(u64, Delivery)> {
    Ok(match wire::Frame::read(data)? {
        wire::Frame::Event(event) => (event.sequence, Delivery::Event(event.try_into()?)),
        wire::Frame::Lost(lost) => {
            let position = wire::sequence_of(&lost.id).unwrap_or(after);
            (position.max(after), Delivery::Lost { count: lost.count })
        }
    })
}

/// Whether the server may be there again later.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::NoAnswer { .. }) || error.code() == ErrorCode::Unavailable
}

/// An open stream.
#[derive(Debug)]
struct Stream {
    call: Call,
    response: Response,
    parser: sse::Parser,
}

impl Stream {
    async fn open(client: &Client, call: Call) -> Result<Self> {
        let response = client.stream(&call).await?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            let why = format!("it is of type {:?} instead of text/event-stream", kind.unwrap_or("none"));
            return Err(Error::BadAnswer { what: "stream of events".to_owned(), why });
        }
        Ok(Self { call, response, parser: sse::Parser::default() })
    }

    /// The next frame; none when the stream ended. Giving up the wait loses nothing.
    async fn next(&mut self, client: &Client) -> Result<Option<sse::Frame>> {
        let too_long = |_| Error::BadAnswer {
            what: "stream of events".to_owned(),
            why: "it has a frame of more than 1 MiB".to_owned(),
        };
        loop {
            if let Some(frame) = self.parser.next_frame().map_err(too_long)? {
                return Ok(Some(frame));
            }
            let silence = client.limits.silence;
            match timeout(silence, self.response.chunk()).await {
                Ok(Ok(Some(piece))) => self.parser.push(&piece).map_err(too_long)?,
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(client.lost_stream(&self.call, &error)),
                Err(_) => {
                    let why = format!("there was no sign of life for {} s", silence.as_secs());
                    return Err(client.no_answer(&self.call, why, "it is taken up again"));
                }
            }
        }
    }
}
