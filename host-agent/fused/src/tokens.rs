//! Who is the VM's host.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use fuse_guest_protocol::{ErrorCode, GuestError, Token};
use tokio::sync::watch;

/// Who can reach a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Only the host of the VM.
    Host,
    /// Whoever has a route.
    Network,
}

/// The tokens that are taken.
///
/// The channel's token is set by the first hello of the host and lives in memory, so it is in live snapshots and is gone
/// after a boot. The environment's token is a file, read anew each time, so that a new file ends the old token.
#[derive(Debug)]
pub(crate) struct Tokens {
    channel: Mutex<Option<Token>>,
    file: PathBuf,
    insecure: bool,
    changed: watch::Sender<u64>,
}

impl Tokens {
    pub(crate) fn new(file: PathBuf, insecure: bool) -> Self {
        Self { channel: Mutex::default(), file, insecure, changed: watch::Sender::new(0) }
    }

    /// Tells when the channel's token has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether `token` opens a connection of `trust`, and whether it has just become the channel's token.
    pub(crate) fn hello(&self, trust: Trust, token: Option<&Token>) -> Result<bool, GuestError> {
        if self.accepts(trust, token.map(Token::expose)) {
            return Ok(false);
        }
        if let (Trust::Host, Some(token)) = (trust, token) {
            let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
            if channel.is_none() {
                *channel = Some(token.clone());
                return Ok(true);
            }
        }
        Err(GuestError::new(ErrorCode::Unauthorized, "the guest does not take this token"))
    }

    /// Whether `token` is taken on `trust` now.
    pub(crate) fn accepts(&self, trust: Trust, token: Option<&str>) -> bool {
        if self.insecure {
            return true;
        }
        let Some(token) = token else { return false };
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let by_channel = trust == Trust::Host && channel.is_some_and(|channel| channel.matches(token));
        let by_file = self.of_file().is_some_and(|file| file.matches(token));
        by_channel | by_file
    }

    /// Replaces the channel's token.
    pub(crate) fn set(&self, token: Token) {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        self.changed.send_modify(|count| *count += 1);
    }

    fn of_file(&self) -> Option<Token> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        Token::new(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbb";

    fn token(text: &str) -> Token {
        Token::new(text).unwrap()
    }

    #[test]
    fn the_first_hello_of_the_host_sets_the_token_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(directory.path().join("auth-token"), false);
        assert!(tokens.hello(Trust::Network, Some(&token(A))).is_err());
        assert!(tokens.hello(Trust::Host, None).is_err());
        assert_eq!(tokens.hello(Trust::Host, Some(&token(A))), Ok(true));
        assert_eq!(tokens.hello(Trust::Host, Some(&token(A))), Ok(false));
        assert!(tokens.hello(Trust::Host, Some(&token(B))).is_err());
        assert!(
            tokens.hello(Trust::Network, Some(&token(A))).is_err(),
            "the channel's token is not the network's"
        );
        tokens.set(token(B));
        assert!(tokens.hello(Trust::Host, Some(&token(A))).is_err());
    }

    #[test]
    fn a_new_file_ends_the_old_token() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("auth-token");
        let tokens = Tokens::new(file.clone(), false);
        std::fs::write(&file, format!("{A}\n")).unwrap();
        assert!(tokens.accepts(Trust::Network, Some(A)) && tokens.accepts(Trust::Host, Some(A)));
        std::fs::write(&file, B).unwrap();
        assert!(!tokens.accepts(Trust::Network, Some(A)));
        assert!(tokens.accepts(Trust::Network, Some(B)));
        std::fs::write(&file, "").unwrap();
        assert!(!tokens.accepts(Trust::Network, Some("")), "an empty file is no token");
    }
}
