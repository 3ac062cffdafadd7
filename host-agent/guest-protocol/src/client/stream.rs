//! One request: its input, its output, its answer.

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex},
};

use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc};

use super::{
    ClientError,
    driver::{Shared, lock},
};
use crate::{
    Channel, FRAME_COST, Frame, MAX_PAYLOAD, Verb,
    frame::Control,
    window::{ReceiveWindow, cost},
};

/// What comes on a stream.
#[derive(Debug)]
pub enum Event {
    /// Bytes of a channel.
    Data(Channel, Vec<u8>),
    /// Nothing more comes on a channel.
    End(Channel),
    /// The answer. Nothing follows.
    Result(Frame),
}

/// A request that is under way, answered with an `A`. Dropping it gives the request up.
#[derive(Debug)]
pub struct Stream<A> {
    /// Towards the guest.
    pub sender: Sender,
    /// From the guest.
    pub receiver: Receiver<A>,
}

/// The input of a request. Several may share it.
#[derive(Debug, Clone)]
pub struct Sender {
    shared: Arc<Shared>,
    id: u32,
    credit: Arc<Semaphore>,
}

/// The output and the answer of a request. Dropping it gives the request up.
#[derive(Debug)]
pub struct Receiver<A> {
    shared: Arc<Shared>,
    id: u32,
    events: mpsc::UnboundedReceiver<Event>,
    window: Arc<Mutex<ReceiveWindow>>,
    answer: PhantomData<fn() -> A>,
}

pub(super) async fn open<A>(
    shared: &Arc<Shared>,
    verb: Verb,
    arguments: &[u8],
) -> Result<Stream<A>, ClientError> {
    let opened = shared.open(verb, arguments).await?;
    Ok(Stream {
        sender: Sender { shared: Arc::clone(shared), id: opened.id, credit: opened.credit },
        receiver: Receiver {
            shared: Arc::clone(shared),
            id: opened.id,
            events: opened.events,
            window: opened.window,
            answer: PhantomData,
        },
    })
}

impl<A: DeserializeOwned> Stream<A> {
    /// Waits for the answer; output is dropped.
    ///
    /// # Errors
    /// What the guest answered, or that the connection ended.
    pub async fn answer(mut self) -> Result<A, ClientError> {
        loop {
            if let Incoming::Answer(answer) = self.receiver.next().await? {
                return Ok(answer);
            }
        }
    }
}

impl Sender {
    /// Sends bytes of INPUT; waits while the guest has not taken what was sent before. When it is dropped half way, some
    /// of the bytes were sent.
    ///
    /// # Errors
    /// The stream was answered already, or the connection ended.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), ClientError> {
        for piece in bytes.chunks(MAX_PAYLOAD) {
            let permit = self.credit.acquire_many(cost(piece.len())).await.map_err(|_| self.gone())?;
            self.shared.send(&Frame::data(self.id, Channel::Input, piece.to_vec())).await?;
            permit.forget();
        }
        Ok(())
    }

    /// Says that no more INPUT comes.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn finish(&self) -> Result<(), ClientError> {
        self.shared.send(&Frame::end(self.id, Channel::Input)).await
    }

    /// Something that happens to the running program.
    ///
    /// # Errors
    /// The connection ended, or `arguments` cannot be written.
    pub async fn control<T: serde::Serialize>(
        &self,
        control: Control,
        arguments: &T,
    ) -> Result<(), ClientError> {
        let arguments = serde_json::to_vec(arguments).map_err(ClientError::Arguments)?;
        self.shared.send(&Frame::control(self.id, control, arguments)).await
    }

    fn gone(&self) -> ClientError {
        match self.shared.end() {
            Some(why) => ClientError::Closed(why),
            None => ClientError::Closed("the guest agent has answered the request already".into()),
        }
    }
}

/// Something that came on a stream, with its answer read.
#[derive(Debug)]
pub(super) enum Incoming<A> {
    Data(Channel, Vec<u8>),
    End,
    Answer(A),
}

impl<A: DeserializeOwned> Receiver<A> {
    /// The next thing. Taking it gives the guest credit for more.
    pub(super) async fn next(&mut self) -> Result<Incoming<A>, ClientError> {
        match self.events.recv().await {
            None => Err(self.shared.gone()),
            Some(Event::End(_)) => Ok(Incoming::End),
            Some(Event::Result(frame)) => {
                let answer = frame.into_answer()?;
                let answer = if answer.is_empty() { b"{}".to_vec() } else { answer };
                serde_json::from_slice(&answer).map(Incoming::Answer).map_err(ClientError::Answer)
            }
            Some(Event::Data(channel, bytes)) => {
                let credit = lock(&self.window).consumed(bytes.len());
                if let Some(credit) = credit {
                    self.shared.send_urgent(Frame::credit(self.id, credit));
                }
                Ok(Incoming::Data(channel, bytes))
            }
        }
    }
}

impl<A> Drop for Receiver<A> {
    fn drop(&mut self) {
        if self.shared.is_open(self.id) {
            self.shared.send_urgent(Frame::reset(self.id));
        }
    }
}

const _: () =
    assert!(MAX_PAYLOAD as u32 + FRAME_COST <= crate::WINDOW / 2, "a window holds more than two frames");
