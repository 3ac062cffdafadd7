//! Group commit: many callers, one writer, one flush for all that wait.
use super::ledger::{Reply, Request};
use super::{Batch, Item, StoreError, StoreResult};
use tokio::sync::{mpsc, oneshot};

/// How many requests wait at most; further callers wait before their request is taken.
pub(crate) const QUEUE: usize = 4_096;
/// Most requests that share a flush.
const GROUP: usize = 512;
/// Bytes after which a group is closed (a single larger batch still goes alone).
const GROUP_BYTES: usize = 8 << 20;

/// A request and where its answer goes.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<StoreResult<Reply>>,
}

pub(crate) enum Message {
    Write(Box<Job>),
    Close(oneshot::Sender<StoreResult<()>>),
}

/// The callers' end.
#[derive(Clone)]
pub(crate) struct Queue {
    messages: mpsc::Sender<Message>,
}

pub(crate) fn queue() -> (Queue, mpsc::Receiver<Message>) {
    let (messages, inbox) = mpsc::channel(QUEUE);
    (Queue { messages }, inbox)
}

impl Queue {
    pub(crate) async fn submit(&self, on: &str, request: Request) -> StoreResult<Reply> {
        request.check()?;
        let (reply, answer) = oneshot::channel();
        let job = Message::Write(Box::new(Job { request, reply }));
        self.messages.send(job).await.map_err(|_| closed("a write", on))?;
        // The writer answers every job it took, unless it died; then nobody can tell.
        answer.await.unwrap_or_else(|_| {
            let why = "the writer stopped before it answered".to_owned();
            Err(StoreError::OutcomeUnknown { doing: "write", on: on.to_owned(), why })
        })
    }

    pub(crate) async fn close(&self, on: &str) -> StoreResult<()> {
        let (reply, answer) = oneshot::channel();
        self.messages.send(Message::Close(reply)).await.map_err(|_| closed("close", on))?;
        answer.await.unwrap_or_else(|_| Err(closed("close", on)))
    }
}

pub(crate) fn closed(doing: &'static str, on: &str) -> StoreError {
    StoreError::Unavailable {
        doing,
        on: on.to_owned(),
        why: "the store was closed".into(),
        advice: "open it again",
    }
}

/// Refuses what still waits, and everything after it.
pub(crate) fn refuse_rest(inbox: &mut mpsc::Receiver<Message>, on: &str) {
    inbox.close();
    while let Ok(message) = inbox.try_recv() {
        // The caller may have gone.
        match message {
            Message::Write(job) => drop(job.reply.send(Err(closed("a write", on)))),
            Message::Close(reply) => drop(reply.send(Err(closed("close", on)))),
        }
    }
}

/// A group of jobs, and the close request that ended it, if one did.
pub(crate) struct Group {
    pub(crate) jobs: Vec<Job>,
    pub(crate) close: Option<oneshot::Sender<StoreResult<()>>>,
}

/// Takes `first` and whatever else waits already. It does not linger for more: while a flush runs the next
/// group gathers by itself.
pub(crate) fn gather(first: Message, inbox: &mut mpsc::Receiver<Message>) -> Group {
    let mut group = Group { jobs: Vec::new(), close: None };
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Close(reply) => {
                group.close = Some(reply);
                return group;
            }
            Message::Write(job) => {
                bytes += weight(&job.request);
                group.jobs.push(*job);
            }
        }
        next = if group.jobs.len() < GROUP && bytes < GROUP_BYTES { inbox.try_recv().ok() } else { None };
    }
    group
}

fn weight(request: &Request) -> usize {
    match request {
        Request::Commit(batch) => Batch::bytes(batch),
        Request::Load(items) => items.iter().map(Item::bytes).sum(),
        _ => 0,
    }
}
