//! How an error looks on the wire; the one place that decides it.

use datastore::ErrorKind;
use oslo_messaging::RemoteError;

use super::args::ArgsError;
use super::security::Refused;

/// Module named in failures. It must be neither `builtins` nor
/// `trove.common.exception`: only for other modules does the user see the
/// message alone, without a traceback (`oslo_messaging/_drivers/common.py`,
/// `trove/guestagent/api.py`).
const MODULE: &str = "trove_guestagent";

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The arguments are wrong.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The request does not open with this guest's key.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The operation failed.
    #[error(transparent)]
    Operation(#[from] datastore::Error),
    /// There is no such method.
    #[error("no such method")]
    NoSuchMethod,
}

impl CallError {
    /// The failure that answers a call of `method`.
    pub fn to_remote(&self, method: &str) -> RemoteError {
        let class = match self {
            Self::NoSuchMethod => return RemoteError::no_such_method(method),
            Self::Args(_) => "BadRequest",
            Self::Refused(_) => "Forbidden",
            Self::Operation(error) => match error.kind() {
                ErrorKind::BadRequest => "BadRequest",
                ErrorKind::Forbidden => "Forbidden",
                ErrorKind::NotFound => "NotFound",
                ErrorKind::AlreadyExists => "AlreadyExists",
                ErrorKind::NotSupported => "DatastoreOperationNotSupported",
                ErrorKind::Timeout => "GuestTimeout",
                ErrorKind::Failed => "GuestError",
            },
        };
        RemoteError::new(MODULE, class, self.to_string())
    }
}
