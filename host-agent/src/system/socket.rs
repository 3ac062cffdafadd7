//! Unix sockets whose path is too long for the kernel.

use std::{
    fs::File,
    os::fd::AsRawFd,
    path::Path,
    time::{Duration, Instant},
};

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

/// Waits until somebody listens at the socket `name` in `dir`, at most `limit`, and looks every tenth of a millisecond: for
/// what is about to be there, since the timers of the runtime are ten times as coarse.
pub async fn listens_soon(dir: &Path, name: &'static str, limit: Duration) {
    let dir = dir.to_owned();
    let look = move || {
        let began = Instant::now();
        while began.elapsed() < limit {
            let there = File::open(&dir).and_then(|folder| {
                std::os::unix::net::UnixStream::connect(format!(
                    "/proc/self/fd/{}/{name}",
                    folder.as_raw_fd()
                ))
            });
            if there.is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    };
    let _ = tokio::task::spawn_blocking(look).await;
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
        let forever = Duration::from_secs(3600);
        listens_soon(&deep, "s", forever).await;
        listens_soon(&deep, "t", Duration::from_millis(1)).await;
    }
}
