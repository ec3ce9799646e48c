//! The methods of the guest API: arguments in, operation, result out
//! (`trove/guestagent/api.py`; the control plane calls by these names).

use datastore::{Database, Error, Page, PageRequest, PasswordChange, Secret, User, UserAttributes};
use serde::Serialize;
use serde_json::{Value, json};

use super::args::{Args, ArgsError, Flag};
use super::context::Context;
use super::failure::CallError;
use crate::backups::BackupInfo;
use crate::operations::{
    LogAction, Operations, PrepareCall, ReplicaInfo, TlsAction, rebuild_request,
};

type Reply = Result<Value, CallError>;

/// Methods of the guest API that this release knows and cannot do.
const NOT_SUPPORTED: &[&str] = &[
    "get_txn_count",
    "cleanup_source_on_replica_detach",
    "module_list",
    "module_apply",
    "module_remove",
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
        "ssl_show" | "ssl_action" | "ssl_rollback" => tls(operations, method, args).await,
        "backup_required_for_replication"
        | "get_replication_snapshot"
        | "get_replica_context"
        | "attach_replica"
        | "attach_replication_slave"
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

async fn prepare(operations: &Operations, mut args: Args, context: &Context) -> Reply {
    let call = PrepareCall::read(&mut args)?;
    args.ignore(&["device_path", "mount_point"]);
    done(args)?;
    operations.prepare(call, context).await?;
    Ok(Value::Null)
}

async fn renew(operations: &Operations, method: &str, mut args: Args, context: &Context) -> Reply {
    match method {
        "rebuild" => {
            let request = rebuild_request(&mut args)?;
            done(args)?;
            operations.rebuild(request, context).await?;
            Ok(Value::Null)
        }
        "upgrade" => {
            #[derive(serde::Deserialize)]
            struct Upgrade {
                datastore_version: String,
            }
            let target: Upgrade = args.required("upgrade_info")?;
            done(args)?;
            operations
                .upgrade(&target.datastore_version, context)
                .await?;
            Ok(Value::Null)
        }
        // What it returns comes back with `upgrade`; nothing has to.
        "pre_upgrade" => {
            done(args)?;
            operations.expect_upgrade();
            Ok(json!({}))
        }
        _ => {
            args.ignore(&["upgrade_info"]);
            done(args).map(|()| Value::Null)
        }
    }
}

async fn backup(
    operations: &std::sync::Arc<Operations>,
    method: &str,
    mut args: Args,
    context: &Context,
) -> Reply {
    match method {
        "create_backup" => {
            let info: BackupInfo = args.required("backup_info")?;
            done(args)?;
            operations.create_backup(info, context).await?;
            Ok(Value::Null)
        }
        // Callers may send anything to these two, and nothing of it matters.
        "pre_create_backup" => Ok(json!(operations.pre_create_backup().await?)),
        _ => {
            operations.post_create_backup().await;
            Ok(json!({}))
        }
    }
}

async fn logs(operations: &Operations, method: &str, mut args: Args, context: &Context) -> Reply {
    if method == "guest_log_list" {
        done(args)?;
        return Ok(operations.log_list(context).await?);
    }
    let name: String = args.required("log_name")?;
    let mut flag = |name| {
        args.optional::<Flag>(name)
            .map(|flag| flag.is_some_and(Flag::is_set))
    };
    let action = LogAction {
        enable: flag("enable")?,
        disable: flag("disable")?,
        publish: flag("publish")?,
        discard: flag("discard")?,
    };
    done(args)?;
    Ok(operations.log_action(&name, action, context).await?)
}

async fn tls(operations: &Operations, method: &str, mut args: Args) -> Reply {
    if method == "ssl_action" {
        let flag = |flag: Option<Flag>| flag.is_some_and(Flag::is_set);
        let action = TlsAction {
            mode: args.optional("mode")?,
            material: args.optional("container")?,
            enable: flag(args.optional("enable")?),
            disable: flag(args.optional("disable")?),
        };
        done(args)?;
        return Ok(operations.tls_action(&action).await?);
    }
    done(args)?;
    match method {
        "ssl_show" => Ok(operations.tls_show().await?),
        _ => Ok(operations.tls_rollback().await?),
    }
}

async fn system(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let device = args.optional::<String>("device_path")?;
    let mount_point = args.optional::<String>("mount_point")?;
    let online = args.optional::<bool>("online")?.unwrap_or(false);
    // The one volume of this guest is meant, and it is always in fstab.
    args.ignore(&["fs_path", "write_to_fstab"]);
    done(args)?;
    let (device, mount_point) = (device.as_deref(), mount_point.as_deref());
    match method {
        "get_filesystem_stats" => return Ok(operations.filesystem_stats().await?),
        "get_hwinfo" => return Ok(operations.hwinfo()?),
        "get_diagnostics" => return Ok(operations.diagnostics().await?),
        "mount_volume" => operations.mount_volume(device, mount_point).await?,
        "unmount_volume" => operations.unmount_volume(device, mount_point).await?,
        _ => operations.resize_fs(device, mount_point, online).await?,
    }
    Ok(Value::Null)
}

async fn lifecycle(operations: &std::sync::Arc<Operations>, method: &str, mut args: Args) -> Reply {
    match method {
        "restart" => {
            done(args)?;
            operations.restart().await?;
        }
        "stop_db" => {
            // Since Victoria the server always stays down; older callers say so.
            args.ignore(&["do_not_start_on_reboot"]);
            done(args)?;
            operations.clone().stop_db().await?;
        }
        "start_db_with_conf_changes" => {
            let contents: String = args.required("config_contents")?;
            args.ignore(&["ds_version"]);
            done(args)?;
            operations.start_db_with_conf_changes(&contents).await?;
        }
        "reset_configuration" => {
            #[derive(serde::Deserialize)]
            struct Configuration {
                config_contents: String,
            }
            let configuration: Configuration = args.required("configuration")?;
            done(args)?;
            operations
                .reset_configuration(&configuration.config_contents)
                .await?;
        }
        "update_overrides" => {
            let overrides = args.optional("overrides")?.unwrap_or_default();
            let remove = args.optional("remove")?.unwrap_or(false);
            done(args)?;
            operations
                .datastore
                .update_overrides(&overrides, remove)
                .await?;
        }
        _ => {
            let overrides = args.optional("overrides")?.unwrap_or_default();
            done(args)?;
            operations.datastore.apply_overrides(&overrides).await?;
        }
    }
    Ok(Value::Null)
}

async fn replication(
    operations: &Operations,
    method: &str,
    mut args: Args,
    context: &Context,
) -> Reply {
    match method {
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
        "attach_replica" | "attach_replication_slave" => {
            let name = match method {
                "attach_replica" => "replica_info",
                _ => "snapshot",
            };
            let info: ReplicaInfo = args.required(name)?;
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

async fn transactions(operations: &Operations, method: &str, mut args: Args) -> Reply {
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

async fn databases(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let datastore = &operations.datastore;
    match method {
        "create_database" => {
            let databases: Vec<Database> = args.required("databases")?;
            done(args)?;
            let _turn = operations.turns.change("create_database").await?;
            datastore.create_databases(&databases).await?;
            Ok(Value::Null)
        }
        "list_databases" => {
            let page = page_request(&mut args)?;
            done(args)?;
            Ok(page_reply(datastore.list_databases(&page).await?))
        }
        _ => {
            let database: Database = args.required("database")?;
            done(args)?;
            let _turn = operations.turns.change("delete_database").await?;
            datastore.delete_database(&database).await?;
            Ok(Value::Null)
        }
    }
}

async fn users(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let datastore = &operations.datastore;
    match method {
        "create_user" => {
            let users: Vec<User> = args.required("users")?;
            done(args)?;
            let _turn = operations.turns.change("create_user").await?;
            datastore.create_users(&users).await?;
        }
        "list_users" => {
            let page = page_request(&mut args)?;
            done(args)?;
            return Ok(page_reply(datastore.list_users(&page).await?));
        }
        "delete_user" => {
            let user: User = args.required("user")?;
            done(args)?;
            let _turn = operations.turns.change("delete_user").await?;
            datastore.delete_user(&user).await?;
        }
        "get_user" => {
            let (name, host) = account(&mut args)?;
            done(args)?;
            return Ok(json!(datastore.get_user(&name, host.as_deref()).await?));
        }
        "update_attributes" => {
            let (name, host) = account(&mut args)?;
            let attributes: UserAttributes = args.required("user_attrs")?;
            done(args)?;
            let _turn = operations.turns.change("update_attributes").await?;
            datastore
                .update_attributes(&name, host.as_deref(), &attributes)
                .await?;
        }
        _ => {
            let changes: Vec<PasswordChange> = args.required("users")?;
            done(args)?;
            let _turn = operations.turns.change("change_passwords").await?;
            datastore.change_passwords(&changes).await?;
        }
    }
    Ok(Value::Null)
}

async fn access(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let datastore = &operations.datastore;
    let (name, host) = account(&mut args)?;
    let host = host.as_deref();
    match method {
        "grant_access" => {
            let databases: Vec<String> = args.required("databases")?;
            done(args)?;
            let _turn = operations.turns.change("grant_access").await?;
            datastore.grant_access(&name, host, &databases).await?;
            Ok(Value::Null)
        }
        "revoke_access" => {
            let database: String = args.required("database")?;
            done(args)?;
            let _turn = operations.turns.change("revoke_access").await?;
            datastore.revoke_access(&name, host, &database).await?;
            Ok(Value::Null)
        }
        _ => {
            done(args)?;
            Ok(json!(datastore.list_access(&name, host).await?))
        }
    }
}

async fn root(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let datastore = &operations.datastore;
    let password = args.optional::<Secret>("root_password")?;
    done(args)?;
    match method {
        "is_root_enabled" => Ok(json!(datastore.is_root_enabled().await?)),
        "disable_root" => {
            let _turn = operations.turns.change("disable_root").await?;
            datastore.disable_root().await?;
            Ok(Value::Null)
        }
        _ => {
            let _turn = operations.turns.change("enable_root").await?;
            Ok(json!(datastore.enable_root(password.as_ref()).await?))
        }
    }
}

fn account(args: &mut Args) -> Result<(String, Option<String>), ArgsError> {
    Ok((args.required("username")?, args.optional("hostname")?))
}

fn page_request(args: &mut Args) -> Result<PageRequest, ArgsError> {
    Ok(PageRequest {
        limit: args.optional("limit")?,
        marker: args.optional("marker")?,
        include_marker: args.optional("include_marker")?.unwrap_or(false),
    })
}

fn page_reply<T: Serialize>(page: Page<T>) -> Value {
    json!([page.items, page.next_marker])
}

fn done(args: Args) -> Result<(), CallError> {
    args.finish();
    Ok(())
}
