//! Marks on the volume: what the data directory holds is not ready for use, or
//! not for every use.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use datastore::{Error, Result};
use guest::Attributes;

use crate::errors::{io_failed, os_error};
use crate::files::is_empty;

/// A mark: an empty file. It is set before anything happens to the data, and
/// removed when that is undone or the server runs on the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(PathBuf);

impl Mark {
    /// The mark of this name on a volume.
    pub fn new(volume: &Path, name: &str) -> Self {
        Self(volume.join(name))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.exists()
    }

    /// When it was set, if it is.
    ///
    /// # Errors
    /// When the volume cannot be read.
    pub fn since(&self) -> io::Result<Option<SystemTime>> {
        match std::fs::metadata(&self.0) {
            Ok(file) => file.modified().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets it.
    ///
    /// # Errors
    /// When the volume cannot be written.
    pub fn set(&self) -> Result<()> {
        let private = Attributes {
            mode: 0o600,
            owner: None,
        };
        guest::write_atomic(&self.0, b"", &private).map_err(os_error)
    }

    /// Removes it, if it is set.
    ///
    /// # Errors
    /// When the volume cannot be written.
    pub fn remove(&self) -> Result<()> {
        guest::remove_if_exists(&self.0).map(drop).map_err(os_error)
    }
}

/// Refuses to start a server on data that a restore has not completed, as one
/// of `marks` says.
///
/// # Errors
/// When one is set.
pub fn ensure_restored(data_dir: &Path, marks: &[Mark]) -> Result<()> {
    match marks.iter().find(|mark| mark.is_set()) {
        None => Ok(()),
        Some(mark) => Err(Error::failed(format!(
            "The data in {} is incomplete, because its restore failed or was interrupted ({}): \
             the server is not started. Delete the instance and restore the backup again",
            data_dir.display(),
            mark.path().display()
        ))),
    }
}

/// Refuses a volume to which a rebuild should give a new root disk, when it has
/// no data, or data that is not `whole`.
///
/// # Errors
/// When that is so.
pub fn ensure_data(data_dir: &Path, whole: bool) -> Result<()> {
    if is_empty(data_dir).map_err(|error| io_failed("read", data_dir, error))? {
        return Err(Error::failed(format!(
            "There is no data in {}, and a rebuild makes none: check that the volume of this \
             instance is attached and mounted",
            data_dir.display()
        )));
    }
    match whole {
        true => Ok(()),
        false => Err(Error::failed(format!(
            "The data in {} was never completed: delete the instance",
            data_dir.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_incomplete_is_not_started() {
        let volume = tempfile::tempdir().unwrap();
        let mark = Mark::new(volume.path(), ".restoring");
        let checked = || ensure_restored(volume.path(), std::slice::from_ref(&mark));
        checked().unwrap();
        assert_eq!(mark.since().unwrap(), None);
        mark.set().unwrap();
        assert!(mark.is_set() && mark.since().unwrap().is_some());
        let text = checked().unwrap_err().to_string();
        assert!(text.contains("incomplete"), "{text}");
        for _ in 0..2 {
            mark.remove().unwrap();
            checked().unwrap();
        }
    }
}
