//! The two marker files on the root disk that say how far installation got
//! (`trove/guestagent/service.py`, names kept so that either agent can take
//! over a guest from the other).

use std::path::{Path, PathBuf};

use guest::{Attributes, FileError};

const FILE: Attributes = Attributes {
    mode: 0o644,
    owner: None,
};

/// `.guestagent.prepare.{start,end}` in one directory.
#[derive(Debug, Clone)]
pub struct Markers {
    directory: PathBuf,
}

impl Default for Markers {
    fn default() -> Self {
        Self::new(Path::new("/opt/trove-guestagent"))
    }
}

impl Markers {
    /// Markers in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Whether installation completed: heartbeats of the real state are due.
    pub fn installed(&self) -> bool {
        self.end().exists()
    }

    /// Notes that installation begins, and that an earlier one no longer
    /// counts: a heartbeat in the middle would report a half-made server.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn begin(&self) -> Result<(), FileError> {
        guest::ensure_directory(
            &self.directory,
            &Attributes {
                mode: 0o755,
                owner: None,
            },
        )?;
        guest::remove_if_exists(&self.end())?;
        guest::write_atomic(
            &self.directory.join(".guestagent.prepare.start"),
            b"",
            &FILE,
        )
    }

    /// Notes that installation completed.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn complete(&self) -> Result<(), FileError> {
        guest::write_atomic(&self.end(), b"", &FILE)
    }

    fn end(&self) -> PathBuf {
        self.directory.join(".guestagent.prepare.end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_installation_takes_the_old_end_back() {
        let dir = tempfile::tempdir().unwrap();
        let markers = Markers::new(&dir.path().join("opt"));
        assert!(!markers.installed());
        markers.begin().unwrap();
        markers.complete().unwrap();
        assert!(markers.installed());
        markers.begin().unwrap();
        assert!(!markers.installed());
    }
}
