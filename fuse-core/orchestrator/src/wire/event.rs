//! Events on the wire.
//!
//! Two streams carry them. GET /v1/environments/{id}/events tells the states of one environment, in the form that
//! clients have always read. GET /v1/events tells everything that happens, with the sequence numbers of the log, and
//! can be read as a list too.
//!
//! A frame is `id: <id>`, a line end, `data: <JSON>`, and an empty line. Its id is the sequence number of the event as
//! 32 hexadecimal digits, so that `Last-Event-ID` takes a stream up where it broke off. A line `: keepalive` comes
//! every 15 s.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Reason, checked, problem, strange};
use crate::{
    Result,
    model::{
        self, ApiKeyId, EnvironmentId, EnvironmentState, EventKind, HostId, SnapshotId, Timestamp, VmName,
    },
};

/// The `event` of a [`StateEvent`].
const STATE: &str = "state";
/// The `event` of [`Lost`].
const LOST: &str = "lost";

/// A sequence number as the id of a frame.
#[must_use]
pub fn event_id(sequence: u64) -> String {
    format!("{sequence:032x}")
}

/// The sequence number that an id of a frame stands for; none when it is none of ours.
#[must_use]
pub fn sequence_of(id: &str) -> Option<u64> {
    let digits = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if digits { u64::from_str_radix(id, 16).ok() } else { None }
}

/// What GET /v1/environments/{id}/events tells: the state of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateEvent {
    /// The id of the frame.
    pub id: String,
    /// `state`.
    pub event: String,
    /// The environment.
    pub vm_id: String,
    /// The state that it is in from now on.
    pub state: EnvironmentState,
    /// Where its agent is reached.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// When the state changed.
    pub updated_at: Timestamp,
}

impl StateEvent {
    /// The state that `environment` is in, told as of the event with number `sequence`.
    #[must_use]
    pub fn present(environment: &model::Environment, sequence: u64) -> Self {
        Self {
            id: event_id(sequence),
            event: STATE.to_owned(),
            vm_id: environment.id.to_string(),
            state: environment.state,
            url: environment.url.clone(),
            error: super::environment::error_of(environment.state, &environment.reason),
            updated_at: environment.updated_at,
        }
    }

    /// The state that an event tells; none when it tells none.
    #[must_use]
    pub fn told_by(event: &model::Event) -> Option<Self> {
        let model::Subject::Environment(id) = &event.subject else { return None };
        let state = event.state?;
        let error = event.reason.as_ref().map(|reason| super::environment::error_of(state, reason));
        Some(Self {
            id: event.id(),
            event: STATE.to_owned(),
            vm_id: id.to_string(),
            state,
            url: event.details.get("url").cloned().unwrap_or_default(),
            error: error.unwrap_or_default(),
            updated_at: event.time,
        })
    }

    /// Whether no other frame follows this one.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.state.is_ended()
    }
}

/// The kinds of things that events are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SubjectKind {
    /// An environment.
    Environment,
    /// A VM that no environment stands for.
    Vm,
    /// A host.
    Host,
    /// A snapshot.
    Snapshot,
    /// An API key.
    ApiKey,
    /// A dead letter.
    DeadLetter,
    /// Whoever calls from an address.
    Address,
}

impl SubjectKind {
    const ALL: [Self; 7] = [
        Self::Environment,
        Self::Vm,
        Self::Host,
        Self::Snapshot,
        Self::ApiKey,
        Self::DeadLetter,
        Self::Address,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Vm => "vm",
            Self::Host => "host",
            Self::Snapshot => "snapshot",
            Self::ApiKey => "api_key",
            Self::DeadLetter => "dead_letter",
            Self::Address => "address",
        }
    }

    fn subject(self, id: String) -> std::result::Result<model::Subject, model::IdError> {
        Ok(match self {
            Self::Environment => model::Subject::Environment(EnvironmentId::new(id)?),
            Self::Vm => model::Subject::Vm(VmName::new(id)?),
            Self::Host => model::Subject::Host(HostId::new(id)?),
            Self::Snapshot => model::Subject::Snapshot(SnapshotId::new(id)?),
            Self::ApiKey => model::Subject::ApiKey(ApiKeyId::new(id)?),
            Self::DeadLetter => model::Subject::DeadLetter(id),
            Self::Address => model::Subject::Address(id),
        })
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subject {
    /// Which kind of thing.
    pub kind: SubjectKind,
    /// Its name.
    pub id: String,
}

/// Something that happened, as GET /v1/events tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// The id of the frame.
    pub id: String,
    /// Its place in the order of all events: 1, 2, 3, …
    pub sequence: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened, such as `vm.running`.
    pub event: EventKind,
    /// What it happened to.
    pub subject: Subject,
    /// The state that the environment is in from now on, when the event is a change of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<EnvironmentState>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// More, by name. Never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Told in place of events that were removed from the log before this reader came to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lost {
    /// The id of the frame: the last event that was lost.
    pub id: String,
    /// `lost`.
    pub event: String,
    /// How many, counting events about everything.
    pub count: u64,
}

impl Lost {
    /// `count` events were lost, the last of them with number `sequence`.
    #[must_use]
    pub fn new(count: u64, sequence: u64) -> Self {
        Self { id: event_id(sequence), event: LOST.to_owned(), count }
    }
}

/// A frame of GET /v1/events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Frame {
    /// Something happened.
    Event(Event),
    /// Something was missed.
    Lost(Lost),
}

