//! A log that comes as it is written.

use std::sync::Arc;

use reqwest::Response;

use super::{call::Call, client::Client};
use crate::Result;

/// A log on its way.
#[derive(Debug)]
pub(crate) struct RemoteLog {
    client: Arc<Client>,
    call: Call,
    response: Response,
    /// The beginning of a character whose end has not come yet: at most three bytes.
    torn: Vec<u8>,
}

impl RemoteLog {
    pub(super) const fn new(client: Arc<Client>, call: Call, response: Response) -> Self {
        Self { client, call, response, torn: Vec::new() }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<String>> {
        loop {
            let piece =
                self.response.chunk().await.map_err(|error| self.client.lost_stream(&self.call, &error))?;
            let Some(piece) = piece else {
                let rest = String::from_utf8_lossy(&std::mem::take(&mut self.torn)).into_owned();
                return Ok((!rest.is_empty()).then_some(rest));
            };
            self.torn.extend_from_slice(&piece);
            let text = whole_characters(&mut self.torn);
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
    }
}

/// Takes what is text from the front of `bytes`; a character that is not whole yet stays.
fn whole_characters(bytes: &mut Vec<u8>) -> String {
    let end = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        // Not whole yet.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        // Not text at all: it is shown as far as it can be.
        Err(_) => bytes.len(),
    };
    let rest = bytes.split_off(end);
    String::from_utf8_lossy(&std::mem::replace(bytes, rest)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::whole_characters;

    #[test]
    fn characters_are_not_torn() {
        let mut bytes = "aé".as_bytes().to_vec();
        let last = bytes.pop().unwrap();
        assert_eq!(whole_characters(&mut bytes), "a");
        bytes.push(last);
        assert_eq!(whole_characters(&mut bytes), "é");
        assert!(bytes.is_empty());
        let mut bytes = b"x\xff\xfey".to_vec();
        assert_eq!(whole_characters(&mut bytes), "x\u{fffd}\u{fffd}y");
    }
}
