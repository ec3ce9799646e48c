//! Directories on the data volume that live as long as one backup or restore.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use datastore::{Error, Result};
use guest::{Account, Attributes};
pub(crate) use managed::io_failed;
use tracing::warn;

use crate::errors::os_error;

/// What the names of these directories begin with.
const PREFIXES: [&str; 3] = [BACKUP, CLONE, INCREMENT];
/// Of a backup tool: its option file and temporary files.
pub(crate) const BACKUP: &str = ".backup-";
/// Of a clone of the data.
pub(crate) const CLONE: &str = ".clone-";
/// Of an increment that is being added to a full backup.
pub(crate) const INCREMENT: &str = ".increment-";

/// Directories in use: everything else with such a name is what a crash left.
static IN_USE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A directory of its own, only for the server's account; removed with its
/// contents when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes `<volume>/<prefix><id>`.
    pub(crate) fn new(volume: &Path, prefix: &str, id: &str, account: &Account) -> Result<Self> {
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

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory inside, for the server's account.
    pub(crate) fn directory(&self, name: &str, account: &Account) -> Result<PathBuf> {
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

    /// Removes it and waits until it is gone.
    pub(crate) async fn remove(self) {
        // The drop does the work: gigabytes may be in it.
        if let Err(error) = tokio::task::spawn_blocking(move || drop(self)).await {
            warn!(%error, "Directory not removed.");
        }
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

/// Removes what crashed backups and restores have left on the volume.
pub(crate) fn sweep(volume: &Path) -> Result<()> {
    let failed = |error| io_failed("read", volume, error);
    let entries = match std::fs::read_dir(volume) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let ours = |prefix: &&str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        if !PREFIXES.iter().any(ours) || in_use().contains(&entry.path()) {
            continue;
        }
        warn!(path = %entry.path().display(), "Removing what an interrupted backup or restore has left.");
        remove(&entry.path()).map_err(|error| io_failed("remove", &entry.path(), error))?;
    }
    Ok(())
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
    use super::*;

    fn account() -> Account {
        let volume = std::fs::metadata("/proc/self").unwrap();
        use std::os::unix::fs::MetadataExt;
        Account {
            name: "database".into(),
            uid: volume.uid(),
            gid: volume.gid(),
        }
    }

    #[tokio::test]
    async fn only_leftovers_are_swept() {
        let volume = tempfile::tempdir().unwrap();
        let path = |name: &str| volume.path().join(name);
        for name in ["data", ".clone-old", ".backup-old", ".increment-1"] {
            std::fs::create_dir(path(name)).unwrap();
            std::fs::write(path(name).join("file"), "x").unwrap();
        }
        let used = Scratch::new(volume.path(), CLONE, "new", &account()).unwrap();
        assert!(Scratch::new(volume.path(), CLONE, "new", &account()).is_err());
        sweep(volume.path()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(volume.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".clone-new", "data"]);
        used.remove().await;
        assert!(!path(".clone-new").exists());
        for id in ["", "../data", "a/b"] {
            assert!(Scratch::new(volume.path(), CLONE, id, &account()).is_err());
        }
        assert!(path("data/file").exists());
    }
}
