//! Directories of data.

use std::io;
use std::path::Path;
use std::time::Duration;

use datastore::Result;
use guest::Command;

use crate::errors::{io_failed, os_error};

/// All that was written must reach the disk.
const SYNC_LIMIT: Duration = Duration::from_secs(1800);

/// Whether a directory has nothing in it, or is not there.
///
/// # Errors
/// When it cannot be read.
pub fn is_empty(dir: &Path) -> io::Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().transpose()?.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// The modes that a server's own files and directories have at most.
#[derive(Debug, Clone, Copy)]
pub struct Modes {
    /// Of directories.
    pub directory: u32,
    /// Of all other files.
    pub file: u32,
}

/// Gives everything in `dir` to the account of `owner`, and to nobody else.
/// Symbolic links are not followed.
///
/// # Errors
/// When something cannot be changed.
pub async fn own(dir: &Path, owner: (u32, u32), modes: Modes) -> Result<()> {
    let all = dir.to_owned();
    let owned = tokio::task::spawn_blocking(move || own_all(&all, owner, modes)).await;
    owned
        .map_err(os_error)?
        .map_err(|error| io_failed("change the owner in", dir, error))
}

fn own_all(dir: &Path, owner: (u32, u32), modes: Modes) -> io::Result<()> {
    own_one(dir, owner, modes.directory)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => own_all(&entry.path(), owner, modes)?,
            false => own_one(&entry.path(), owner, modes.file)?,
        }
    }
    Ok(())
}

fn own_one(path: &Path, owner: (u32, u32), mode: u32) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
    let found = std::fs::symlink_metadata(path)?;
    if (found.uid(), found.gid()) != owner {
        lchown(path, Some(owner.0), Some(owner.1))?;
    }
    // Never more than there was, except for the owner: it may be a key.
    let wanted = found.mode() & mode | mode & 0o700;
    if !found.is_symlink() && found.mode() & 0o7777 != wanted {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(wanted))?;
    }
    Ok(())
}

/// Sees to it that all that was written to a file system is on its disk.
///
/// # Errors
/// When it does not get there.
pub async fn sync_file_system(mount_point: &Path) -> Result<()> {
    Command::new("sync")
        .arg("--file-system")
        .arg(mount_point)
        .timeout(SYNC_LIMIT)
        .run()
        .await
        .map(drop)
        .map_err(os_error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[tokio::test]
    async fn nobody_else_reads_what_is_owned() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_empty(dir.path()).unwrap());
        assert!(is_empty(&dir.path().join("missing")).unwrap());
        let own_id = std::fs::metadata(dir.path()).unwrap();
        let owner = (own_id.uid(), own_id.gid());
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("sub")).unwrap();
        std::os::unix::fs::symlink("/nonexistent", path("sub/link")).unwrap();
        for (name, mode) in [("open", 0o777), ("key", 0o600), ("sub/closed", 0o000)] {
            std::fs::write(path(name), "x").unwrap();
            std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        assert!(!is_empty(dir.path()).unwrap());
        let modes = Modes {
            directory: 0o750,
            file: 0o640,
        };
        own(dir.path(), owner, modes).await.unwrap();
        for (name, mode) in [
            ("open", 0o640),
            ("key", 0o600),
            ("sub", 0o750),
            ("sub/closed", 0o600),
        ] {
            let found = std::fs::metadata(path(name)).unwrap().mode() & 0o7777;
            assert_eq!(found, mode, "{name}");
        }
    }
}
