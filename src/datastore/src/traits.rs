//! What a datastore can be asked to do.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    BackupRequest, BackupStream, Database, Error, LastTransaction, Page, PageRequest,
    PasswordChange, ReadLock, ReplicaContext, ReplicaRequest, ReplicationAccount, RestoreSource,
    Restored, Result, Secret, ServerLog, ServiceStatus, TlsFiles, TlsMaterial, TlsMode, User,
    UserAttributes,
};

/// Everything `prepare` needs to turn an empty volume into a running server.
#[derive(Debug, Clone)]
pub struct PrepareRequest {
    /// The base configuration file, verbatim.
    pub config_contents: String,
    /// Parameters of the attached configuration group.
    pub overrides: BTreeMap<String, Value>,
    /// Version the control plane believes to install; for messages only, the
    /// server's own answer decides behaviour.
    pub datastore_version: Option<String>,
    /// What it becomes a replica of; its data comes from a backup or a volume
    /// snapshot of that source, or from the source itself.
    pub replica: Option<ReplicaRequest>,
}

/// How `stop` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOutcome {
    /// The server is down.
    Stopped,
    /// The server is shutting down and had not ended when the time was up.
    Stopping,
}

/// One database server managed natively, as a systemd service.
///
/// Every method may run beside any other: who may run beside whom is decided
/// above, in the agent. What a datastore cannot do returns
/// [`ErrorKind::NotSupported`](crate::ErrorKind::NotSupported).
#[async_trait]
pub trait Datastore: Send + Sync {
    /// The manager's name in the configuration, e.g. `mysql`.
    fn manager(&self) -> &'static str;

    /// The state of the server now. Never fails and answers within a few
    /// seconds, whatever the server does.
    async fn status(&self) -> ServiceStatus;

    /// Installs configuration, initialises the data directory, starts and
    /// secures the server. Databases and users come afterwards, by their own
    /// methods.
    async fn prepare(&self, request: &PrepareRequest) -> Result<()>;

    /// Starts the server, makes it start at boot, and waits until healthy.
    async fn start(&self) -> Result<()>;

    /// Starts the server if it is meant to run and does not. Tells whether it
    /// had to.
    async fn resume(&self) -> Result<bool>;

    /// Stops the server and keeps it down over a reboot. Waits at most
    /// `patience` for the end of the process.
    async fn stop(&self, patience: std::time::Duration) -> Result<StopOutcome>;

    /// Waits until the server's process is gone; returns at once when it is.
    async fn wait_stopped(&self) -> Result<()>;

    /// Stops and starts the server, and waits until healthy.
    async fn restart(&self) -> Result<()>;

    /// Replaces the base configuration, keeps every override, and (re)starts.
    async fn start_with_config(&self, config_contents: &str) -> Result<()>;

    /// Replaces the base configuration only.
    async fn reset_configuration(&self, config_contents: &str) -> Result<()>;

    /// Creates databases; an existing one is left as it is.
    async fn create_databases(&self, databases: &[Database]) -> Result<()>;

    /// Databases by name, without the server's own.
    async fn list_databases(&self, page: &PageRequest) -> Result<Page<Database>>;

    /// Drops a database with everything in it.
    async fn delete_database(&self, database: &Database) -> Result<()>;

    /// Creates users with their grants.
    async fn create_users(&self, users: &[User]) -> Result<()>;

    /// Users in marker order, without the server's own.
    async fn list_users(&self, page: &PageRequest) -> Result<Page<User>>;

    /// Drops a user.
    async fn delete_user(&self, user: &User) -> Result<()>;

    /// One user with its databases, if it exists.
    async fn get_user(&self, name: &str, host: Option<&str>) -> Result<Option<User>>;

    /// Renames a user, changes its host or password.
    async fn update_attributes(
        &self,
        name: &str,
        host: Option<&str>,
        attributes: &UserAttributes,
    ) -> Result<()>;

    /// Sets new passwords.
    async fn change_passwords(&self, changes: &[PasswordChange]) -> Result<()>;

