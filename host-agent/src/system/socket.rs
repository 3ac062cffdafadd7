//! Unix sockets whose path is too long for the kernel.

use std::{fs::File, os::fd::AsRawFd, path::Path};

use tokio::net::UnixStream;

use crate::{Error, Result};

/// Connects to the socket `name` in `dir`. The path may be longer than the 108 bytes that the kernel takes: it is
/// reached through the open directory.
///
/// # Errors
/// A system error.
pub async fn connect_below(dir: &Path, name: &str) -> Result<UnixStream> {
    let fail = |error| Error::system("connect to", dir.join(name).display(), error);
    let folder = File::open(dir).map_err(fail)?;
    let short = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    UnixStream::connect(short).await.map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_paths_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let folder = File::open(&deep).unwrap();
        let short = format!("/proc/self/fd/{}/s", folder.as_raw_fd());
        let _listener = tokio::net::UnixListener::bind(short).unwrap();
        connect_below(&deep, "s").await.unwrap();
        assert!(connect_below(&deep, "t").await.is_err());
    }
}
