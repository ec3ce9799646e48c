//! The typed settings the agent runs by.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use oslo_config::Value;
use secrecy::SecretString;

use super::rabbit::RabbitValues;

/// A datastore that Trove's configuration has a section for and whose guests
/// this agent can read the configuration of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatastoreManager {
    /// `[mysql]`
    Mysql,
    /// `[mariadb]`
    Mariadb,
    /// `[postgresql]`
    Postgresql,
}

impl DatastoreManager {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Mysql, Self::Mariadb, Self::Postgresql];

    /// The name in the configuration, which is also that of the section.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
            Self::Postgresql => "postgresql",
        }
    }

    /// All names, for messages.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|manager| manager.as_str() == name)
    }

    /// The datastore of a manager class of Trove, such as
    /// `trove.guestagent.datastore.postgres.manager.PostgresManager`.
    pub(super) fn of_class(class: &str) -> Option<Self> {
        match class
            .strip_prefix("trove.guestagent.datastore.")?
            .split('.')
            .next()?
        {
            "postgres" => Some(Self::Postgresql),
            module => Self::named(module),
        }
    }
}

impl fmt::Display for DatastoreManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything the agent needs to know. Bad values never get here.
#[derive(Debug, Clone)]
#[allow(
    dead_code,
    reason = "options are checked before the operations that use them exist"
)]
pub(crate) struct Settings {
    /// Name of the guest in queues and towards the conductor.
    pub(crate) guest_id: String,
    /// The datastore to run.
    pub(crate) datastore_manager: DatastoreManager,
    /// Version number at create, possibly a version name after a rebuild.
    pub(crate) datastore_version: Option<String>,
    /// Project of the instance.
    pub(crate) tenant_id: Option<String>,
    /// Key of secure RPC; without one, RPC is in clear text.
    pub(crate) rpc_key: Option<SecretString>,
    /// Whether clear text requests are executed although there is a key.
    pub(crate) allow_clear_text_rpc: bool,
    /// Broker addresses and credentials, as oslo.messaging writes them.
    pub(crate) transport_url: SecretString,
    /// Exchange of requests; must be the control plane's.
    pub(crate) control_exchange: String,
    /// Topic of the conductor.
    pub(crate) conductor_queue: String,
    /// `[oslo_messaging_rabbit]`.
    pub(crate) rabbit: RabbitValues,
    /// How many requests may run at once.
    pub(crate) executor_thread_pool_size: usize,
    /// Whether oslo.messaging's own ping is answered.
    pub(crate) rpc_ping_enabled: bool,
    /// Time between heartbeats; `None` turns periodic work off.
    pub(crate) report_interval: Option<Duration>,
    /// Longest wait for the server to start or stop.
    pub(crate) state_change_wait_time: Duration,
    /// Time between two looks at the server meanwhile.
    pub(crate) state_change_poll_time: Duration,
    /// Good looks in a row that make a server healthy.
    pub(crate) state_healthy_counts: u32,
    /// Longest run of a short command.
    pub(crate) command_process_timeout: Duration,
    /// The data volume.
    pub(crate) volume: VolumeSettings,
    /// Who the database server runs as.
    pub(crate) service_account: ServiceAccount,
    /// Privileges of the enabled root user.
    pub(crate) root_grant: Vec<String>,
    /// Whether that user may grant them.
    pub(crate) root_grant_option: bool,
    /// Users hidden from lists and refused in requests.
    pub(crate) ignore_users: Vec<String>,
    /// Databases hidden from lists and refused in requests.
    pub(crate) ignore_dbs: Vec<String>,
    /// Whether a user's host must be an address or `%`.
    pub(crate) hostname_require_valid_ip: bool,
    /// Characters of generated passwords, from 1.
    pub(crate) default_password_length: usize,
    /// Class name that attach_replica and snapshots compare: the section's.
    pub(crate) section_replication_strategy: String,
    /// Class name of the strategy to use: the last part of guest_info.conf's
    /// class path, or else the section's.
    pub(crate) replication_strategy: String,
    /// TLS mode at rebuild: basic, enforced or mtls.
    pub(crate) ssl_mode: Option<String>,
    /// Whether the user's port belongs to the database alone.
    pub(crate) network_isolation: bool,
    /// Port of PostgreSQL.
    pub(crate) postgresql_port: u16,
    /// Whether old WAL is cleaned up periodically.
    pub(crate) enable_clean_wal_archives: bool,
    /// Whether incremental backups of PostgreSQL are made of changed blocks,
    /// which upstream's agent cannot restore; `[postgresql] backup_incremental`
    /// says `native` or `wal`.
    pub(crate) native_increments: bool,
    /// Whether replicas of MySQL are cloned from their source; `[mysql]
    /// replica_provisioning` says `clone` or `snapshot`.
    pub(crate) clone_replicas: bool,
    /// Backups and the object store.
    pub(crate) backup: BackupSettings,
    /// Published database logs.
    pub(crate) guest_log: GuestLogSettings,
    /// Module drivers that may be applied.
    pub(crate) module_types: Vec<String>,
    /// The agent's own log.
    pub(crate) log: LogSettings,
    /// Directory of injected files.
    pub(crate) injected_config_location: PathBuf,
    /// guest_info.conf with its directory.
    pub(crate) guest_info: PathBuf,
    /// Directory of what the agent remembers across restarts.
    pub(crate) state_path: PathBuf,
}

