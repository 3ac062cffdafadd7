//! Streams of events, taken up where they broke off.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use fuse_orchestrator::{
    ControlPlane, Delivery, Subscription,
    model::{EnvironmentId, EventKind, Subject, Timestamp},
    wire::{self, EventList, EventQuery, Lost, StateEvent, page_limit, route},
};
use futures_util::stream;
use prometheus_client::metrics::gauge::Gauge;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    names::{Named, Params},
    openapi::Refusals,
};
use crate::{
    answer::{Answer, Failure, json},
    api::Api,
};

/// How many events a list has when nothing is said, and at most.
const LIST_DEFAULT: usize = 50;
const LIST_MOST: usize = 200;

/// Query of the stream of one environment.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resume {
    last_event_id: Option<String>,
}

#[utoipa::path(get, path = "/v1/environments/{vmId}/events", tag = "events",
    params(
        ("vmId" = String, Path, description = "The environment."),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last frame that was read: only what follows is sent."),
        ("last_event_id" = Option<String>, Query, description = "The same, for clients that cannot set headers."),
    ),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "Frames whose data is a StateEvent; ends with the environment.", body = StateEvent, content_type = "text/event-stream"), Refusals))]
/// The states of an environment: first the present one, then each change, until it has ended.
pub(super) async fn of_environment(
    State(api): State<Arc<Api>>,
    Named(id): Named<EnvironmentId>,
    Params(resume): Params<Resume>,
    headers: HeaderMap,
) -> Answer {
    let position = api.orchestrator.newest_event();
    let present = api.orchestrator.get(&id)?;
    let after = resume_after(&headers, resume.last_event_id.as_deref())?;
    let subject = Subject::Environment(id.clone());
    let events = api.orchestrator.events_about(subject, after.unwrap_or(position));
    let mut stream = EventStream::new(&api, events, Kind::Environment { id, since: None });
    if after.is_none() {
        let first = StateEvent::present(&present, position);
        stream.kind = Kind::Environment { id: present.id.clone(), since: Some(present.updated_at) };
        stream.ended = first.is_last();
        stream.first = Some(frame(&first.id, &first));
    }
    Ok(stream.response())
}

#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(EventQuery, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last frame that was read: only what follows is sent.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "A list; or, to a caller that accepts `text/event-stream`, frames of events that never end.",
        content((EventList = "application/json"), (wire::Frame = "text/event-stream"))), Refusals))]
/// Everything that happens, in order: a list, or a stream.
pub(super) async fn of_fleet(
    State(api): State<Arc<Api>>,
    Params(query): Params<EventQuery>,
    headers: HeaderMap,
) -> Answer {
    let (after, subject) = query.parts()?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let streams = accept.contains("text/event-stream");
    let after = resume_after(&headers, None)?.or(after);
    let begin = after.unwrap_or(if streams { api.orchestrator.newest_event() } else { 0 });
    let events = match subject {
        Some(subject) => api.orchestrator.events_about(subject, begin),
        None => api.orchestrator.events(begin),
    };
    if streams {
        return Ok(EventStream::new(&api, events, Kind::Fleet).response());
    }
    let limit = query.limit.as_deref().and_then(page_limit).unwrap_or(LIST_DEFAULT).min(LIST_MOST);
    list(events, limit, api.orchestrator.newest_event()).await
}

async fn list(mut events: Subscription, limit: usize, newest: u64) -> Answer {
    let mut page = EventList { next_after: events.position(), newest, ..EventList::default() };
    while page.events.len() < limit {
        match events.try_next().await? {
            Some(Delivery::Event(event)) => page.events.push(wire::Event::from(&*event)),
            Some(Delivery::Lost { count }) => page.lost += count,
            None => break,
        }
    }
    page.next_after = events.position();
    Ok(json(StatusCode::OK, &page))
}

/// The event after which the caller goes on.
fn resume_after(headers: &HeaderMap, query: Option<&str>) -> Answer<Option<u64>> {
    let header = headers.get(route::LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?"));
    let Some(id) = header.or(query).filter(|id| !id.is_empty()) else { return Ok(None) };
    wire::sequence_of(id)
        .map(Some)
        .ok_or_else(|| Failure::invalid("Last-Event-ID: not the id of an event of this server"))
}

/// A frame: id, data, an empty line.
fn frame(id: &str, data: &impl Serialize) -> Bytes {
    let mut text = Vec::with_capacity(256);
    text.extend_from_slice(b"id: ");
    text.extend_from_slice(id.as_bytes());
    text.extend_from_slice(b"\ndata: ");
    // Texts and numbers always serialise.
    let _ = serde_json::to_writer(&mut text, data);
    text.extend_from_slice(b"\n\n");
    text.into()
}

/// What a slow reader of one environment is told: a frame as the others, with how much it missed.
#[derive(Serialize)]
struct Missed<'a> {
    #[serde(flatten)]
    state: &'a StateEvent,
    count: u64,
}

