//! The words the agent and its datastores share: databases, users, service
//! states, errors, and the [`Datastore`] trait. It knows no wire format of
//! AMQP and no database server; shapes follow Trove's serialised models
//! (`trove/common/db/models.py`) because they cross the wire unchanged.

mod backup;
mod error;
mod logs;
mod model;
mod paging;
mod replication;
mod secret;
mod status;
mod tls;
mod traits;

pub use backup::{
    Archive, BackupMetadata, BackupRequest, BackupStream, Bytestream, ReadLock, RestoreLink,
    RestoreSource, Restored,
};
pub use error::{Error, ErrorKind, Result};
pub use logs::{LogKind, ServerLog};
pub use model::{Database, PasswordChange, User, UserAttributes};
pub use paging::{Page, PageRequest};
pub use replication::{
    BY_CLONE, Endpoint, LastTransaction, PROVISIONING, ReplicaContext, ReplicaRequest,
    ReplicationAccount,
};
pub use secret::Secret;
pub use status::ServiceStatus;
pub use tls::{TlsFiles, TlsMaterial, TlsMode};
pub use traits::{Datastore, PrepareRequest, StopOutcome};