impl Settings {
    /// The value of an option of `[oslo_messaging_rabbit]`; `None` when unset.
    pub(crate) fn rabbit_option(&self, name: &str) -> Option<&Value> {
        self.rabbit.get(name)
    }
}

/// The data volume and how it is formatted and mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeSettings {
    /// Block device.
    pub(crate) device_path: PathBuf,
    /// Where it is mounted.
    pub(crate) mount_point: PathBuf,
    /// ext3, ext4 or xfs.
    pub(crate) fstype: String,
    /// Arguments of mkfs.
    pub(crate) format_options: Vec<String>,
    /// Longest run of mkfs.
    pub(crate) format_timeout: Duration,
    /// Options of mount(8), comma separated, without white space.
    pub(crate) mount_options: String,
    /// How often the device is looked for, from 1.
    pub(crate) num_tries: u32,
}

/// The operating system account of the database server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceAccount {
    /// User and group name.
    pub(crate) name: String,
    /// User id, never root's.
    pub(crate) uid: u32,
    /// Group id, never root's.
    pub(crate) gid: u32,
}

/// Where backups go when the request doesn't say.
#[derive(Debug, Clone)]
#[allow(
    dead_code,
    reason = "options are checked before the operations that use them exist"
)]
pub(crate) struct BackupSettings {
    /// Default storage driver, `swift` or `cinder`.
    pub(crate) storage_strategy: String,
    /// Driver for this datastore.
    pub(crate) strategy: String,
    /// Container of backups.
    pub(crate) swift_container: String,
    /// Key of backups encrypted by old releases.
    pub(crate) aes_cbc_key: Option<SecretString>,
    /// Object store URL ending in `AUTH_`.
    pub(crate) swift_url: Option<String>,
    /// Catalogue type of the object store.
    pub(crate) swift_service_type: String,
    /// Catalogue interface of the object store.
    pub(crate) swift_endpoint_type: String,
    /// Whether certificates of the object store go unchecked.
    pub(crate) swift_api_insecure: bool,
    /// Region of the object store.
    pub(crate) region_name: String,
    /// Keystone, set by operators before Trove 26.
    pub(crate) auth_url: Option<String>,
    /// Authorities of object stores and Keystone.
    pub(crate) ca_file: Option<PathBuf>,
    /// How often a request to an object store is made, from 1.
    pub(crate) tries: u32,
    /// How new backups are compressed.
    pub(crate) compression: CompressionKind,
    /// 0 chooses.
    pub(crate) compression_level: u8,
    /// Blocks compressed at once; 0 is one for each core.
    pub(crate) threads: usize,
    /// Parts sent at once, from 1.
    pub(crate) uploads: usize,
    /// Bytes per second; 0 is no limit.
    pub(crate) bandwidth: u64,
    /// Key of new backups.
    pub(crate) passphrase: Option<SecretString>,
    /// Root of the storage driver `local`.
    pub(crate) directory: Option<PathBuf>,
    /// The storage driver `s3`.
    pub(crate) s3: S3Settings,
}

/// How backups are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompressionKind {
    /// gzip, which upstream can restore.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Not at all.
    None,
}

/// An S3 service and the account in it.
#[derive(Debug, Clone)]
pub(crate) struct S3Settings {
    /// URL.
    pub(crate) endpoint: Option<String>,
    /// Region for signatures.
    pub(crate) region: String,
    /// Whether the bucket is in the path.
    pub(crate) path_style: bool,
    /// Access key id.
    pub(crate) access_key: Option<String>,
    /// Secret access key.
    pub(crate) secret_key: Option<SecretString>,
}

/// Published logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestLogSettings {
    /// Container.
    pub(crate) container_name: String,
    /// Largest chunk in bytes.
    pub(crate) limit: u64,
    /// Lifetime of the objects.
    pub(crate) expiry: Duration,
    /// Names of logs, lower case, that users may publish; `all` means all.
    pub(crate) exposed_logs: Vec<String>,
    /// Statements slower than this are in the slow query log.
    pub(crate) long_query_time: Duration,
}

/// The agent's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    dead_code,
    reason = "options are checked before the operations that use them exist"
)]
pub(crate) struct LogSettings {
    /// Debug level unless `level` says otherwise.
    pub(crate) debug: bool,
    /// trace, debug, info, warn or error.
    pub(crate) level: Option<&'static str>,
    /// Directory of the log file.
    pub(crate) dir: Option<PathBuf>,
    /// Log file, relative to `dir`.
    pub(crate) file: Option<PathBuf>,
    /// Whether standard error is written to beside a file.
    pub(crate) use_stderr: bool,
}

impl LogSettings {
    /// The log file: `log_file` in `log_dir`, or a default name in `log_dir`
    /// (oslo.log names it after the program).
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match (&self.dir, &self.file) {
            (Some(dir), Some(file)) => Some(dir.join(file)),
            (None, Some(file)) => Some(file.clone()),
            (Some(dir), None) => Some(dir.join("trove-guestagent.log")),
            (None, None) => None,
        }
    }
}
