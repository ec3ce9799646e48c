//! Sources and replicas.

use serde_json::{Value, json};

use super::{Args, Context, Operations, Reply, done};
use crate::backups::BackupInfo;
use crate::operations::ReplicaInfo;

pub(super) async fn replication(
    operations: &Operations,
    method: &str,
    mut args: Args,
    context: &Context,
) -> Reply {
    match method {
        // Also when replicas clone this server: told that no backup is needed,
        // Trove 26 names none, and at the end deletes what has none as its
        // parent, which is every full backup of the project
        // (`Backup.delete(context, None)`).
        "backup_required_for_replication" => return done(args).map(|()| json!(true)),
        "get_replication_snapshot" => {
            let info: BackupInfo = args.required("snapshot_info")?;
            let config = args.optional("replica_source_config")?;
            done(args)?;
            let config: String = config.unwrap_or_default();
            return Ok(operations
                .replication_snapshot(info, &config, context)
                .await?);
        }
        "get_replica_context" => {
            done(args)?;
            return Ok(operations.replica_context().await?);
        }
        "attach_replica" => {
            let info: ReplicaInfo = args.required("replica_info")?;
            let config: String = args.optional("slave_config")?.unwrap_or_default();
            let restart = args.optional("restart")?.unwrap_or(false);
            done(args)?;
            operations.attach_replica(info, &config, restart).await?;
        }
        "detach_replica" => {
            let for_failover = args.optional("for_failover")?.unwrap_or(false);
            done(args)?;
            return Ok(operations.detach_replica(for_failover).await?);
        }
        "enable_as_master" => {
            let config = args.optional("replica_source_config")?;
            done(args)?;
            let config: String = config.unwrap_or_default();
            operations.enable_as_source(&config).await?;
        }
        "make_read_only" => {
            let read_only = args.required("read_only")?;
            done(args)?;
            operations.make_read_only(read_only).await?;
        }
        _ => {
            done(args)?;
            operations.demote_source().await?;
        }
    }
    Ok(Value::Null)
}

pub(super) async fn transactions(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let datastore = &operations.datastore;
    match method {
        "get_latest_txn_id" => {
            done(args)?;
            Ok(json!(datastore.latest_transaction().await?))
        }
        "wait_for_txn" => {
            let transaction: String = args.required("txn")?;
            done(args)?;
            operations.wait_for_txn(&transaction).await?;
            Ok(Value::Null)
        }
        _ => {
            done(args)?;
            let last = datastore.last_transaction().await?;
            Ok(json!([last.source, last.number]))
        }
    }
}