    /// Gives a user all privileges on databases.
    async fn grant_access(
        &self,
        name: &str,
        host: Option<&str>,
        databases: &[String],
    ) -> Result<()>;

    /// Takes a user's privileges on a database away.
    async fn revoke_access(&self, name: &str, host: Option<&str>, database: &str) -> Result<()>;

    /// Databases a user has been granted.
    async fn list_access(&self, name: &str, host: Option<&str>) -> Result<Vec<Database>>;

    /// Enables the tenant's administrator with the given or a new password
    /// and returns it with the password.
    async fn enable_root(&self, password: Option<&Secret>) -> Result<User>;

    /// Locks the tenant's administrator out.
    async fn disable_root(&self) -> Result<()>;

    /// Whether the tenant's administrator may log in.
    async fn is_root_enabled(&self) -> Result<bool>;

    /// Additions to `get_filesystem_stats` under `mgr_extra_info`.
    async fn volume_extra_info(&self) -> Result<serde_json::Map<String, Value>> {
        Ok(serde_json::Map::new())
    }

    /// The server's version as it reports it itself, e.g. `10.11.19-MariaDB`.
    async fn version(&self) -> Result<String>;

    /// Process id of the server, when it runs.
    async fn main_pid(&self) -> Option<u32>;

    /// Replaces the parameters of the attached configuration group by those
    /// given, in the files only. What the server refuses is refused, and nothing
    /// changes then.
    async fn update_overrides(
        &self,
        _overrides: &BTreeMap<String, Value>,
        _remove: bool,
    ) -> Result<()> {
        Err(Error::not_supported("Changing configuration groups"))
    }

    /// Makes the running server use what
    /// [`update_overrides`](Self::update_overrides) has written. Tells whether
    /// some of it waits for a restart. After an error all is as it was before
    /// both.
    async fn apply_overrides(&self, _overrides: &BTreeMap<String, Value>) -> Result<bool> {
        Err(Error::not_supported("Applying configuration groups"))
    }

    /// Looks after the guest now and then: called every few minutes once the
    /// instance is prepared, whether the server runs or not.
    async fn housekeeping(&self) -> Result<()> {
        Ok(())
    }

    /// Begins a backup of the running server.
    async fn start_backup(&self, _request: &BackupRequest) -> Result<Box<dyn BackupStream>> {
        Err(Error::not_supported("Making backups"))
    }

    /// Like [`prepare`](Self::prepare), with the data of a backup in place of
    /// none: nothing but the data of the whole chain ever becomes healthy.
    async fn restore(
        &self,
        _request: &PrepareRequest,
        _source: &dyn RestoreSource,
    ) -> Result<Restored> {
        Err(Error::not_supported("Restoring backups"))
    }

    /// Only the data of a chain, into the empty data directory, as the present
    /// configuration wants it. The server stays down and passwords are those
    /// of the data.
    async fn unpack(&self, _source: &dyn RestoreSource) -> Result<()> {
        Err(Error::not_supported("Unpacking backups"))
    }

    /// Like [`restore`](Self::restore), with data that is on the volume
    /// already, because the volume was made from a snapshot.
    async fn restore_snapshot(&self, _request: &PrepareRequest) -> Result<Restored> {
        Err(Error::not_supported("Restoring volume snapshots"))
    }

    /// Keeps the server from writing, so that its volume can be snapshotted.
    async fn lock_for_snapshot(&self) -> Result<Box<dyn ReadLock>> {
        Err(Error::not_supported("Preparing for volume snapshots"))
    }

    /// Like [`prepare`](Self::prepare), on a new root disk, with the data and
    /// accounts that are on the volume, whoever has put them there. `tls` is the
    /// mode the instance has, when its files are on the volume.
    async fn rebuild(&self, _request: &PrepareRequest, _tls: Option<TlsMode>) -> Result<()> {
        Err(Error::not_supported("Rebuilding"))
    }

    /// Goes over to the version `target` of the server, if that is installed
    /// and the data can be taken there; otherwise nothing changes.
    async fn upgrade(&self, _target: &str) -> Result<()> {
        Err(Error::not_supported("Upgrading"))
    }

