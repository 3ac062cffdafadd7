//! The key file: what an embedded control plane uses when nobody gave it a key.
use super::{KeyRing, SecretError, SecretString};
use secrecy::ExposeSecret;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Largest key file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

impl KeyRing {
    /// Reads the keys in the file `path` (a line each, the sealing one first), or makes a file of mode 0600 with one
    /// new random key. The file is on the disk before this returns, so nothing is sealed with a key that a crash
    /// could take away. It is not made anew when it is there and cannot be used: that would lose every secret.
    ///
    /// # Errors
    /// [`SecretError::File`] when it cannot be read or made, or when others than its owner may read it;
    /// [`SecretError::Key`] when it holds something else than keys; [`SecretError::Random`].
    pub fn load_or_create(path: &Path) -> Result<Self, SecretError> {
        match File::open(path) {
            Ok(file) => read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let ring = Self::generate()?;
                match create(path, &ring) {
                    // Somebody else made one at the same time: that one counts.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::open(path)
                        .map_err(|error| failed(path, "cannot be read", &error))
                        .and_then(|f| read(path, f)),
                    made => made.map(|()| ring).map_err(|error| failed(path, "cannot be made", &error)),
                }
            }
            Err(error) => Err(failed(path, "cannot be read", &error)),
        }
    }

    /// Puts this ring's keys in place of those in the file `path`, all at once: a crash leaves the old file or the
    /// new one.
    ///
    /// # Errors
    /// [`SecretError::File`].
    pub fn replace_file(&self, path: &Path) -> Result<(), SecretError> {
        let next = path.with_extension("next");
        let replace = || {
            match fs::remove_file(&next) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            write(&next, self)?;
            fs::rename(&next, path)?;
            sync_directory(path)
        };
        replace().map_err(|error| failed(path, "cannot be replaced", &error))
    }
}

fn read(path: &Path, file: File) -> Result<KeyRing, SecretError> {
    let unreadable = |error| failed(path, "cannot be read", &error);
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let why = format!("may be read by others than its owner (mode {mode:03o})");
        let advice = "run `chmod 600` on it, and rotate the key if others had access";
        return Err(SecretError::File { path: path.to_owned(), why, advice });
    }
    // With room for all of it, so that no reallocation leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE).read_to_string(&mut text).map_err(unreadable)?;
    KeyRing::parse(&format!("key file {}", path.display()), &SecretString::from(text.as_str()))
}

fn create(path: &Path, ring: &KeyRing) -> io::Result<()> {
    // Written under another name and linked into place, so that a crash never leaves half a key file, and an
    // existing one is never replaced.
    // The key's id makes the draft's name its own.
    let draft = path.with_extension(format!("{}.new", ring.newest()));
    let made = write(&draft, ring).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    made.and(removed).and_then(|()| sync_directory(path))
}

fn write(path: &Path, ring: &KeyRing) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(ring.to_text().expose_secret().as_bytes())?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn failed(path: &Path, what: &str, error: &io::Error) -> SecretError {
    let advice = "check the path and the rights on its directory";
    SecretError::File { path: path.to_owned(), why: format!("{what}: {error}"), advice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_made_once_and_read_again() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("encryption.key");
        let made = KeyRing::load_or_create(&path)?;
        assert_eq!(fs::metadata(&path)?.mode() & 0o777, 0o600);
        assert_eq!(KeyRing::load_or_create(&path)?.newest(), made.newest());
        assert_eq!(fs::read_dir(dir.path())?.count(), 1, "no draft is left");
        let rotated = made.with_new_key()?;
        rotated.replace_file(&path)?;
        assert!(KeyRing::load_or_create(&path)?.key_ids().eq(rotated.key_ids()));
        assert_eq!(fs::metadata(&path)?.mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path())?.count(), 1, "no draft is left");
        Ok(())
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("encryption.key");
        KeyRing::load_or_create(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
        let error = KeyRing::load_or_create(&path).map_or_else(|error| error.to_string(), |_| String::new());
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
        Ok(())
    }

    #[test]
    fn a_spoilt_file_is_refused_and_kept() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("encryption.key");
        KeyRing::load_or_create(&path)?;
        for text in ["", "not a key"] {
            fs::write(&path, text)?;
            assert!(matches!(KeyRing::load_or_create(&path), Err(SecretError::Key { .. })));
            assert_eq!(fs::read_to_string(&path)?, text);
        }
        Ok(())
    }

    #[test]
    fn two_starts_at_once_agree() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("encryption.key");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let load = || KeyRing::load_or_create(&path).map(|ring| ring.newest());
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        assert_eq!(ids.len(), 8);
        assert!(ids.iter().all(|id| *id == ids[0] && id.is_ok()), "{ids:?}");
        Ok(())
    }
}
