//! Files in and out.

use std::{
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use fuse_guest_protocol::{
    Channel, ErrorCode, GuestError, MAX_PAYLOAD,
    verb::{Download, FileFacts, Upload},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};

use crate::{session::Arrival, verbs::Context};

/// The longest path, in bytes.
const PATH_BYTES: usize = 4096;

/// Writes a file that appears whole or not at all.
pub(crate) async fn upload(context: Context<'_>, upload: Upload) -> Result<FileFacts, GuestError> {
    let Context { agent, mut input, .. } = context;
    let path = checked(&upload.path)?;
    let private = path.starts_with(&agent.options.fuse_dir);
    let mode = if private { 0o600 } else { upload.mode & 0o7777 };
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refused(&upload.path, "it names no file"));
    };
    make_directory(directory, if private { 0o700 } else { 0o755 })
        .map_err(|error| GuestError::io(format!("making the directory {}", directory.display()), &error))?;
    if path.is_dir() {
        return Err(refused(&upload.path, "it is a directory"));
    }
    room_for(directory, upload.size.unwrap_or(0))?;

    let failed = |error: std::io::Error| GuestError::io(format!("writing {}", upload.path), &error);
    let mut temporary = Temporary::beside(directory, &name.to_string_lossy())?;
    let mut file = File::create_new(&temporary.0).await.map_err(failed)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode)).await.map_err(failed)?;
    file.set_max_buf_size(8 * MAX_PAYLOAD);
    let most = upload.size.unwrap_or(Upload::MAX_BYTES);
    let mut bytes = 0;
    loop {
        match input.next().await {
            Arrival::Data(piece) => {
                bytes += piece.len() as u64;
                if bytes > most {
                    let text = format!("{} is longer than the {most} bytes that were announced", upload.path);
                    return Err(GuestError::new(ErrorCode::Invalid, text));
                }
                file.write_all(&piece).await.map_err(failed)?;
                input.consumed(piece.len());
            }
            Arrival::End => break,
            Arrival::Control(..) => {}
        }
    }
    if upload.size.is_some_and(|size| size != bytes) {
        let text = format!("{} has {bytes} bytes; {most} were announced", upload.path);
        return Err(GuestError::new(ErrorCode::Invalid, text));
    }
    file.sync_all().await.map_err(failed)?;
    drop(file);
    tokio::fs::rename(&temporary.0, &path).await.map_err(failed)?;
    temporary.keep();
    if let Ok(directory) = File::open(directory).await {
        // Some file systems cannot sync a directory; the file is there all the same.
        let _ = directory.sync_all().await;
    }
    if path == agent.options.healthcheck {
        agent.health.reload();
    }
    Ok(FileFacts { bytes, size: bytes, mode })
}

/// Reads a file out.
pub(crate) async fn download(context: Context<'_>, download: Download) -> Result<FileFacts, GuestError> {
    let output = context.output;
    let path = checked(&download.path)?;
    let failed = |error: std::io::Error| GuestError::io(format!("reading {}", download.path), &error);
    // Opening a pipe that nobody writes to would wait for ever.
    let about = tokio::fs::metadata(&path).await.map_err(failed)?;
    if !about.is_file() {
        return Err(refused(&download.path, "it is not a regular file"));
    }
    let mut file = File::open(&path).await.map_err(failed)?;
    file.seek(std::io::SeekFrom::Start(download.offset)).await.map_err(failed)?;
    let mut left = download.length.unwrap_or(u64::MAX);
    let mut facts = FileFacts { bytes: 0, size: about.len(), mode: about.mode() & 0o7777 };
    let mut buffer = vec![0; MAX_PAYLOAD];
    file.set_max_buf_size(8 * MAX_PAYLOAD);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = file.read(&mut buffer[..most]).await.map_err(failed)?;
        if count == 0 {
            break;
        }
        output.send(Channel::Output, &buffer[..count]).await?;
        left -= count as u64;
        facts.bytes += count as u64;
    }
    output.end(Channel::Output).await;
    Ok(facts)
}

fn refused(path: &str, why: &str) -> GuestError {
    GuestError::new(ErrorCode::Refused, format!("{path:?}: {why}"))
}

/// A path that is absolute, has no `.` and `..`, and is as long as paths can be.
fn checked(text: &str) -> Result<PathBuf, GuestError> {
    if text.len() > PATH_BYTES {
        return Err(refused(text.get(..64).unwrap_or_default(), "it is longer than 4,096 bytes"));
    }
    if text.contains('\0') {
        return Err(refused(text, "it has a zero byte"));
    }
    let path = Path::new(text);
    let clean = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    // `components` drops single dots and repeated slashes by itself.
    if !path.is_absolute() || !clean || text.split('/').any(|part| part == ".") || text.ends_with('/') {
        return Err(refused(text, "it must be absolute, name a file, and have no . and .."));
    }
    Ok(path.to_owned())
}

/// Makes a directory and those above it, each that is missing with `mode`.
fn make_directory(directory: &Path, mode: u32) -> std::io::Result<()> {
    match std::fs::DirBuilder::new().mode(mode).create(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if let Some(parent) = directory.parent() {
                make_directory(parent, mode)?;
            }
            std::fs::DirBuilder::new().mode(mode).create(directory)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        other => other,
    }
}

fn room_for(directory: &Path, bytes: u64) -> Result<(), GuestError> {
    let Ok(disk) = rustix::fs::statvfs(directory) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if bytes > free {
        let text = format!("{bytes} bytes do not fit below {}: {free} are free", directory.display());
        return Err(GuestError::new(ErrorCode::Exhausted, text));
    }
    Ok(())
}

/// A file that is removed unless it is kept.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(directory: &Path, name: &str) -> Result<Self, GuestError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| {
            GuestError::new(ErrorCode::Failed, format!("naming a temporary file: {error}"))
        })?;
        // File names have at most 255 bytes; ours is longer than the one that was asked for.
        let name: String = name.chars().take(40).collect();
        Ok(Self(directory.join(format!(".{name}.{}", hex::encode(random)))))
    }

    fn keep(&mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // It may not be there yet.
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_one_file_and_no_other() {
        for path in ["", "a", "/", "/a/../b", "/a/./b", "/a/", "./a", "/a\0b", "/.."] {
            assert_eq!(checked(path).unwrap_err().code, ErrorCode::Refused, "{path:?}");
        }
        assert!(checked(&format!("/{}", "a".repeat(PATH_BYTES))).is_err());
        for path in ["/a", "/a/b c", "/a/..b", "/ä"] {
            assert_eq!(checked(path).unwrap(), Path::new(path));
        }
    }
}
