//! The thread that writes. There is one, so that commits have one order and share their flushes.
use super::super::ledger::{Base, Fold, Head, Reply};
use super::super::memory::Clock;
use super::super::queue::{Group, Job, Message, closed, gather, refuse_rest};
use super::super::{StoreError, StoreResult};
use super::medium::{Medium, io_error};
use super::witness::Witness;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{RwLock, mpsc, oneshot, watch};

/// What readers and the writer share.
pub(super) struct Shared {
    pub(super) medium: Medium,
    /// Held for writing from before a group is applied until it is on the disk, so that nobody reads what a
    /// crash could take back.
    pub(super) gate: Arc<RwLock<()>>,
    pub(super) head: Mutex<Head>,
    pub(super) hint: watch::Sender<u64>,
    /// The failure after which this store refuses everything: the medium is in an unknown state.
    pub(super) failed: Mutex<Option<StoreError>>,
}

impl Shared {
    pub(super) fn head(&self) -> Head {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn usable(&self) -> StoreResult<()> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn fail(&self, error: StoreError) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) witness: Witness,
    pub(super) clock: Clock,
    pub(super) inbox: mpsc::Receiver<Message>,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut unswept = self.shared.head().position.floor > 0;
        let mut close = None;
        while close.is_none() {
            let first = if unswept { self.inbox.try_recv().ok() } else { self.inbox.blocking_recv() };
            let Some(first) = first else {
                if !unswept || self.inbox.is_closed() && self.inbox.is_empty() {
                    break;
                }
                unswept = self.sweep();
                continue;
            };
            let Group { jobs, close: asked } = gather(first, &mut self.inbox);
            let floor = self.shared.head().position.floor;
            self.write(jobs);
            unswept |= self.shared.head().position.floor > floor;
            close = asked;
        }
        let ended = self.end();
        refuse_rest(&mut self.inbox, self.shared.medium.name());
        if let Some(reply) = close {
            // Files are given back before the caller hears of it.
            self.shared.fail(closed("a call", self.shared.medium.name()));
            drop(self);
            let _ = reply.send(ended);
        }
    }

    fn write(&mut self, jobs: Vec<Job>) {
        let shared = Arc::clone(&self.shared);
        if let Err(error) = shared.usable() {
            return answer(jobs.into_iter().map(|job| (job.reply, Err(error.clone()))));
        }
        let mut fold = Fold::new(&shared.medium, shared.head(), (self.clock)());
        let replies: Vec<_> = jobs.into_iter().map(|job| (job.reply, fold.apply(job.request))).collect();
        if fold.changed {
            let changes = fold.changes;
            let gate = shared.gate.blocking_write();
            let written = shared.medium.persist(&changes).and_then(|()| {
                let noted = self.witness.note(changes.head.position.revision);
                noted.map_err(|error| io_error("commit", shared.medium.describe(), &error))
            });
            if let Err(error) = written {
                // After a failed flush nobody knows what is on the disk (the system may have dropped the pages
                // it could not write), so nothing more is accepted until the store is opened again.
                shared.fail(error.clone());
                drop(gate);
                return answer(replies.into_iter().map(|(reply, _)| (reply, Err(error.clone()))));
            }
            *shared.head.lock().unwrap_or_else(PoisonError::into_inner) = changes.head;
            drop(gate);
            shared.hint.send_replace(changes.head.position.last_event);
        }
        answer(replies.into_iter());
    }

    fn sweep(&self) -> bool {
        let floor = self.shared.head().position.floor;
        match self.shared.medium.sweep(floor) {
            Ok(more) => more,
            Err(error) => {
                self.shared.fail(error);
                false
            }
        }
    }

    fn end(&mut self) -> StoreResult<()> {
        self.shared.usable()?;
        self.shared.medium.sync()?;
        self.witness.sync().map_err(|error| io_error("close", self.shared.medium.name(), &error))
    }
}

type Answer = (oneshot::Sender<StoreResult<Reply>>, StoreResult<Reply>);

fn answer(replies: impl Iterator<Item = Answer>) {
    for (reply, result) in replies {
        // The caller may have gone; what it asked for is done all the same.
        let _ = reply.send(result);
    }
}
