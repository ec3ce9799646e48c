//! The methods of the guest API: arguments in, operation, result out
//! (`trove/guestagent/api.py`; the control plane calls by these names).

mod accounts;
mod instance;
mod replication;

use datastore::Error;
use serde_json::{Value, json};

use self::accounts::{access, databases, root, users};
use self::instance::{backup, lifecycle, logs, modules, prepare, renew, system, tls};
use self::replication::{replication, transactions};
use super::args::{Args, ArgsError};
use super::context::Context;
use super::failure::CallError;
use crate::operations::Operations;

type Reply = Result<Value, CallError>;

/// Methods of the guest API that this release knows and cannot do.
const NOT_SUPPORTED: &[&str] = &[
    // Callers have it, and no guest ever had: replicas are made by `prepare`.
    "attach_replication_slave",
    "get_txn_count",
    "cleanup_source_on_replica_detach",
    "get_root_password",
    "update_guest",
    "cluster_complete",
];

/// Casts whose end completes a notification. `prepare` reports its own.
pub fn notifies(method: &str) -> bool {
    matches!(
        method,
        "create_database"
            | "delete_database"
            | "create_user"
            | "delete_user"
            | "update_attributes"
            | "change_passwords"
            | "create_backup"
    )
}

/// Reads, which are answered even when every worker is busy with something long.
pub fn quick(method: &str) -> bool {
    routine(method)
        || matches!(
            method,
            "list_access" | "get_hwinfo" | "get_diagnostics" | "is_root_enabled"
        )
}

/// Calls too frequent to be worth a line each.
pub fn routine(method: &str) -> bool {
    matches!(
        method,
        "rpc_ping" | "get_filesystem_stats" | "get_user" | "list_users" | "list_databases"
    )
}

/// Runs one method.
///
/// # Errors
/// [`CallError`] says whose fault it is.
pub async fn call(
    operations: &std::sync::Arc<Operations>,
    method: &str,
    args: Args,
    context: &Context,
) -> Reply {
    match method {
        "rpc_ping" => done(args).map(|()| json!(true)),
        "prepare" => prepare(operations, args, context).await,
        "rebuild" | "upgrade" | "pre_upgrade" | "post_upgrade" => {
            renew(operations, method, args, context).await
        }
        "create_backup" | "pre_create_backup" | "post_create_backup" => {
            backup(operations, method, args, context).await
        }
        "guest_log_list" | "guest_log_action" => logs(operations, method, args, context).await,
        "module_list" | "module_apply" | "module_remove" => {
            modules(operations, method, args, context).await
        }
        "ssl_show" | "ssl_action" | "ssl_rollback" => tls(operations, method, args).await,
        "backup_required_for_replication"
        | "get_replication_snapshot"
        | "get_replica_context"
        | "attach_replica"
        | "detach_replica"
        | "enable_as_master"
        | "demote_replication_master"
        | "make_read_only" => replication(operations, method, args, context).await,
        "get_latest_txn_id" | "wait_for_txn" | "get_last_txn" => {
            transactions(operations, method, args).await
        }
        "get_filesystem_stats"
        | "get_hwinfo"
        | "get_diagnostics"
        | "mount_volume"
        | "unmount_volume"
        | "resize_fs" => system(operations, method, args).await,
        "restart"
        | "stop_db"
        | "start_db_with_conf_changes"
        | "reset_configuration"
        | "update_overrides"
        | "apply_overrides" => lifecycle(operations, method, args).await,
        "create_database" | "list_databases" | "delete_database" => {
            databases(operations, method, args).await
        }
        "create_user" | "list_users" | "delete_user" | "get_user" | "update_attributes"
        | "change_passwords" => users(operations, method, args).await,
        "grant_access" | "revoke_access" | "list_access" => access(operations, method, args).await,
        "enable_root" | "enable_root_with_password" | "disable_root" | "is_root_enabled" => {
            root(operations, method, args).await
        }
        _ if NOT_SUPPORTED.contains(&method) => Err(Error::not_supported(method).into()),
        _ => Err(CallError::NoSuchMethod),
    }
}

fn done(args: Args) -> Result<(), CallError> {
    args.finish();
    Ok(())
}
