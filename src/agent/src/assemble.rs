//! From settings to the parts they describe.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use datastore::{Datastore, TlsMode};
use guest::{Account, FsType, VolumeSpec};
use mysql_family::Layout;
use oslo_config::Value;
use oslo_messaging::{RabbitOptions, TransportConfig, TransportUrl};
use secrecy::ExposeSecret;
use tracing::level_filters::LevelFilter;
use uuid::Uuid;

use crate::config::{DatastoreManager, Settings};
use crate::host::HostSpec;
use crate::isolation::Isolation;
use crate::logging::LogSpec;
use crate::modules::{Drivers, Modules, Store};

/// Where images have the programs that apply further types of modules.
const MODULE_DRIVERS: &str = "/usr/local/lib/trove-guestagent/modules";

/// Parts that only a bad configuration can refuse; made once at start, so that
/// such a refusal ends the process like any other configuration error.
pub struct Assembly {
    /// The broker connection.
    pub transport: TransportConfig,
    /// The one datastore of this guest.
    pub datastore: Arc<dyn Datastore>,
}

/// Makes them.
///
/// # Errors
/// When options contradict one another.
pub fn assemble(settings: &Settings) -> Result<Assembly> {
    Ok(Assembly {
        transport: transport(settings)?,
        datastore: datastore(settings),
    })
}

fn transport(settings: &Settings) -> Result<TransportConfig> {
    let url = TransportUrl::parse(settings.transport_url.expose_secret(), |name| {
        RabbitOptions::canonical_name(name).is_some()
    })
    .context("[DEFAULT] transport_url")?;
    let mut options = RabbitOptions::default();
    for name in oslo_messaging::OPTION_NAMES {
        if let Some(text) = settings.rabbit_option(name).and_then(text) {
            options
                .set(name, &text)
                .context("[oslo_messaging_rabbit]")?;
        }
    }
    // The URL's query wins over the section.
    for (name, value) in &url.overrides {
        options
            .set(name, value)
            .context("query of [DEFAULT] transport_url")?;
    }
    options.validate().context("[oslo_messaging_rabbit]")?;
    let name = format!("trove-guestagent:{}:{}", std::process::id(), Uuid::new_v4());
    Ok(TransportConfig::new(url, options, name))
}

/// A value as its option would be written; negative numbers mean "off".
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Str(text) if text.is_empty() => None,
        Value::Str(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Int(number) => Some(number.max(&0).to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

fn datastore(settings: &Settings) -> Arc<dyn Datastore> {
    let family = || mysql_family::Settings {
        layout: Layout::new(&settings.volume.mount_point),
        account: account(settings),
        unit: unit_name(settings).to_owned(),
        ignore_users: settings.ignore_users.clone(),
        ignore_dbs: settings.ignore_dbs.clone(),
        root_grant: settings.root_grant.clone(),
        root_grant_option: settings.root_grant_option,
        hostname_require_valid_ip: settings.hostname_require_valid_ip,
        default_password_length: settings.default_password_length,
        long_query_time: settings.guest_log.long_query_time,
        tls: tls_mode(settings),
        clone_replicas: settings.clone_replicas,
        state_change_wait_time: settings.state_change_wait_time,
        state_change_poll_time: settings.state_change_poll_time,
        state_healthy_counts: settings.state_healthy_counts,
    };
    match settings.datastore_manager {
        DatastoreManager::Mysql => Arc::new(mysql::datastore(family())),
        DatastoreManager::Mariadb => Arc::new(mariadb::datastore(family())),
        DatastoreManager::Postgresql => Arc::new(postgresql::datastore(postgresql(settings))),
    }
}

fn postgresql(settings: &Settings) -> postgresql::Settings {
    postgresql::Settings {
        instance: settings.guest_id.clone(),
        layout: postgresql::Layout::new(&settings.volume.mount_point),
        account: account(settings),
        agent_account: "root".to_owned(),
        unit: unit_name(settings).to_owned(),
        port: settings.postgresql_port,
        tls: tls_mode(settings),
        ignore_users: settings.ignore_users.clone(),
        ignore_dbs: settings.ignore_dbs.clone(),
        default_password_length: settings.default_password_length,
        long_query_time: settings.guest_log.long_query_time,
        state_change_wait_time: settings.state_change_wait_time,
        state_change_poll_time: settings.state_change_poll_time,
        state_healthy_counts: settings.state_healthy_counts,
        clean_wal_archive: settings.enable_clean_wal_archives,
        increments: match settings.native_increments {
            true => postgresql::Increments::Blocks,
            false => postgresql::Increments::Wal,
        },
    }
}

/// What is demanded of clients, as it was when the agent started. Trove writes
/// `None` for nothing.
pub fn tls_mode(settings: &Settings) -> Option<TlsMode> {
    [TlsMode::Basic, TlsMode::Enforced, TlsMode::Mtls]
        .into_iter()
        .find(|mode| settings.ssl_mode.as_deref() == Some(mode.name()))
}

/// Name of the database server's systemd unit.
pub fn unit_name(settings: &Settings) -> &'static str {
    match settings.datastore_manager {
        // Distributions have a postgresql.service for something else.
        DatastoreManager::Postgresql => "trove-postgresql",
        manager => manager.as_str(),
    }
}

/// The account of the database server.
pub fn account(settings: &Settings) -> Account {
    let account = &settings.service_account;
    Account {
        name: account.name.clone(),
        uid: account.uid,
        gid: account.gid,
    }
}

/// The data volume.
pub fn volume(settings: &Settings) -> VolumeSpec {
    let volume = &settings.volume;
    VolumeSpec {
        device: volume.device_path.clone(),
        mount_point: volume.mount_point.clone(),
        fstype: match volume.fstype.as_str() {
            "ext3" => FsType::Ext3,
            "xfs" => FsType::Xfs,
            _ => FsType::Ext4,
        },
        format_options: volume.format_options.clone(),
        mount_options: volume.mount_options.clone(),
        format_timeout: volume.format_timeout,
        command_timeout: settings.command_process_timeout,
        num_tries: volume.num_tries,
    }
}

/// The modules of this guest.
pub fn modules(settings: &Settings) -> Modules {
    Modules::new(
        Store::on(volume(settings), &settings.guest_info),
        Drivers::new(&settings.module_types, MODULE_DRIVERS),
        settings.datastore_manager.as_str(),
    )
}

/// What the host must have.
pub fn host(settings: &Settings) -> HostSpec {
    HostSpec {
        account: account(settings),
        volume: volume(settings),
        isolation: Isolation::of(settings),
    }
}

/// Where log lines go. Standard error is always among it: the journal is where
/// operators look first.
pub fn log(settings: &Settings) -> LogSpec {
    let level = match settings.log.level {
        Some("trace") => LevelFilter::TRACE,
        Some("debug") => LevelFilter::DEBUG,
        Some("warn") => LevelFilter::WARN,
        Some("error") => LevelFilter::ERROR,
        Some(_) => LevelFilter::INFO,
        None if settings.log.debug => LevelFilter::DEBUG,
        None => LevelFilter::INFO,
    };
    LogSpec {
        level,
        file: settings.log.path(),
    }
}