/// How long a stream whose environment has ended waits for events that are durable and not told yet.
const SETTLING: Duration = Duration::from_millis(20);

/// What a stream tells of.
enum Kind {
    /// The states of one environment, from a time on.
    Environment { id: EnvironmentId, since: Option<Timestamp> },
    /// Everything.
    Fleet,
}

/// A stream on its way.
struct EventStream {
    orchestrator: ControlPlane,
    events: Subscription,
    kind: Kind,
    first: Option<Bytes>,
    ended: bool,
    /// The newest event that was durable when the environment had ended.
    last: Option<u64>,
    keepalive: Duration,
    stop: CancellationToken,
    _open: Open,
}

/// What came of waiting for an event.
enum Waited {
    For(Delivery),
    InVain,
    ToTheEnd,
}

/// An open stream, for the figures.
struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl EventStream {
    fn new(api: &Api, events: Subscription, kind: Kind) -> Self {
        api.metrics.streams.inc();
        Self {
            orchestrator: api.orchestrator.clone(),
            events,
            kind,
            first: None,
            ended: false,
            last: None,
            keepalive: api.config.keepalive,
            stop: api.stop.clone(),
            _open: Open(api.metrics.streams.clone()),
        }
    }

    fn response(self) -> Response<Body> {
        let mut response = Response::new(Body::from_stream(stream::unfold(self, Self::next)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if let Some(first) = self.first.take() {
            return Some((Ok(first), self));
        }
        let deadline = Instant::now() + self.keepalive;
        while !self.ended {
            let delivery = match self.events.try_next().await {
                Ok(Some(delivery)) => delivery,
                Ok(None) => {
                    let over = self.is_over();
                    if over && self.has_read_all().await {
                        return None;
                    }
                    let until = if over { deadline.min(Instant::now() + SETTLING) } else { deadline };
                    match self.wait(until).await {
                        Waited::For(delivery) => delivery,
                        Waited::InVain if Instant::now() < deadline => continue,
                        Waited::InVain => return Some((Ok(Bytes::from_static(b": keepalive\n\n")), self)),
                        Waited::ToTheEnd => return None,
                    }
                }
                // The log cannot be read now. The caller comes back with the id of its last frame.
                Err(_) => return None,
            };
            if let Some(bytes) = self.tell(&delivery) {
                return Some((Ok(bytes), self));
            }
        }
        None
    }

    async fn wait(&mut self, until: Instant) -> Waited {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Waited::ToTheEnd,
            next = self.events.next() => match next {
                Ok(Some(delivery)) => Waited::For(delivery),
                Ok(None) | Err(_) => Waited::ToTheEnd,
            },
            () = tokio::time::sleep_until(until) => Waited::InVain,
        }
    }

    /// Whether the environment has ended, or its record is gone.
    fn is_over(&self) -> bool {
        match &self.kind {
            Kind::Fleet => false,
            Kind::Environment { id, .. } => {
                self.orchestrator.get(id).map_or(true, |now| now.state.is_ended())
            }
        }
    }

    /// Whether everything that is durable was read: the record of an environment tells of its end before its event
    /// is told, which waits for the events of other commits.
    async fn has_read_all(&mut self) -> bool {
        if self.last.is_none() {
            self.last = self.orchestrator.newest_durable_event().await.ok();
        }
        self.last.is_some_and(|last| self.events.position() >= last)
    }

    fn tell(&mut self, delivery: &Delivery) -> Option<Bytes> {
        match (&self.kind, delivery) {
            (Kind::Fleet, Delivery::Event(event)) => {
                let told = wire::Event::from(&**event);
                Some(frame(&told.id, &told))
            }
            (Kind::Fleet, Delivery::Lost { count }) => {
                let lost = Lost::new(*count, self.events.position());
                Some(frame(&lost.id, &lost))
            }
            (Kind::Environment { since, .. }, Delivery::Event(event)) => {
                // What happened up to the present state, which was told first.
                if since.is_some_and(|since| event.time <= since) || !tells_state(event.event) {
                    return None;
                }
                let told = StateEvent::told_by(event)?;
                self.ended = told.is_last();
                Some(frame(&told.id, &told))
            }
            (Kind::Environment { id, .. }, Delivery::Lost { count }) => {
                let present = self.orchestrator.get(id).ok()?;
                let mut told = StateEvent::present(&present, self.events.position());
                "lost".clone_into(&mut told.event);
                Some(frame(&told.id, &Missed { state: &told, count: *count }))
            }
        }
    }
}

/// Whether an event is a change of state, rather than something on the way.
const fn tells_state(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::VmProvisioning
            | EventKind::VmRunning
            | EventKind::VmProvisionFailed
            | EventKind::VmDraining
            | EventKind::VmDestroying
            | EventKind::VmRemoved
    )
}
