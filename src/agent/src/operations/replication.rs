//! What the control plane asks of sources and of replicas.
//!
//! `promote_to_replica_source`, `eject_replica_source` and the rest are the
//! taskmanager's; a guest is asked for one step at a time, and each step may
//! come twice.

use std::path::Path;
use std::time::Duration;

use datastore::{
    Endpoint, Error, ErrorKind, ReplicaContext, ReplicaRequest, ReplicationAccount, Result,
    TlsMaterial, TlsMode,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::{ANNOUNCE, Operations};
use crate::backups::BackupInfo;
use crate::isolation::Isolation;
use crate::rpc::context::Context;

/// How long a replica waits for a transaction: the caller gives up after 180 s
/// (`agent_call_high_timeout`).
const CATCH_UP: Duration = Duration::from_secs(170);
/// What a replica is told about its source: the snapshot it is made of, or the
/// context of a source that runs (`replica_info`).
#[derive(Debug, Deserialize)]
pub struct ReplicaInfo {
    master: Endpoint,
    replica_conf: ReplicaConf,
    #[serde(default)]
    replication_strategy: Option<String>,
    #[serde(default)]
    dataset: Option<Map<String, Value>>,
    #[serde(default)]
    ssl_mode: Option<TlsMode>,
    #[serde(default)]
    cert_container: Option<TlsMaterial>,
    /// Configuration of the replica, in a snapshot for `prepare`.
    #[serde(default)]
    config: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ReplicaConf {
    #[serde(default)]
    log_position: Option<Map<String, Value>>,
    replication_user: ReplicationAccount,
}

impl ReplicaInfo {
    fn context(self) -> ReplicaContext {
        ReplicaContext {
            source: self.master,
            account: self.replica_conf.replication_user,
            position: self.replica_conf.log_position.unwrap_or_default(),
            dataset: self.dataset.unwrap_or_default(),
            tls: self.ssl_mode.zip(self.cert_container),
        }
    }

    /// What `prepare` makes of it.
    pub(super) fn request(mut self) -> ReplicaRequest {
        let config = self.config.take().unwrap_or_default();
        ReplicaRequest {
            context: self.context(),
            config,
        }
    }
}

impl Operations {
    /// Lets replicas follow this server and makes the backup they begin with, or
    /// lets them clone it.
    ///
    /// # Errors
    /// Of either; the backup is then FAILED for the control plane.
    pub async fn replication_snapshot(
        &self,
        info: BackupInfo,
        config: &str,
        context: &Context,
    ) -> Result<Value> {
        let settings = &self.backups.settings;
        let id = info
            .id
            .clone()
            .ok_or_else(|| Error::bad_request("snapshot_info has no id"))?;
        self.enable_as_source(config).await?;
        let by_volume = info.is_snapshot(&settings.backup.storage_strategy);
        let cloned = !by_volume && self.offer_clone().await?;
        match (by_volume, cloned) {
            (true, _) => {}
            (false, true) => self.report_no_backup(id.clone(), context).await,
            (false, false) => self.back_up_for_replicas(info, context).await?,
        }
        let mut snapshot = self.replica_context().await?;
        let stats = self.filesystem_stats().await?;
        snapshot["dataset"] = json!({
            "datastore_manager": self.datastore.manager(),
            "dataset_size": stats["used"],
            "volume_size": stats["total"],
            "snapshot_id": id,
        });
        if cloned {
            snapshot["dataset"][datastore::PROVISIONING] = json!(datastore::BY_CLONE);
        }
        snapshot["replication_strategy"] = json!(settings.replication_strategy);
        if let Some((mode, material)) = self.tls_of_source().await? {
            snapshot["ssl_mode"] = json!(mode);
            snapshot["cert_container"] = json!(material);
        }
        Ok(snapshot)
    }

    async fn offer_clone(&self) -> Result<bool> {
        let _turn = self.turns.change("get_replication_snapshot").await?;
        self.datastore.offer_clone(&self.own_address()?).await
    }

    /// The control plane asks for an increment to the user's last backup,
    /// whatever that is. A full one does as well.
    async fn back_up_for_replicas(&self, mut info: BackupInfo, context: &Context) -> Result<()> {
        let made = self.back_up(info.clone(), context, None).await;
        let refused = |kind| matches!(kind, ErrorKind::NotSupported | ErrorKind::BadRequest);
        match made {
            Err(error) if info.parent.is_some() && refused(error.kind()) => {
                warn!(%error, "No increment for replicas; making a full backup.");
                info.parent = None;
                info.backup_type = None;
                self.back_up(info, context, None).await
            }
            made => made,
        }
    }

    /// What a replica needs to follow this server.
    ///
    /// # Errors
    /// When the account cannot be made, or nobody could reach this guest.
    pub async fn replica_context(&self) -> Result<Value> {
        let _turn = self.turns.change("get_replica_context").await?;
        let account = self.datastore.replication_account().await?;
        let position = self.datastore.source_position().await?;
        let source = Endpoint {
            host: self.own_address()?,
            port: self.datastore.port().await?,
        };
        Ok(json!({
            "master": source,
            "replica_conf": {"log_position": position, "replication_user": account},
            // Upstream's PostgreSQL has it here.
            "log_position": {},
        }))
    }

    fn own_address(&self) -> Result<String> {
        if let Some(address) = Isolation::of(&self.backups.settings).address()? {
            return Ok(address.to_string());
        }
        guest::own_address()
            .map(|address| address.to_string())
            .map_err(|error| Error::failed(format!("cannot tell where replicas reach us: {error}")))
    }

    /// The certificate and mode that replicas must have as well.
    async fn tls_of_source(&self) -> Result<Option<(TlsMode, TlsMaterial)>> {
        let (Some(mode), Some(files)) = (self.tls_mode()?, self.datastore.tls_files()) else {
            return Ok(None);
        };
        if !self.datastore.tls_enabled().await? {
            return Ok(None);
        }
        let read = |path: &Path| {
            guest::read_optional(path).map_err(|error| Error::failed(error.to_string()))
        };
        let (key, certificate) = (read(&files.private_key)?, read(&files.certificate)?);
        let (Some(key), Some(certificate)) = (key, certificate) else {
            return Ok(None);
        };
        let material = TlsMaterial {
            private_key: datastore::Secret::new(key),
            certificate,
            ca: read(&files.ca)?,
        };
        Ok(Some((mode, material)))
    }

    /// Lets replicas follow this server.
    ///
    /// # Errors
    /// When it does not become healthy with the new configuration.
    pub async fn enable_as_source(&self, config: &str) -> Result<()> {
        self.replicating("enable_as_master", self.datastore.enable_as_source(config))
            .await
    }

    /// Makes the server a replica.
    ///
    /// # Errors
    /// When it cannot be one of that source, or does not follow it.
    pub async fn attach_replica(
        &self,
        info: ReplicaInfo,
        config: &str,
        restart: bool,
    ) -> Result<()> {
        self.check_replica(&info)?;
        let context = info.context();
        let mode = context.tls.as_ref().map(|(mode, _)| *mode);
        let source = format!("{}:{}", context.source.host, context.source.port);
        let attached = self.datastore.attach_replica(&context, config, restart);
        self.replicating("attach_replica", attached).await?;
        self.adopt_tls(mode)?;
        info!(source, "Replica attached.");
        Ok(())
    }

    /// Whether a replica of that source may be here at all.
    pub(super) fn check_replica(&self, info: &ReplicaInfo) -> Result<()> {
        let own = &self.backups.settings.replication_strategy;
        if let Some(strategy) = &info.replication_strategy
            && strategy != own
        {
            return Err(Error::bad_request(format!(
                "the source replicates by {strategy}, and this guest by {own}"
            )));
        }
        let needed = info.dataset.as_ref().and_then(|d| d.get("dataset_size"));
        let Some(needed) = needed.and_then(Value::as_f64) else {
            return Ok(());
        };
        let stats = guest::filesystem_stats(&self.volume.mount_point)
            .map_err(|error| Error::failed(format!("examine the volume: {error}")))?;
        let total = super::system::gigabytes(stats.total_blocks * stats.block_size);
        match total >= needed {
            true => Ok(()),
            false => Err(Error::bad_request(format!(
                "the source has {needed} GB of data, and the volume here only {total} GB"
            ))),
        }
    }

    /// Makes a replica a server of its own.
    ///
    /// # Errors
    /// When it does not become one.
    pub async fn detach_replica(&self, for_failover: bool) -> Result<Value> {
        let detached = self.datastore.detach_replica(for_failover);
        let user = self.replicating("detach_replica", detached).await?;
        info!(for_failover, "Replica detached.");
        Ok(json!({"replication_user": user}))
    }

    /// Keeps everybody from writing, or lets them again.
    ///
    /// # Errors
    /// The server's.
    pub async fn make_read_only(&self, read_only: bool) -> Result<()> {
        let _exclusive = self.turns.exclusive("make_read_only").await?;
        self.datastore.set_read_only(read_only).await
    }

    /// Waits until a transaction is here.
    ///
    /// # Errors
    /// When it is not in the time the caller waits.
    pub async fn wait_for_txn(&self, transaction: &str) -> Result<()> {
        self.datastore
            .wait_for_transaction(transaction, CATCH_UP)
            .await
    }

    /// Ends being a source.
    ///
    /// # Errors
    /// When the server does not become healthy.
    pub async fn demote_source(&self) -> Result<()> {
        self.replicating("demote_replication_master", self.datastore.demote_source())
            .await
    }

    /// Runs one step that may restart the server.
    async fn replicating<T>(
        &self,
        name: &'static str,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.host.ready().await?;
        let _exclusive = self.turns.exclusive(name).await?;
        let hold = self.status.hold();
        let result = step.await;
        drop(hold);
        self.status.announce(ANNOUNCE).await;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_and_a_context_are_understood() {
        let snapshot: ReplicaInfo = serde_json::from_value(json!({
            "dataset": {"datastore_manager": "mysql", "dataset_size": 0.5, "snapshot_id": "b",
                        "log_executed_gtid_set": "a-b:1-5"},
            "replication_strategy": "MysqlGTIDReplication",
            "master": {"host": "192.0.2.7", "port": 3306},
            "replica_conf": {"log_position": {}, "replication_user":
                             {"name": "slave_1", "password": "secret"}},
            "ssl_mode": "enforced",
            "cert_container": {"private_key": "k", "certificate": "c", "ca": null},
            "config": "[mysqld]\n"
        }))
        .unwrap();
        let request = snapshot.request();
        assert_eq!(request.config, "[mysqld]\n");
        assert_eq!(request.context.source.port, 3306);
        assert_eq!(request.context.dataset["log_executed_gtid_set"], "a-b:1-5");
        assert_eq!(request.context.tls.unwrap().0, TlsMode::Enforced);
        let context: ReplicaInfo = serde_json::from_value(json!({
            "master": {"host": "192.0.2.7", "port": 5432}, "log_position": {},
            "replica_conf": {"replication_user": {"name": "replicator", "password": "p"}}
        }))
        .unwrap();
        let context = context.context();
        assert!(context.position.is_empty() && context.tls.is_none());
        assert!(!format!("{context:?}").contains("\"p\""));
    }
}
