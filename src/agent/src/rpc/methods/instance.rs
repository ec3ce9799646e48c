//! The guest, its server and their files.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::args::Flag;
use super::{Args, Context, Operations, Reply, done};
use crate::backups::BackupInfo;
use crate::modules::Wrapped;
use crate::operations::{LogAction, PrepareCall, TlsAction, rebuild_request};

pub(super) async fn prepare(operations: &Operations, mut args: Args, context: &Context) -> Reply {
    let call = PrepareCall::read(&mut args)?;
    args.ignore(&["device_path", "mount_point"]);
    done(args)?;
    operations.prepare(call, context).await?;
    Ok(Value::Null)
}

pub(super) async fn renew(
    operations: &Operations,
    method: &str,
    mut args: Args,
    context: &Context,
) -> Reply {
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

pub(super) async fn backup(
    operations: &Arc<Operations>,
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

pub(super) async fn logs(
    operations: &Operations,
    method: &str,
    mut args: Args,
    context: &Context,
) -> Reply {
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

pub(super) async fn modules(
    operations: &Operations,
    method: &str,
    mut args: Args,
    context: &Context,
) -> Reply {
    match method {
        "module_list" => {
            let contents: Option<Flag> = args.optional("include_contents")?;
            done(args)?;
            let contents = contents.is_some_and(Flag::is_set);
            Ok(operations.module_list(contents, context).await?)
        }
        "module_apply" => {
            let modules: Vec<Wrapped> = args.required("modules")?;
            done(args)?;
            let modules = modules.into_iter().map(Wrapped::into_inner).collect();
            Ok(operations.module_apply(modules).await?)
        }
        _ => {
            let module: Wrapped = args.required("module")?;
            done(args)?;
            operations.module_remove(&module.into_inner()).await?;
            Ok(Value::Null)
        }
    }
}

pub(super) async fn tls(operations: &Operations, method: &str, mut args: Args) -> Reply {
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

pub(super) async fn system(operations: &Operations, method: &str, mut args: Args) -> Reply {
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

pub(super) async fn lifecycle(operations: &Arc<Operations>, method: &str, mut args: Args) -> Reply {
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
            operations.update_overrides(&overrides, remove).await?;
        }
        _ => {
            let overrides = args.optional("overrides")?.unwrap_or_default();
            done(args)?;
            operations.apply_overrides(&overrides).await?;
        }
    }
    Ok(Value::Null)
}
