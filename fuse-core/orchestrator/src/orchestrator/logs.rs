//! Logs that are read on.
//!
//! Where the host can, from a place on, so that nothing is missed however much is written; else the end of the log is
//! looked at again and again, and what is new is told. Secrets are replaced: lines are told whole, so that no secret is
//! cut in two.

use std::{sync::Arc, time::Duration};

use super::{ControlPlane, Inner, boot};
use crate::{
    LogStream, Result,
    model::{Environment, EnvironmentId},
    provider::{LogChunk, LogSource, Verb},
};

/// How often a log that is followed is read.
const PERIOD: Duration = Duration::from_secs(1);
/// The most bytes that are read at once, and that wait for the end of their line.
const PIECE: usize = 64 * 1024;
/// A place beyond the end of every log.
const BEYOND: u64 = u64::MAX / 2;

impl ControlPlane {
    /// Reads the end of a log, and then what is written from now on, until the environment has ended. See
    /// [`ControlPlane::logs`].
    ///
    /// # Errors
    /// As [`ControlPlane::logs`].
    pub async fn follow_logs(&self, id: &EnvironmentId, source: LogSource) -> Result<LogStream> {
        let environment = self.get(id)?;
        // Read before the place is: what is written in between is told twice rather than never.
        let seen = self.logs(id, source).await?;
        let place = match environment.state.is_ended() || source == LogSource::Startup {
            true => None,
            false => self.inner.read_log(&environment, source, BEYOND).await.map(|end| end.start),
        };
        let ready = Some(seen.clone());
        let (plane, id, line) = (self.clone(), id.clone(), Vec::new());
        Ok(Follower { plane, id, source, seen, place, line, idle: false, ready, ended: false }.into())
    }
}

impl Inner {
    /// A part of a log from a place on; none where the host has no such thing, or does not answer.
    async fn read_log(&self, environment: &Environment, source: LogSource, after: u64) -> Option<LogChunk> {
        let (host, vm) = (&environment.host_id, &environment.vm);
        let provider = self.provider(host).ok()?;
        let call = provider.read_log(vm, source, after, PIECE);
        self.call(host, Verb::Logs, vm.as_str(), self.config.timeouts.query, call).await.ok()
    }
}

/// A log that is read on.
#[derive(Debug)]
pub(crate) struct Follower {
    plane: ControlPlane,
    id: EnvironmentId,
    source: LogSource,
    /// The end of what was told.
    seen: String,
    /// Where to read on; none: the end of the log is compared with what was told.
    place: Option<u64>,
    /// A line whose end was not read yet.
    line: Vec<u8>,
    /// Whether nothing had come when it was last read.
    idle: bool,
    ready: Option<String>,
    ended: bool,
}

impl Follower {
    /// What was written since; none when nothing will be written any more.
    pub(crate) async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(part) = self.ready.take().filter(|part| !part.is_empty()) {
                return Ok(Some(part));
            }
            if self.ended {
                return Ok(None);
            }
            // Looked at before the log, so that the last words are not missed. A record that is gone has ended too.
            let known = self.plane.get(&self.id).ok();
            let ended = known.as_ref().is_none_or(|environment| environment.state.is_ended());
            if let (Some(environment), false) = (known, ended)
                && self.read_on(&environment).await?
            {
                continue;
            }
            if !ended {
                tokio::time::sleep(PERIOD).await;
            }
            if self.place.is_none() || ended {
                self.compare(ended).await?;
            }
            self.ended = ended;
        }
    }

    /// Reads on from the place. Whether there was something; what is told of it may still wait for the end of its line.
    async fn read_on(&mut self, environment: &Arc<Environment>) -> Result<bool> {
        let Some(place) = self.place else { return Ok(false) };
        let inner = Arc::clone(&self.plane.inner);
        // A host that does not answer now is asked again.
        let Some(chunk) = inner.read_log(environment, self.source, place).await else { return Ok(false) };
        let more = !chunk.bytes.is_empty();
        self.place = Some(chunk.end());
        self.line.extend_from_slice(&chunk.bytes);
        let whole = match self.line.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            // A line without end, or one that nobody goes on with: a prompt.
            None if self.line.len() > PIECE || (!more && self.idle) => self.line.len(),
            None => 0,
        };
        self.idle = !more;
        if whole == 0 {
            return Ok(more);
        }
        let bytes: Vec<u8> = self.line.drain(..whole).collect();
        let vault = inner.vault(&environment.vm).await?;
        let text = vault.scrub(&String::from_utf8_lossy(&bytes));
        self.seen.push_str(&text);
        self.seen = boot::tail(&self.seen, inner.config.log_bytes).to_owned();
        self.ready = Some(text);
        Ok(true)
    }

    /// Compares the end of the log with what was told.
    async fn compare(&mut self, ended: bool) -> Result<()> {
        match self.plane.logs(&self.id, self.source).await {
            Ok(now) => {
                self.ready = Some(written_since(&self.seen, &now).to_owned());
                self.seen = now;
                Ok(())
            }
            Err(error) if !ended => Err(error),
            Err(_) => Ok(()),
        }
    }
}

/// What `now` has after what was `seen`: both are the end of the same growing text, cut at its front.
fn written_since<'a>(seen: &str, now: &'a str) -> &'a str {
    let mut starts = seen.char_indices().map(|(at, _)| at);
    starts.find_map(|at| now.strip_prefix(seen.get(at..)?)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::written_since;

    #[test]
    fn a_log_goes_on_where_it_was() {
        for (seen, now, new) in [
            ("", "abc", "abc"),
            ("abc", "abcdef", "def"),
            ("abc", "abc", ""),
            ("abcdef", "defghi", "ghi"),
            ("abc", "xyz", "xyz"),
            ("aé", "éb", "b"),
        ] {
            assert_eq!(written_since(seen, now), new, "{seen:?} {now:?}");
        }
    }
}
