//! The disks.

use fuse_guest_protocol::{GuestError, verb::SyncResult};

/// Writes everything to the disks.
pub(crate) async fn sync() -> Result<SyncResult, GuestError> {
    let failed = |error: std::io::Error| GuestError::io("syncing the disks", &error);
    tokio::task::spawn_blocking(rustix::fs::sync)
        .await
        .map_err(|error| failed(std::io::Error::other(error)))?;
    let disk = rustix::fs::statvfs("/").map_err(|error| failed(error.into()))?;
    Ok(SyncResult { free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize) })
}
