//! What reading configuration needs of a file system.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Read access to files and directories.
pub trait FileSystem {
    /// Whether the path exists, links followed.
    fn exists(&self, path: &Path) -> bool;
    /// The names in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>>;
    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFileSystem;

impl FileSystem for DiskFileSystem {
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}

/// Files in memory, for tests and for looking at a configuration that is not
/// in place yet. Directories exist as far as files are in them.
#[derive(Debug, Clone, Default)]
pub struct MemoryFileSystem {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl MemoryFileSystem {
    /// Adds a file.
    pub fn file(mut self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.files
            .keys()
            .any(|file| file != path && file.starts_with(path))
    }
}

impl FileSystem for MemoryFileSystem {
    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(path) || self.is_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        if self.files.contains_key(directory) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if !self.is_directory(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = self
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(directory).ok());
        let mut names: Vec<OsString> = inside
            .filter_map(|rest| Some(rest.components().next()?.as_os_str().to_owned()))
            .collect();
        names.dedup();
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.files.get(path) {
            Some(content) => Ok(content.clone()),
            None if self.is_directory(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
