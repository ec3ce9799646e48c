//! What the agent and a datastore say to each other about replication. Shapes
//! follow the replication snapshot and the replica context of Trove
//! (`trove/guestagent/strategies/replication`), because they cross the wire.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Secret, TlsMaterial, TlsMode};

/// Where a replica finds its source (`master`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address or name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The account that replicas log in with (`replication_user`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicationAccount {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// Everything a replica needs to follow its source.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaContext {
    /// The source.
    pub source: Endpoint,
    /// How to log in there.
    pub account: ReplicationAccount,
    /// Where the source stands (`log_position`); what is in it is the
    /// datastore's own business.
    pub position: Map<String, Value>,
    /// Where the data comes from, and where it stands when a volume snapshot
    /// brought it (`dataset`); otherwise the data itself tells. Empty when the
    /// replica goes on with the data it has.
    pub dataset: Map<String, Value>,
    /// TLS of the source, which its replicas have too, to be put in place. The
    /// accounts come with the data.
    pub tls: Option<(TlsMode, TlsMaterial)>,
}

/// How the data comes to a replica: a key of this agent's own in the dataset.
pub const PROVISIONING: &str = "provisioning";
/// From the running source. There is no backup.
pub const BY_CLONE: &str = "clone";

impl ReplicaContext {
    /// Whether the data has to be cloned from the running source.
    pub fn demands_clone(&self) -> bool {
        self.dataset.get(PROVISIONING).and_then(Value::as_str) == Some(BY_CLONE)
    }
}

/// A replica to be made in `prepare`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaRequest {
    /// Its source.
    pub context: ReplicaContext,
    /// Configuration of replicas from the control plane's templates.
    pub config: String,
}

/// The last transaction a replica has seen (`get_last_txn`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastTransaction {
    /// Who made it: replicas of one source agree in this.
    pub source: Option<String>,
    /// Its number: the higher, the nearer to the source.
    pub number: u64,
}
