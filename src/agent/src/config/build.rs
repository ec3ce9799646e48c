//! Fills the [`Settings`] from options, with the rules that span several of
//! them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oslo_config::Config;
use secrecy::SecretString;

use super::options::Row;
use super::rabbit::RabbitValues;
use super::reader::Reader;
use super::settings::{
    BackupSettings, CompressionKind, DatastoreManager, GuestLogSettings, LogSettings, S3Settings,
    ServiceAccount, Settings, VolumeSettings,
};
use super::{ConfigError, Problem, rabbit, shell};

/// Reads and checks all settings.
pub(super) fn build(config: &Config, rows: &[Row]) -> Result<Settings, ConfigError> {
    let mut reader = Reader::new(config);
    let manager = manager(&mut reader);
    reader.validate(rows, manager);
    let settings = read(
        &mut reader,
        manager.unwrap_or(DatastoreManager::Mysql),
        manager.is_some(),
    );
    if reader.problems.is_empty() {
        Ok(settings)
    } else {
        Err(ConfigError {
            problems: reader.problems,
        })
    }
}

const D: &str = "DEFAULT";
const OWN: &str = "guest_agent";

/// The datastore: by name, or else by datastore_registry_ext. A rebuild injects
/// the datastore's display name as datastore_manager, but the right key into
/// datastore_registry_ext; and a site may register a class under its own name.
fn manager(reader: &mut Reader<'_>) -> Option<DatastoreManager> {
    let Some(name) = reader.optional(D, "datastore_manager") else {
        not_injected(reader, "datastore_manager");
        return None;
    };
    let known = DatastoreManager::named(&name).or_else(|| {
        let registry = reader.value(D, "datastore_registry_ext")?;
        let pairs = registry.as_dict()?;
        let own = pairs.iter().find(|(key, _)| *key == name);
        let only = if pairs.len() == 1 {
            pairs.first()
        } else {
            None
        };
        let (key, class) = own.or(only)?;
        DatastoreManager::named(key).or_else(|| DatastoreManager::of_class(class))
    });
    if known.is_none() {
        let origin = reader.origin(D, "datastore_manager");
        reader.problems.push(Problem::UnknownDatastore {
            origin,
            value: name,
        });
    }
    known
}

fn not_injected(reader: &mut Reader<'_>, option: &'static str) {
    // A bad value has been or will be reported as such.
    if reader
        .config
        .get(D, option)
        .is_some_and(|resolved| resolved.is_err())
    {
        return;
    }
    let guest_info = guest_info(reader);
    let read = reader.config.files().map(Path::to_owned).collect();
    reader.problems.push(Problem::NotInjected {
        option,
        guest_info,
        read,
    });
}

/// `guest_info` with a slash is a path, without one a name in
/// `injected_config_location` (`trove/instance/models.py`).
fn guest_info(reader: &Reader<'_>) -> PathBuf {
    let guest_info = reader.text(D, "guest_info");
    if guest_info.contains('/') {
        PathBuf::from(guest_info)
    } else {
        Path::new(&reader.text(D, "injected_config_location")).join(guest_info)
    }
}