    /// Prepares this source for replicas that clone its data while it runs, if
    /// it is configured to be cloned. `false`: they have to begin with a backup.
    /// `host` is the address they will connect to.
    async fn offer_clone(&self, _host: &str) -> Result<bool> {
        Ok(false)
    }

    /// Like [`restore`](Self::restore), with data that is cloned from the running
    /// source that the request names.
    async fn restore_clone(&self, _request: &PrepareRequest) -> Result<Restored> {
        Err(Error::not_supported("Cloning the source of a replica"))
    }

    /// The TCP port tenants and replicas connect to.
    async fn port(&self) -> Result<u16> {
        Err(Error::not_supported("Replication"))
    }

    /// Lets replicas follow this server. Nothing changes if they may already.
    async fn enable_as_source(&self, _config: &str) -> Result<()> {
        Err(Error::not_supported("Replication"))
    }

    /// The account replicas log in with, made if there is none.
    async fn replication_account(&self) -> Result<ReplicationAccount> {
        Err(Error::not_supported("Replication"))
    }

    /// Where this source stands, for [`ReplicaContext::position`].
    async fn source_position(&self) -> Result<serde_json::Map<String, Value>> {
        Err(Error::not_supported("Replication"))
    }

    /// Makes the running server a replica and waits until it follows; `restart`
    /// tells that its source has changed.
    async fn attach_replica(
        &self,
        _context: &ReplicaContext,
        _config: &str,
        _restart: bool,
    ) -> Result<()> {
        Err(Error::not_supported("Replication"))
    }

    /// Makes a replica a server of its own, with everything it has received.
    /// `for_failover`: it becomes a source. Returns the account it has followed
    /// its source with, if the source knows it by that.
    async fn detach_replica(&self, _for_failover: bool) -> Result<Option<String>> {
        Err(Error::not_supported("Replication"))
    }

    /// Keeps everybody from writing, or lets them again; over restarts too.
    async fn set_read_only(&self, _read_only: bool) -> Result<()> {
        Err(Error::not_supported("Replication"))
    }

    /// The last transaction here, in words that
    /// [`wait_for_transaction`](Self::wait_for_transaction) understands.
    async fn latest_transaction(&self) -> Result<String> {
        Err(Error::not_supported("Replication"))
    }

    /// Waits until a transaction of the source has arrived and is visible.
    async fn wait_for_transaction(
        &self,
        _transaction: &str,
        _patience: std::time::Duration,
    ) -> Result<()> {
        Err(Error::not_supported("Replication"))
    }

    /// The last transaction that has been received.
    async fn last_transaction(&self) -> Result<LastTransaction> {
        Err(Error::not_supported("Replication"))
    }

    /// Ends being a source: what was made for replicas goes.
    async fn demote_source(&self) -> Result<()> {
        Err(Error::not_supported("Replication"))
    }

    /// The server's log files.
    fn logs(&self) -> Vec<ServerLog> {
        Vec::new()
    }

    /// Whether a log of the tenant's is switched on.
    async fn log_enabled(&self, _name: &str) -> Result<bool> {
        Err(Error::not_supported("Switching logs"))
    }

    /// Switches a log of the tenant's on or off, over restarts too. Tells
    /// whether it becomes true only with a restart.
    async fn set_log(&self, _name: &str, _enabled: bool) -> Result<bool> {
        Err(Error::not_supported("Switching logs"))
    }

    /// Where the server has its TLS files; `None` when it has no TLS.
    fn tls_files(&self) -> Option<TlsFiles> {
        None
    }

    /// Whether the server offers TLS now.
    async fn tls_enabled(&self) -> Result<bool> {
        Err(Error::not_supported("TLS"))
    }

    /// Switches TLS on with a mode, or off, for the server and for every
    /// account of the tenant's, those made later too. New material has been
    /// validated; without it the files in place are used. Tells whether it
    /// becomes true only with a restart. After an error all is as it was.
    async fn set_tls(
        &self,
        _mode: Option<TlsMode>,
        _material: Option<&TlsMaterial>,
    ) -> Result<bool> {
        Err(Error::not_supported("TLS"))
    }
}
