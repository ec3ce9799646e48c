//! The archives that backup tools make, as files below a directory.
//!
//! An archive comes from an object store and is believed as little as anything
//! from there: nothing but regular files and directories below the directory is
//! made, nothing that exists is replaced unless the tool says so, and no mode or
//! owner is taken from it.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bridge;
mod check;
mod directory;
mod tarball;

mod xbstream;

pub use bridge::{Checked, UnpackError, check, unpack};
pub use directory::{DIRECTORY_MODE, FILE_MODE};
pub use tarball::pack;

/// What an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Of mariadb-backup and xtrabackup.
    Xbstream,
    /// A tar archive, POSIX or GNU.
    Tar,
}

/// Who owns what is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Bytes moved at once.
pub(crate) const CHUNK: usize = 512 << 10;

pub(crate) fn bad(text: impl Into<String>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, text.into())
}