fn read(r: &mut Reader<'_>, manager: DatastoreManager, known: bool) -> Settings {
    let section = manager.as_str();
    let (volume, service_account) = if known {
        (volume(r, section), service_account(r, section))
    } else {
        (
            unknown_volume(),
            ServiceAccount {
                name: String::new(),
                uid: 0,
                gid: 0,
            },
        )
    };
    let section_replication_strategy = r.text(section, "replication_strategy");
    Settings {
        guest_id: guest_id(r),
        datastore_manager: manager,
        datastore_version: r.optional(D, "datastore_version"),
        tenant_id: r.optional(D, "tenant_id"),
        rpc_key: r.secret(D, "instance_rpc_encr_key"),
        allow_clear_text_rpc: r.flag(OWN, "allow_clear_text_rpc"),
        transport_url: SecretString::from(r.text(D, "transport_url")),
        control_exchange: name(r, "control_exchange"),
        conductor_queue: name(r, "conductor_queue"),
        rabbit: rabbit_values(r),
        executor_thread_pool_size: r.number(D, "executor_thread_pool_size"),
        rpc_ping_enabled: r.flag(D, "rpc_ping_enabled"),
        report_interval: Some(r.seconds(D, "report_interval")).filter(|time| !time.is_zero()),
        state_change_wait_time: r.seconds(D, "state_change_wait_time"),
        state_change_poll_time: r.seconds(D, "state_change_poll_time"),
        state_healthy_counts: r.number(D, "state_healthy_counts"),
        command_process_timeout: r.seconds(D, "command_process_timeout"),
        volume,
        service_account,
        root_grant: r.list(D, "root_grant"),
        root_grant_option: r.flag(D, "root_grant_option"),
        ignore_users: r.list(section, "ignore_users"),
        ignore_dbs: r.list(section, "ignore_dbs"),
        hostname_require_valid_ip: r.flag(D, "hostname_require_valid_ip"),
        default_password_length: password_length(r, section),
        replication_strategy: r
            .optional(D, "replication_strategy")
            .and_then(|path| path.rsplit('.').next().map(str::to_owned))
            .unwrap_or_else(|| section_replication_strategy.clone()),
        section_replication_strategy,
        ssl_mode: r.optional(D, "ssl_mode").map(|mode| mode.to_lowercase()),
        network_isolation: r.flag(D, "network_isolation"),
        postgresql_port: r.number("postgresql", "postgresql_port"),
        enable_clean_wal_archives: r.flag("postgresql", "enable_clean_wal_archives"),
        native_increments: r.text("postgresql", "backup_incremental") == "native",
        clone_replicas: manager == DatastoreManager::Mysql
            && r.text("mysql", "replica_provisioning") == "clone",
        backup: backup(r, section),
        guest_log: guest_log(r, section),
        module_types: r.list(D, "module_types"),
        log: log(r),
        injected_config_location: r.path(D, "injected_config_location"),
        guest_info: guest_info(r),
        state_path: r.path(OWN, "state_path"),
    }
}

fn guest_id(r: &mut Reader<'_>) -> String {
    let Some(id) = r.optional(D, "guest_id") else {
        not_injected(r, "guest_id");
        return String::new();
    };
    if id.contains(|c: char| c.is_control() || c.is_whitespace() || c == '/') {
        r.refuse(
            D,
            "guest_id",
            "an instance id without white space and slashes",
        );
    }
    id
}

/// A name of an exchange or a topic; AMQP allows 255 bytes.
fn name(r: &mut Reader<'_>, option: &str) -> String {
    let name = r.text(D, option);
    let valid = !name.is_empty() && name.len() <= 255;
    if !valid {
        r.refuse(D, option, "a name of 1 to 255 bytes");
    }
    name
}

fn volume(r: &mut Reader<'_>, section: &str) -> VolumeSettings {
    let mount_options = r.text(D, "mount_options");
    if mount_options.contains(|c: char| c.is_whitespace() || c.is_control()) {
        r.refuse(
            D,
            "mount_options",
            "options separated by commas, without white space",
        );
    }
    let format_options = shell::split(&r.text(D, "format_options")).unwrap_or_else(|| {
        r.refuse(D, "format_options", "arguments with every quote closed");
        Vec::new()
    });
    VolumeSettings {
        device_path: r.path(section, "device_path"),
        mount_point: r.path(section, "mount_point"),
        fstype: r.text(D, "volume_fstype"),
        format_options,
        format_timeout: r.seconds(D, "volume_format_timeout"),
        mount_options,
        num_tries: r.number(D, "num_tries"),
    }
}

fn unknown_volume() -> VolumeSettings {
    VolumeSettings {
        device_path: PathBuf::new(),
        mount_point: PathBuf::new(),
        fstype: String::new(),
        format_options: Vec::new(),
        format_timeout: Duration::ZERO,
        mount_options: String::new(),
        num_tries: 0,
    }
}

/// uid: the section's, else `[DEFAULT]`'s; gid: the section's, else the uid
/// (`trove/cmd/guest.py`). Empty text counts as absent.
fn service_account(r: &mut Reader<'_>, section: &str) -> ServiceAccount {
    let name = r.text(section, "database_service_uname");
    if !is_account_name(&name) {
        r.refuse(
            section,
            "database_service_uname",
            "an account name: a lower-case letter or _, then up to 31 lower-case letters, digits, - or _",
        );
    }
    let uid_group = if r.optional(section, "database_service_uid").is_some() {
        section
    } else {
        D
    };
    let uid = id(r, uid_group, "database_service_uid");
    let own_gid = r.optional(section, "database_service_gid").is_some();
    let gid = if own_gid {
        id(r, section, "database_service_gid")
    } else {
        uid
    };
    ServiceAccount { name, uid, gid }
}

