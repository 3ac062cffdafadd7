//! Logs that are read on: the end of a log is looked at again and again, and what is new is told.

use std::time::Duration;

use super::ControlPlane;
use crate::{LogStream, Result, model::EnvironmentId, provider::LogSource};

/// How often a log that is followed is read.
const PERIOD: Duration = Duration::from_secs(1);

impl ControlPlane {
    /// Reads the end of a log, and then what is written from now on, until the environment has ended. See
    /// [`ControlPlane::logs`].
    ///
    /// # Errors
    /// As [`ControlPlane::logs`].
    pub async fn follow_logs(&self, id: &EnvironmentId, source: LogSource) -> Result<LogStream> {
        let seen = self.logs(id, source).await?;
        let ready = Some(seen.clone());
        Ok(Follower { plane: self.clone(), id: id.clone(), source, seen, ready, ended: false }.into())
    }
}

/// A log that is read on.
#[derive(Debug)]
pub(crate) struct Follower {
    plane: ControlPlane,
    id: EnvironmentId,
    source: LogSource,
    /// The end of the log when it was last read.
    seen: String,
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
            tokio::time::sleep(PERIOD).await;
            // Looked at before the log, so that the last words are not missed. A record that is gone has ended too.
            let ended = self.plane.get(&self.id).map_or(true, |environment| environment.state.is_ended());
            match self.plane.logs(&self.id, self.source).await {
                Ok(now) => {
                    self.ready = Some(written_since(&self.seen, &now).to_owned());
                    self.seen = now;
                }
                Err(error) if !ended => return Err(error),
                Err(_) => {}
            }
            self.ended = ended;
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
