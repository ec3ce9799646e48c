//! Backups between a datastore and an object store: the same for requests of
//! the control plane and for the command line.

mod chain;
mod make;
mod request;
mod stores;
mod verify;

pub use chain::Chain;
pub use make::{Made, Making, make};
pub use request::{BackupInfo, Parent};
pub use stores::{Driver, StoreAccess, client, requested, swift, upload_settings};
pub use verify::verify;

use backup::Keys;
use datastore::{Error, ErrorKind};

use crate::config::BackupSettings;

/// The keys a restore may need.
pub fn keys(settings: &BackupSettings) -> Keys {
    Keys {
        passphrase: settings.passphrase.clone(),
        legacy: settings.aes_cbc_key.clone(),
    }
}

/// A store's error in the terms of the agent.
pub fn store_error(error: object_store::Error) -> Error {
    let kind = match error.kind() {
        object_store::ErrorKind::Configuration => ErrorKind::BadRequest,
        object_store::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Failed,
    };
    let text = error.to_string();
    Error::with_source(kind, text, error)
}

/// An error of the stream in the terms of the agent.
fn backup_error(error: backup::Error) -> Error {
    match error {
        backup::Error::Store(error) => store_error(error),
        error => {
            let text = error.to_string();
            Error::with_source(ErrorKind::Failed, text, error)
        }
    }
}