/// The names useradd(8) of shadow accepts everywhere.
fn is_account_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    first && name.len() <= 32 && name.chars().all(rest)
}

fn id(r: &mut Reader<'_>, group: &str, option: &str) -> u32 {
    // 4294967295 is -1, "leave as it is", in chown(2).
    let id = r
        .text(group, option)
        .trim()
        .parse()
        .ok()
        .filter(|id| (1..u32::MAX).contains(id));
    if id.is_none() {
        r.refuse(group, option, "a user or group id from 1 to 4294967294");
    }
    id.unwrap_or_default()
}

/// An empty value in `[mariadb]` has a reference for its default.
fn password_length(r: &Reader<'_>, section: &str) -> usize {
    match r.number(section, "default_password_length") {
        0 => r.number("mysql", "default_password_length"),
        length => length,
    }
}

fn rabbit_values(r: &Reader<'_>) -> RabbitValues {
    let names = rabbit::OPTIONS
        .iter()
        .map(|row| (row.opt.group, row.opt.name));
    let values = names.filter_map(|(group, name)| Some((name, r.value(group, name)?)));
    RabbitValues(values.collect::<BTreeMap<_, _>>())
}

fn backup(r: &Reader<'_>, section: &str) -> BackupSettings {
    BackupSettings {
        storage_strategy: r.text(D, "storage_strategy"),
        strategy: r.text(section, "backup_strategy"),
        swift_container: r.text(D, "backup_swift_container"),
        aes_cbc_key: r.secret(D, "backup_aes_cbc_key"),
        swift_url: r.optional(D, "swift_url"),
        swift_service_type: r.text(D, "swift_service_type"),
        swift_endpoint_type: r.text(D, "swift_endpoint_type"),
        swift_api_insecure: r.flag(D, "swift_api_insecure"),
        region_name: r.text("service_credentials", "region_name"),
        auth_url: r.optional("service_credentials", "auth_url"),
        ca_file: r.optional(OWN, "object_store_ca_file").map(PathBuf::from),
        tries: r.number(OWN, "object_store_tries"),
        compression: match r.text(OWN, "backup_compression").as_str() {
            "zstd" => CompressionKind::Zstd,
            "none" => CompressionKind::None,
            _ => CompressionKind::Gzip,
        },
        compression_level: r.number(OWN, "backup_compression_level"),
        threads: r.number(OWN, "backup_threads"),
        uploads: r.number(OWN, "backup_uploads"),
        bandwidth: r.number(OWN, "backup_bandwidth"),
        passphrase: r.secret(OWN, "backup_encryption_passphrase"),
        directory: r.optional(OWN, "backup_directory").map(PathBuf::from),
        s3: S3Settings {
            endpoint: r.optional(OWN, "s3_endpoint"),
            region: r.text(OWN, "s3_region"),
            path_style: r.flag(OWN, "s3_path_style"),
            access_key: r.optional(OWN, "s3_access_key"),
            secret_key: r.secret(OWN, "s3_secret_key"),
        },
    }
}

fn guest_log(r: &Reader<'_>, section: &str) -> GuestLogSettings {
    let exposed = r.list(section, "guest_log_exposed_logs");
    GuestLogSettings {
        container_name: r.text(D, "guest_log_container_name"),
        limit: r.number(D, "guest_log_limit"),
        expiry: r.seconds(D, "guest_log_expiry"),
        // Before Trove 26 blanks separated the names as well.
        exposed_logs: exposed
            .iter()
            .flat_map(|names| names.split_whitespace())
            .map(str::to_lowercase)
            .collect(),
        long_query_time: Duration::from_millis(r.number(section, "guest_log_long_query_time")),
    }
}

fn log(r: &Reader<'_>) -> LogSettings {
    let level = r
        .optional(OWN, "log_level")
        .map(|level| level.to_lowercase());
    LogSettings {
        debug: r.flag(D, "debug"),
        level: level.and_then(|level| match level.as_str() {
            "trace" => Some("trace"),
            "debug" => Some("debug"),
            "info" => Some("info"),
            "warn" | "warning" => Some("warn"),
            "error" => Some("error"),
            _ => None,
        }),
        dir: r.optional(D, "log_dir").map(PathBuf::from),
        file: r.optional(D, "log_file").map(PathBuf::from),
        use_stderr: r.flag(D, "use_stderr"),
    }
}
