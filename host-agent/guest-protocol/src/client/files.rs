//! Files in and out of the guest, and its logs.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    Client, ClientError,
    stream::{Incoming, Receiver, Stream},
};
use crate::{
    MAX_PAYLOAD,
    verb::{Done, Download, FileFacts, Logs, Upload},
};

impl Client {
    /// Writes a file in the guest with all that `content` has. It appears whole or not at all.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Refused`] for a path that is not allowed, [`crate::ErrorCode::Exhausted`] for a full disk,
    /// [`ClientError::Local`] when `content` cannot be read, and the general ones.
    pub async fn upload(
        &self,
        upload: &Upload,
        content: &mut (impl AsyncRead + Unpin),
    ) -> Result<FileFacts, ClientError> {
        let stream = self.open(upload).await?;
        let mut buffer = vec![0; MAX_PAYLOAD];
        loop {
            let count = content
                .read(&mut buffer)
                .await
                .map_err(|error| ClientError::Local { what: "reading what is to be uploaded", error })?;
            if count == 0 {
                break;
            }
            if stream.sender.send(&buffer[..count]).await.is_err() {
                // The guest has answered already; its answer says why.
                return stream.answer().await;
            }
        }
        stream.sender.finish().await?;
        stream.answer().await
    }

    /// Writes a file in the guest. `upload.size` is set to the length of `content`.
    ///
    /// # Errors
    /// As [`Client::upload`].
    pub async fn upload_bytes(&self, upload: &Upload, mut content: &[u8]) -> Result<FileFacts, ClientError> {
        let upload = Upload { size: Some(content.len() as u64), ..upload.clone() };
        self.upload(&upload, &mut content).await
    }

    /// Reads a file of the guest into `target`. When it fails, some of it was written.
    ///
    /// # Errors
    /// [`crate::ErrorCode::NotFound`], [`ClientError::Local`] when `target` cannot be written, and the general ones.
    pub async fn download(
        &self,
        download: &Download,
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Result<FileFacts, ClientError> {
        let local = |error| ClientError::Local { what: "writing what was downloaded", error };
        let mut stream = self.open(download).await?;
        loop {
            match stream.receiver.next().await? {
                Incoming::Data(_, bytes) => target.write_all(&bytes).await.map_err(local)?,
                Incoming::End => {}
                Incoming::Answer(facts) => {
                    target.flush().await.map_err(local)?;
                    return Ok(facts);
                }
            }
        }
    }

    /// Reads a log.
    ///
    /// # Errors
    /// The general ones.
    pub async fn logs(&self, logs: &Logs) -> Result<LogStream, ClientError> {
        let Stream { receiver, .. } = self.open(logs).await?;
        Ok(LogStream { output: receiver })
    }
}

/// A log as it comes. Dropping it ends it.
#[derive(Debug)]
pub struct LogStream {
    output: Receiver<Done>,
}

impl LogStream {
    /// The next bytes; none at the end, which a log that is followed has not. Cancel safe.
    ///
    /// # Errors
    /// What the guest answered instead, or that the connection ended.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            match self.output.next().await? {
                Incoming::Data(_, bytes) => return Ok(Some(bytes)),
                Incoming::End => {}
                Incoming::Answer(Done {}) => return Ok(None),
            }
        }
    }
}
