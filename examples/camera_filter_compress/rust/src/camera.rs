//! A camera that exposes frame after frame on its own thread, and interrupts when one is there.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use fuse_example_frames::{Frame, Sky};

use crate::interrupt::Interrupt;

/// The newest frame, shared between the camera and the HAL callback.
pub(crate) type Newest = Arc<Mutex<Option<Arc<Frame>>>>;

/// A running camera.
pub(crate) struct Camera {
    newest: Newest,
    next: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Camera {
    /// Starts a camera that takes `frames` frames. It exposes the next one when the host has
    /// finished with the last, so that every run sees the same sequence.
    pub(crate) fn start(sky: Sky, frames: u32, newest: &Newest) -> io::Result<Self> {
        let (next, resume) = channel();
        let shared = newest.clone();
        let thread = std::thread::Builder::new()
            .name("camera".into())
            .spawn(move || expose(sky, frames, &shared, &resume))?;
        Ok(Self { newest: newest.clone(), next, thread })
    }

    /// The newest frame.
    pub(crate) fn newest(&self) -> Option<Arc<Frame>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the camera expose the next frame.
    pub(crate) fn resume(&self) {
        // A camera that has taken its last frame does not listen any more.
        let _ = self.next.send(());
    }

    /// Waits until the camera's thread has ended.
    pub(crate) fn end(self) -> io::Result<()> {
        drop(self.next);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the camera's thread panicked")))
    }
}

fn expose(sky: Sky, frames: u32, newest: &Newest, resume: &Receiver<()>) -> io::Result<()> {
    for number in 0..frames {
        let frame = Arc::new(sky.frame(number));
        *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(frame);
        Interrupt::raise()?;
        if resume.recv().is_err() {
            break;
        }
    }
    Ok(())
}
