//! Why a backup was not stored or cannot be read.

use std::io;

/// The result of storing or reading.
pub type Result<T> = std::result::Result<T, Error>;

/// An error whose text is fit for the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused, or gave back what was not sent.
    #[error("{0}")]
    Store(#[from] object_store::Error),
    /// The stream to be stored could not be read.
    #[error("the backup's stream broke: {0}")]
    Source(#[source] io::Error),
    /// A block could not be compressed or encrypted.
    #[error("compress the backup: {0}")]
    Codec(#[source] io::Error),
    /// The stream is longer than the store takes in one object.
    #[error("{0}")]
    TooLarge(String),
    /// What has to be remembered for the case of a crash could not be.
    #[error("{0}")]
    Journal(String),
    /// It was cancelled.
    #[error("the backup was cancelled")]
    Cancelled,
    /// An object by that name cannot be read here.
    #[error("{0}")]
    Unreadable(String),
}

impl Error {
    /// The store's error, if it was the store.
    pub fn store(&self) -> Option<&object_store::Error> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