impl Frame {
    /// Reads the data of a frame.
    ///
    /// # Errors
    /// [`Error::BadAnswer`](crate::Error::BadAnswer) when it is neither.
    pub fn read(data: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Kind {
            event: String,
        }
        let kind: Kind = serde_json::from_str(data).map_err(|why| strange("event", why))?;
        if kind.event == LOST {
            return serde_json::from_str(data).map(Self::Lost).map_err(|why| strange("event", why));
        }
        serde_json::from_str(data).map(Self::Event).map_err(|why| strange("event", why))
    }

    /// The id of the frame.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Event(event) => &event.id,
            Self::Lost(lost) => &lost.id,
        }
    }
}

/// Answer of GET /v1/events to a caller that does not ask for `text/event-stream`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventList {
    /// The events, by rising number.
    pub events: Vec<Event>,
    /// The number of the last event that was looked at: what the next question names as `after`.
    pub next_after: u64,
    /// The number of the newest event of the whole log.
    #[serde(default)]
    pub newest: u64,
    /// How many events between `after` and the first one were removed from the log.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub lost: u64,
}

/// Query of GET /v1/events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct EventQuery {
    /// Only events with a number above this one. Left out: a list begins at 0, a stream with what happens from now
    /// on. `Last-Event-ID` wins over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Only about this kind of thing; needs `subject_id`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject_kind: String,
    /// Only about this thing; needs `subject_kind`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject_id: String,
    /// How many events a list has, 1 to 200; 50 when nothing or nonsense is said. A stream has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

impl EventQuery {
    /// The query for what comes after `after`.
    #[must_use]
    pub fn new(after: Option<u64>, subject: Option<&model::Subject>) -> Self {
        Self {
            after: after.map(|after| after.to_string()),
            subject_kind: subject.map(|subject| subject.kind().to_owned()).unwrap_or_default(),
            subject_id: subject.map(|subject| subject.id().to_owned()).unwrap_or_default(),
            limit: None,
        }
    }

    /// The number that is named as `after`, and the subject.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) with every part that cannot be.
    pub fn parts(&self) -> Result<(Option<u64>, Option<model::Subject>)> {
        let mut problems = Vec::new();
        let after = match self.after.as_deref() {
            None | Some("") => None,
            Some(text) => match text.parse::<u64>().ok().or_else(|| sequence_of(text)) {
                Some(after) => Some(after),
                None => {
                    problem(&mut problems, "after", format!("{text:?} is not the number of an event"));
                    None
                }
            },
        };
        let (kind, all) = (&self.subject_kind, &SubjectKind::ALL);
        let kind = super::page::one_of("subject_kind", kind, all, SubjectKind::as_str, &mut problems);
        let subject = match kind {
            Some(kind) => kind
                .subject(self.subject_id.clone())
                .map_err(|error| problem(&mut problems, "subject_id", super::id_text(&error)))
                .ok(),
            None => {
                if !self.subject_id.is_empty() && self.subject_kind.is_empty() {
                    problem(&mut problems, "subject_kind", "must be given with subject_id");
                }
                None
            }
        };
        checked((after, subject), problems)
    }
}

impl From<&model::Event> for Event {
    fn from(event: &model::Event) -> Self {
        Self {
            id: event.id(),
            sequence: event.sequence,
            time: event.time,
            event: event.event,
            subject: Subject::from(&event.subject),
            state: event.state,
            reason: event.reason.as_ref().map(Reason::from),
            details: event.details.clone(),
        }
    }
}

impl From<&model::Subject> for Subject {
    fn from(subject: &model::Subject) -> Self {
        let kind = match subject {
            model::Subject::Environment(_) => SubjectKind::Environment,
            model::Subject::Vm(_) => SubjectKind::Vm,
            model::Subject::Host(_) => SubjectKind::Host,
            model::Subject::Snapshot(_) => SubjectKind::Snapshot,
            model::Subject::ApiKey(_) => SubjectKind::ApiKey,
            model::Subject::DeadLetter(_) => SubjectKind::DeadLetter,
            model::Subject::Address(_) => SubjectKind::Address,
        };
        Self { kind, id: subject.id().to_owned() }
    }
}

impl TryFrom<Event> for Arc<model::Event> {
    type Error = crate::Error;

    fn try_from(event: Event) -> Result<Self> {
        let subject = event.subject.kind.subject(event.subject.id).map_err(|why| strange("event", why))?;
        Ok(Self::new(model::Event {
            sequence: event.sequence,
            time: event.time,
            event: event.event,
            subject,
            state: event.state,
            reason: event.reason.map(Into::into),
            details: event.details,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_in_hex() {
        assert_eq!(event_id(255), "000000000000000000000000000000ff");
        assert_eq!(sequence_of(&event_id(u64::MAX)), Some(u64::MAX));
        for bad in ["", "ff", "00000000000000000000000000000xff", &format!("f{}", "0".repeat(31))] {
            assert_eq!(sequence_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn queries_name_a_kind_with_an_id() {
        let parts = |kind: &str, id: &str, after: &str| {
            let query = EventQuery {
                after: Some(after.into()),
                subject_kind: kind.into(),
                subject_id: id.into(),
                limit: None,
            };
            query.parts()
        };
        let subject = model::Subject::Host(HostId::new("h").unwrap());
        assert_eq!(parts("host", "h", "7").unwrap(), (Some(7), Some(subject)));
        assert_eq!(parts("", "", &event_id(9)).unwrap(), (Some(9), None));
        for (kind, id, after) in [("", "h", ""), ("host", "", ""), ("horse", "h", ""), ("", "", "-1")] {
            assert!(parts(kind, id, after).is_err(), "{kind} {id} {after}");
        }
    }
}
