//! Directories on the data volume that live as long as one restore.

use std::io;
use std::path::{Path, PathBuf};

use datastore::Result;
use guest::{Account, Attributes};
use tracing::warn;

use crate::errors::{io_failed, os_error};

/// What the names of these directories begin with.
const PREFIX: &str = ".restore-";

/// A directory of its own, only for the server's account; removed with its
/// contents when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty one. Nothing else restores meanwhile.
    pub(crate) fn new(volume: &Path, name: &str, account: &Account) -> Result<Self> {
        let path = volume.join(format!("{PREFIX}{name}"));
        let scratch = Self { path };
        remove(&scratch.path).map_err(|error| io_failed("empty", &scratch.path, error))?;
        let private = Attributes {
            mode: 0o700,
            owner: Some((account.uid, account.gid)),
        };
        guest::ensure_directory(&scratch.path, &private).map_err(os_error)?;
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it and waits until it is gone: gigabytes may be in it.
    pub(crate) async fn remove(self) {
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
    }
}

/// Removes what crashed restores have left on the volume. To be called while
/// none is on its way.
pub(crate) fn sweep(volume: &Path) -> Result<()> {
    let failed = |error| io_failed("read", volume, error);
    let entries = match std::fs::read_dir(volume) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        warn!(path = %entry.path().display(), "Removing what an interrupted restore has left.");
        remove(&entry.path()).map_err(|error| io_failed("remove", &entry.path(), error))?;
    }
    Ok(())
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
    use crate::server::tests::server_in;

    #[tokio::test]
    async fn only_leftovers_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        let volume = &server.settings.layout.mount_point;
        sweep(volume).unwrap();
        for name in ["data", ".restore-old"] {
            std::fs::create_dir_all(volume.join(name)).unwrap();
            std::fs::write(volume.join(name).join("file"), "x").unwrap();
        }
        sweep(volume).unwrap();
        assert!(!volume.join(".restore-old").exists());
        assert!(volume.join("data/file").exists());
        let scratch = Scratch::new(volume, "new", &server.settings.account).unwrap();
        let path = scratch.path().to_owned();
        assert!(path.is_dir());
        scratch.remove().await;
        assert!(!path.exists());
    }
}
