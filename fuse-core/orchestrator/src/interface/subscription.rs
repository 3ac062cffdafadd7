//! Subscriptions to events.

#[cfg(feature = "connect")]
use crate::connect::RemoteReader;
use crate::{Delivery, Result, orchestrator::Reader};

/// A place in the order of events. Reads on from there, for ever.
///
/// Reading is safe to give up at any await: nothing is lost. Over the network it takes itself up where it broke off.
#[derive(Debug)]
pub struct Subscription {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Here(Reader),
    #[cfg(feature = "connect")]
    There(Box<RemoteReader>),
}

impl From<Reader> for Subscription {
    fn from(reader: Reader) -> Self {
        Self { source: Source::Here(reader) }
    }
}

#[cfg(feature = "connect")]
impl From<RemoteReader> for Subscription {
    fn from(reader: RemoteReader) -> Self {
        Self { source: Source::There(Box::new(reader)) }
    }
}

impl Subscription {
    /// The number of the last event that was looked at. A subscription from here on continues this one.
    #[must_use]
    pub const fn position(&self) -> u64 {
        match &self.source {
            Source::Here(reader) => reader.position(),
            #[cfg(feature = "connect")]
            Source::There(reader) => reader.position(),
        }
    }

    /// The next event; waits for it. None when the control plane is gone.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when the log cannot be read,
    /// [`Error::NoAnswer`](crate::Error::NoAnswer) when the server stays away for a minute; the next call tries again.
    pub async fn next(&mut self) -> Result<Option<Delivery>> {
        match &mut self.source {
            Source::Here(reader) => reader.next().await,
            #[cfg(feature = "connect")]
            Source::There(reader) => reader.next().await.map(Some),
        }
    }

    /// The next event, if there is one now.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn try_next(&mut self) -> Result<Option<Delivery>> {
        match &mut self.source {
            Source::Here(reader) => reader.try_next().await,
            #[cfg(feature = "connect")]
            Source::There(reader) => reader.try_next().await,
        }
    }
}
