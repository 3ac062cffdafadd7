//! SHA-256 of files.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result, system::Extents};

/// A SHA-256 digest: 64 lower-case hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex([u8; 32]);

impl Sha256Hex {
    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256Hex {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if !upper => Ok(Self(bytes)),
            _ => Err(Error::invalid("use", "a digest", "it is not 64 lower-case hex digits")),
        }
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Sha256Hex> for String {
    fn from(digest: Sha256Hex) -> Self {
        digest.to_string()
    }
}

/// A file and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name in the directory of its record; a single component.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub sha256: Sha256Hex,
}

impl FileRecord {
    /// Reads the file `name` in `dir` and says what it is. Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn of(dir: &Path, name: &str) -> Result<Self> {
        let (size, sha256) = digest_file(&dir.join(name))?;
        Ok(Self { name: name.to_owned(), size, sha256 })
    }
}

/// The length and the digest of a file. Blocks the thread.
///
/// # Errors
/// A system error.
pub fn digest_file(path: &Path) -> Result<(u64, Sha256Hex)> {
    let data = Extents::of(path)?;
    let read = || -> std::io::Result<(u64, Sha256Hex)> {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let (mut buffer, zeros) = (vec![0; 1 << 20], vec![0; 1 << 16]);
        let mut size = 0;
        // A hole reads as zeros, and takes a page of the host's memory for each page that is read.
        for (from, length) in data.iter() {
            hash_zeros(&mut hash, &zeros, from - size);
            file.seek(SeekFrom::Start(from))?;
            let mut range = (&mut file).take(length);
            size = from;
            loop {
                match range.read(&mut buffer)? {
                    0 => break,
                    read => {
                        hash.update(buffer.get(..read).unwrap_or_default());
                        size += read as u64;
                    }
                }
            }
        }
        let end = file.metadata()?.len().max(size);
        hash_zeros(&mut hash, &zeros, end - size);
        Ok((end, Sha256Hex(hash.finalize().into())))
    };
    read().map_err(|error| Error::system("read", path.display(), error))
}

fn hash_zeros(hash: &mut Sha256, zeros: &[u8], mut count: u64) {
    while count > 0 {
        let now = zeros.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        hash.update(zeros.get(..now).unwrap_or_default());
        count -= now as u64;
    }
}

/// Which files were read and found right. A file that was written to, or put in the place of another, has another inode
/// or another time of modification and is read again. The time of change is not looked at: each name that a file gets
/// moves it, and every VM gives its image's files a name.
#[derive(Debug, Default)]
pub struct DigestCache(Mutex<HashMap<Identity, Sha256Hex>>);

/// The most files that a cache remembers; beyond, it begins anew.
const REMEMBERED: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> Result<Self> {
        let data = std::fs::symlink_metadata(path);
        let data = data.map_err(|error| Error::new(ErrorKind::Corrupt, "check", path.display(), error))?;
        if !data.is_file() {
            let why = "it is not a regular file";
            return Err(Error::new(ErrorKind::Corrupt, "check", path.display(), why));
        }
        Ok(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
        })
    }
}

impl DigestCache {
    /// Checks that the file in `dir` is what its record says. Blocks the thread.
    ///
    /// # Errors
    /// Corrupt when it is not there or has other bytes.
    pub fn check(&self, dir: &Path, file: &FileRecord) -> Result<()> {
        let path = dir.join(&file.name);
        let identity = Identity::of(&path)?;
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known().get(&identity) == Some(&file.sha256) {
            return Ok(());
        }
        let (size, found) = digest_file(&path)?;
        if size != file.size || found != file.sha256 {
            let why = format!(
                "its {size} bytes have the SHA-256 {found}, and its record says {} bytes and {}; it is not used",
                file.size, file.sha256
            );
            return Err(Error::new(ErrorKind::Corrupt, "check", path.display(), why));
        }
        self.remember(&path, found)
    }

    /// What the file `name` in `dir` is; from memory where it was read before. Blocks the thread.
    ///
    /// # Errors
    /// Corrupt when it is not a regular file; system.
    pub fn record_of(&self, dir: &Path, name: &str) -> Result<FileRecord> {
        let path = dir.join(name);
        let identity = Identity::of(&path)?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&identity).copied();
        if let Some(sha256) = known {
            return Ok(FileRecord { name: name.to_owned(), size: identity.size, sha256 });
        }
        let record = FileRecord::of(dir, name)?;
        self.remember(&path, record.sha256)?;
        Ok(record)
    }

    /// Notes what the bytes of a file are that was just read or written.
    ///
    /// # Errors
    /// Corrupt when it is not there.
    pub fn remember(&self, path: &Path, digest: Sha256Hex) -> Result<()> {
        let identity = Identity::of(path)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(identity, digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_byte_is_seen_also_when_it_was_right_before() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "abc").unwrap();
        let record = FileRecord::of(dir.path(), "f").unwrap();
        assert_eq!(
            record.sha256.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let cache = DigestCache::default();
        cache.check(dir.path(), &record).unwrap();
        cache.check(dir.path(), &record).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(dir.path().join("f"), "abd").unwrap();
        assert_eq!(cache.check(dir.path(), &record).unwrap_err().kind, ErrorKind::Corrupt);
        fs::remove_file(dir.path().join("f")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("f")).unwrap();
        assert_eq!(cache.check(dir.path(), &record).unwrap_err().kind, ErrorKind::Corrupt);
    }

    /// Wherever the holes are, also when there is nothing else.
    #[test]
    fn holes_are_the_zeros_that_they_read_as() {
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        for written in [&[][..], &[0], &[700_000], &[300_000, 900_000], &[0, 500_000, 1_044_480]] {
            let (path, dense) = (dir.path().join("f"), dir.path().join("dense"));
            let _ = fs::remove_file(&path);
            let file = File::create(&path).unwrap();
            file.set_len(1_048_577).unwrap();
            for at in written {
                file.write_all_at(&[7; 4096], *at).unwrap();
            }
            let bytes = fs::read(&path).unwrap();
            fs::write(&dense, &bytes).unwrap();
            assert_eq!(digest_file(&path).unwrap(), (1_048_577, Sha256Hex::of(&bytes)), "{written:?}");
            assert_eq!(digest_file(&path).unwrap(), digest_file(&dense).unwrap());
        }
        fs::write(dir.path().join("f"), "").unwrap();
        assert_eq!(digest_file(&dir.path().join("f")).unwrap(), (0, Sha256Hex::of(b"")));
    }

    #[test]
    fn digests_have_one_form() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(text.parse::<Sha256Hex>().unwrap().to_string(), text);
        for bad in ["", "ab", &text.to_uppercase(), &format!("{text}00"), &"z".repeat(64)] {
            assert!(bad.parse::<Sha256Hex>().is_err(), "{bad}");
        }
    }
}
