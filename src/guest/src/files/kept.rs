//! Files as they are before a change, to be put back if it fails.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Attributes, FileError, remove_if_exists, write_atomic};

/// A file as it was, or that there was none. It may hold a key: it is wiped
/// from memory and never shown.
pub struct Kept {
    path: PathBuf,
    before: Option<(Zeroizing<Vec<u8>>, Attributes)>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kept").field(&self.path).finish()
    }
}

impl Kept {
    /// Remembers the file at `path`.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn of(path: &Path) -> Result<Self, FileError> {
        let read = || -> io::Result<_> {
            let metadata = fs::symlink_metadata(path)?;
            let attributes = Attributes {
                mode: metadata.mode() & 0o7777,
                owner: Some((metadata.uid(), metadata.gid())),
            };
            Ok((Zeroizing::new(fs::read(path)?), attributes))
        };
        let before = match read() {
            Ok(before) => Some(before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(FileError::new(path, "read")(error)),
        };
        Ok(Self {
            path: path.to_owned(),
            before,
        })
    }

    /// Makes the file what it was.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_back(&self) -> Result<(), FileError> {
        match &self.before {
            Some((contents, attributes)) => write_atomic(&self.path, contents, attributes),
            None => remove_if_exists(&self.path).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_put_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let (there, missing) = (dir.path().join("there"), dir.path().join("missing"));
        fs::write(&there, b"\xffold").unwrap();
        fs::set_permissions(&there, fs::Permissions::from_mode(0o640)).unwrap();
        let kept = [Kept::of(&there).unwrap(), Kept::of(&missing).unwrap()];
        fs::remove_file(&there).unwrap();
        fs::write(&missing, "new").unwrap();
        for file in &kept {
            file.put_back().unwrap();
        }
        assert_eq!(fs::read(&there).unwrap(), b"\xffold");
        assert_eq!(fs::metadata(&there).unwrap().mode() & 0o777, 0o640);
        assert!(!missing.exists());
        assert!(!format!("{kept:?}").contains("old"));
    }
}
