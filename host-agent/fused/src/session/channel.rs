//! What a verb has of its stream: bytes in, bytes out.

use std::sync::{Arc, Mutex};

use fuse_guest_protocol::{
    Channel, ErrorCode, Frame, GuestError, MAX_PAYLOAD, WINDOW,
    frame::Control,
    window::{ReceiveWindow, cost},
};
use tokio::sync::{Semaphore, mpsc};

use super::{lock, writer::Outlet};

/// What came for a stream.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// Bytes.
    Data(Vec<u8>),
    /// No more bytes come.
    End,
    /// Something that happens to what runs.
    Control(Control, Vec<u8>),
}

/// The output of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    id: u32,
    outlet: Outlet,
    credit: Arc<Semaphore>,
}

impl Output {
    pub(super) fn new(id: u32, outlet: Outlet) -> Self {
        Self { id, outlet, credit: Arc::new(Semaphore::new(WINDOW as usize)) }
    }

    pub(super) fn credit(&self) -> Arc<Semaphore> {
        Arc::clone(&self.credit)
    }

    /// Sends bytes; waits while the host has not taken what was sent before.
    pub(crate) async fn send(&self, channel: Channel, bytes: &[u8]) -> Result<(), GuestError> {
        for piece in bytes.chunks(MAX_PAYLOAD) {
            let permit = self.credit.acquire_many(cost(piece.len())).await;
            permit.map_err(|_| GuestError::new(ErrorCode::Reset, "the connection ended"))?.forget();
            self.outlet.send(&Frame::data(self.id, channel, piece.to_vec())).await;
        }
        Ok(())
    }

    /// Says that nothing more comes on `channel`.
    pub(crate) async fn end(&self, channel: Channel) {
        self.outlet.send(&Frame::end(self.id, channel)).await;
    }
}

/// The input of a stream.
#[derive(Debug)]
pub(crate) struct Input {
    id: u32,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    controls: Arc<Semaphore>,
    window: Arc<Mutex<ReceiveWindow>>,
    outlet: Outlet,
}

impl Input {
    pub(super) fn new(
        id: u32,
        arrivals: mpsc::UnboundedReceiver<Arrival>,
        controls: Arc<Semaphore>,
        window: Arc<Mutex<ReceiveWindow>>,
        outlet: Outlet,
    ) -> Self {
        Self { id, arrivals, controls, window, outlet }
    }

    /// What comes next. Waits for ever when the stream has ended; its task is ended then.
    pub(crate) async fn next(&mut self) -> Arrival {
        match self.arrivals.recv().await {
            Some(arrival) => {
                if matches!(arrival, Arrival::Control(..)) {
                    self.controls.add_permits(1);
                }
                arrival
            }
            None => std::future::pending().await,
        }
    }

    /// Bytes that were dealt with: the host may send as many again.
    pub(crate) fn consumed(&self, bytes: usize) {
        let credit = lock(&self.window).consumed(bytes);
        if let Some(credit) = credit {
            // A host that does not read its credits is cut off when the queue is full; the session sees it.
            let _ = self.outlet.urgent(&Frame::credit(self.id, credit));
        }
    }
}
