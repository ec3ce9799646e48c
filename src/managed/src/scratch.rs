//! Directories on the data volume that live as long as one backup or restore.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use datastore::{Error, Result};
use guest::{Account, Attributes};
use tracing::warn;

use crate::errors::{io_failed, os_error};

/// Directories in use: everything else with such a name is what a crash left.
static IN_USE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A directory of its own, only for the server's account; removed with its
/// contents when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty `<volume>/<prefix><id>`.
    ///
    /// # Errors
    /// When there is one in use, or the id could be a path.
    pub fn new(volume: &Path, prefix: &str, id: &str, account: &Account) -> Result<Self> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if id.is_empty() || !id.bytes().all(plain) {
            return Err(Error::bad_request(format!("{id:?} is no id of a backup")));
        }
        let path = volume.join(format!("{prefix}{id}"));
        if !in_use().insert(path.clone()) {
            return Err(Error::failed(format!("{} is in use", path.display())));
        }
        let scratch = Self { path };
        remove(&scratch.path).map_err(|error| io_failed("empty", &scratch.path, error))?;
        scratch.directory("", account)?;
        Ok(scratch)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory inside, for the server's account.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(&self, name: &str, account: &Account) -> Result<PathBuf> {
        let path = match name {
            "" => self.path.clone(),
            name => self.path.join(name),
        };
        let private = Attributes {
            mode: 0o700,
            owner: Some((account.uid, account.gid)),
        };
        guest::ensure_directory(&path, &private).map_err(os_error)?;
        Ok(path)
    }

    /// Removes it and waits until it is gone: gigabytes may be in it.
    pub async fn remove(self) {
        if let Err(error) = tokio::task::spawn_blocking(move || drop(self)).await {
            warn!(%error, "Directory not removed.");
        }
    }

    /// Removes what crashed backups and restores have left on the volume:
    /// everything that has such a prefix and is not in use.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep(volume: &Path, prefixes: &[&str]) -> Result<()> {
        let failed = |error| io_failed("read", volume, error);
        let entries = match std::fs::read_dir(volume) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let ours = |prefix: &&str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
            if !prefixes.iter().any(ours) || in_use().contains(&entry.path()) {
                continue;
            }
            warn!(path = %entry.path().display(), "Removing what an interrupted backup or restore has left.");
            remove(&entry.path()).map_err(|error| io_failed("remove", &entry.path(), error))?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            warn!(path = %self.path.display(), %error, "Directory not removed.");
        }
        in_use().remove(&self.path);
    }
}

fn in_use() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const PREFIXES: [&str; 2] = [".backup-", ".clone-"];

    #[tokio::test]
    async fn only_leftovers_are_swept() {
        let volume = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(volume.path()).unwrap();
        let account = Account {
            name: "database".into(),
            uid: own.uid(),
            gid: own.gid(),
        };
        let path = |name: &str| volume.path().join(name);
        Scratch::sweep(&path("missing"), &PREFIXES).unwrap();
        for name in ["data", ".clone-old", ".backup-old"] {
            std::fs::create_dir(path(name)).unwrap();
            std::fs::write(path(name).join("file"), "x").unwrap();
        }
        let used = Scratch::new(volume.path(), ".clone-", "new", &account).unwrap();
        assert!(Scratch::new(volume.path(), ".clone-", "new", &account).is_err());
        Scratch::sweep(volume.path(), &PREFIXES).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(volume.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".clone-new", "data"]);
        used.remove().await;
        assert!(!path(".clone-new").exists());
        for id in ["", "../data", "a/b"] {
            assert!(Scratch::new(volume.path(), ".clone-", id, &account).is_err());
        }
        assert!(path("data/file").exists());
    }
}
