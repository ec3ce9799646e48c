//! The operations behind the RPC methods. Reads run at once; everything else
//! waits for its turn ([`turns`]).

pub mod backup;
mod housekeeping;
mod lifecycle;
mod logs;
mod modules;
mod orphans;
mod prepare;
pub mod recovery;
mod renew;
mod replication;
mod snapshot;
mod system;
mod tls;
pub mod turns;

use std::sync::Arc;
use std::time::Duration;

use datastore::Datastore;
use guest::VolumeSpec;

use crate::conductor::Conductor;
use crate::host::Host;
use crate::journal::Journal;
use crate::markers::Markers;
use crate::status::Status;
use turns::Turns;

pub use logs::LogAction;
pub use prepare::PrepareCall;
pub use renew::rebuild_request;
pub use replication::ReplicaInfo;
pub use tls::TlsAction;

/// How long the end of an operation waits for its heartbeat to be delivered.
const ANNOUNCE: Duration = Duration::from_secs(5);

/// Everything the operations work with.
pub struct Operations {
    /// The one datastore of this guest.
    pub datastore: Arc<dyn Datastore>,
    /// Where results are reported.
    pub conductor: Arc<Conductor>,
    /// Status and heartbeats.
    pub status: Arc<Status>,
    /// Readiness of the operating system.
    pub host: Arc<Host>,
    /// Record of the long operation.
    pub journal: Journal,
    /// Installation markers.
    pub markers: Markers,
    /// The data volume.
    pub volume: VolumeSpec,
    /// Backups and restores.
    pub backups: backup::Backups,
    /// Published logs.
    pub logs: crate::logs::Logs,
    /// Modules.
    pub modules: crate::modules::Modules,
    /// TLS of the server.
    pub tls: crate::tls::Tls,
    /// Who may run beside whom.
    pub turns: Turns,
}

#[cfg(test)]
mod tests;
