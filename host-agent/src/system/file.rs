//! Files that are whole or absent.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use fuse_orchestrator::store::lost_field;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// The most bytes of a record file.
const RECORD_MOST: u64 = 1024 * 1024;

/// Runs what blocks on a thread that may block.
///
/// # Errors
/// Those of `work`; a system error when it panicked.
pub async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(Error::system(doing, "a file", format!("the work broke off: {error}"))))
}

/// Makes the names in a directory durable.
///
/// # Errors
/// A system error.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(|error| Error::system("sync", dir.display(), error))
}

/// Writes `bytes` to `path`: after a crash the file has the old bytes or the new ones. Its mode is 0600.
///
/// # Errors
/// A system error.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = draft(path, bytes)?;
    let fail = |error: io::Error| Error::system("write", path.display(), error);
    file.sync_all().map_err(fail)?;
    put_in_place(path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// As [`write_atomic`], for what means nothing any more when the machine loses its power: after a crash of this process the
/// file has the old bytes or the new ones, after a loss of power it may have any.
///
/// # Errors
/// A system error.
pub fn write_volatile(path: &Path, bytes: &[u8]) -> Result<()> {
    draft(path, bytes)?;
    // Some file systems begin to write a file to the disk when it takes the place of another one, which takes its time and
    // is of no use here; two files that change places do not have them do so.
    let draft = path.with_extension("draft");
    match renameat_with(CWD, &draft, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(&draft).map_err(|error| Error::system("write", path.display(), error)),
        // There is nothing to change places with, or the file system cannot do it.
        Err(_) => put_in_place(path),
    }
}

fn draft(path: &Path, bytes: &[u8]) -> Result<File> {
    let fail = |error: io::Error| Error::system("write", path.display(), error);
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(&draft)
        .map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    Ok(file)
}

fn put_in_place(path: &Path) -> Result<()> {
    let placed = fs::rename(path.with_extension("draft"), path);
    placed.map_err(|error| Error::system("write", path.display(), error))
}

/// Writes a record as JSON, as [`write_atomic`] does.
///
/// # Errors
/// A system error.
pub fn write_record<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let bytes =
        serde_json::to_vec_pretty(record).map_err(|error| Error::system("write", path.display(), error))?;
    write_atomic(path, &bytes)
}

/// Reads a whole file of at most `most` bytes; none when it is not there.
///
/// # Errors
/// A system error; too large.
pub fn read_bounded(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let fail = |error: io::Error| Error::system("read", path.display(), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > most {
        let why = format!("it has more than {most} bytes");
        return Err(Error::new(ErrorKind::TooLarge, "read", path.display(), why));
    }
    Ok(Some(bytes))
}

/// Reads a record; none when there is no such file.
///
/// # Errors
/// A system error; corrupt when it is not what [`write_record`] wrote, also when it says something that this version
/// does not know, which would be lost when it is written again.
pub fn read_record<T: Serialize + DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(bytes) = read_bounded(path, RECORD_MOST)? else { return Ok(None) };
    let refuse = |what: String| {
        let why = format!("{what}; if a newer version of Fuse wrote it, start that version");
        Error::new(ErrorKind::Corrupt, "read", path.display(), why)
    };
    let parse = || {
        let stored: Value = serde_json::from_slice(&bytes)?;
        let record = T::deserialize(&stored)?;
        let known = serde_json::to_value(&record)?;
        Ok((record, lost_field(&stored, &known)))
    };
    match parse().map_err(|error: serde_json::Error| refuse(error.to_string()))? {
        (record, None) => Ok(Some(record)),
        (_, Some(field)) => Err(refuse(format!("this version does not know its field `{field}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_record(&path, &vec![1, 2, 3]).unwrap();
        write_record(&path, &vec![4]).unwrap();
        assert_eq!(read_record::<Vec<u8>>(&path).unwrap(), Some(vec![4]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_need_not_last_is_whole_too_and_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        for text in ["first", "a longer second", "3"] {
            write_volatile(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        // What a crash left between the two steps.
        fs::write(dir.path().join("a.draft"), "older and longer").unwrap();
        write_volatile(&path, b"4").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn torn_records_are_corrupt_and_absent_ones_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read_record::<Vec<u8>>(&path).unwrap(), None);
        fs::write(&path, "[1,").unwrap();
        assert_eq!(read_record::<Vec<u8>>(&path).unwrap_err().kind, ErrorKind::Corrupt);
    }

    #[test]
    fn a_draft_that_is_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("a.draft")).unwrap();
        assert!(write_atomic(&dir.path().join("a.json"), b"x").is_err());
        assert!(write_volatile(&dir.path().join("a.json"), b"x").is_err());
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
    }
}
