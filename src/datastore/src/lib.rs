//! The words the agent and its datastores share: databases, users, service
//! states, errors, and the [`Datastore`] trait. It knows no wire format of
//! AMQP and no database server; shapes follow Trove's serialised models
//! (`trove/common/db/models.py`) because they cross the wire unchanged.

mod backup;
mod error;
mod model;
mod paging;
mod secret;
mod status;
mod traits;

pub use backup::{
    Archive, BackupMetadata, BackupRequest, BackupStream, Bytestream, ReadLock, RestoreLink,
    RestoreSource, Restored,
};
pub use error::{Error, ErrorKind, Result};
pub use model::{Database, PasswordChange, User, UserAttributes};
pub use paging::{Page, PageRequest};
pub use secret::Secret;
pub use status::ServiceStatus;
pub use traits::{Datastore, PrepareRequest, StopOutcome};
