//! The handle that posts events from any thread.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fuse_runtime::edge;
use pyo3::prelude::*;

use crate::fault::OrRaise;

/// Wakes who waits for something to be due.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_all();
    }

    /// Whether it rang within this time, or since the last wait.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.wait_timeout_while(rung, at_most, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }
}

/// Posts events into one runtime. It may be used from any thread, from callbacks, and while the runtime steps; after
/// the runtime is closed a post does nothing.
#[pyclass(frozen, module = "fuse_runtime")]
pub(crate) struct EventPoster {
    pub(crate) poster: edge::EventPoster,
    pub(crate) bell: Arc<Bell>,
    pub(crate) names: Arc<[(String, edge::EventId)]>,
}

/// The id of an event that is given by number or by its name in the application.
pub(crate) fn event_id(
    event: &Bound<'_, PyAny>,
    names: &[(String, edge::EventId)],
) -> PyResult<edge::EventId> {
    let py = event.py();
    if let Ok(name) = event.extract::<&str>() {
        return names.iter().find(|(n, _)| n == name).map(|(_, id)| *id).ok_or_else(|| {
            let known: Vec<&str> = names.iter().map(|(n, _)| n.as_str()).collect();
            let message = format!("`{name}` is no event of the application; known are {}", known.join(", "));
            crate::fault::exception(py, edge::ErrorKind::InvalidArg, &message)
        });
    }
    let number = event.extract::<i64>()?;
    u32::try_from(number)
        .map_err(|_| {
            let message = format!("event id {number} does not exist; ids are 0 to 31");
            crate::fault::exception(py, edge::ErrorKind::InvalidArg, &message)
        })
        .and_then(|id| edge::EventId::new(id).or_raise(py))
}

#[pymethods]
impl EventPoster {
    /// Posts an event, by its number (0 to 31) or its name in the application. Two posts before a subscriber's next
    /// step are one activation.
    fn post(&self, event: &Bound<'_, PyAny>) -> PyResult<()> {
        self.poster.post(event_id(event, &self.names)?);
        self.bell.ring();
        Ok(())
    }

    /// Posts an event with the time of its cause in microseconds of the runtime's clock, from which the latency in
    /// the subscribers' statistics counts.
    fn post_at(&self, event: &Bound<'_, PyAny>, timestamp_us: u64) -> PyResult<()> {
        self.poster.post_at(event_id(event, &self.names)?, timestamp_us);
        self.bell.ring();
        Ok(())
    }

    fn __repr__(&self) -> &'static str {
        "EventPoster()"
    }
}
