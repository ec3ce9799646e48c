//! What the agent tells a datastore of this family.

use std::path::{Path, PathBuf};
use std::time::Duration;

use datastore::TlsMode;
use guest::Account;

/// Options of the agent's configuration that this family honours. Names and
/// defaults are those of `trove/common/cfg.py` unless said otherwise.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is.
    pub layout: Layout,
    /// The account that runs the server and owns its data.
    pub account: Account,
    /// Name of the server's systemd unit, e.g. `mariadb`.
    pub unit: String,
    /// Users that are neither shown nor touched (`ignore_users`).
    pub ignore_users: Vec<String>,
    /// Databases that are neither shown nor touched (`ignore_dbs`).
    pub ignore_dbs: Vec<String>,
    /// Privileges of the tenant's administrator (`root_grant`), `ALL` by
    /// default.
    pub root_grant: Vec<String>,
    /// Whether the tenant's administrator may hand its privileges on
    /// (`root_grant_option`).
    pub root_grant_option: bool,
    /// Whether hosts of users must be addresses, networks or patterns of
    /// addresses (`hostname_require_valid_ip`).
    pub hostname_require_valid_ip: bool,
    /// Length of generated passwords (`default_password_length`).
    pub default_password_length: usize,
    /// Statements slower than this are in the log of slow ones
    /// (`guest_log_long_query_time`).
    pub long_query_time: Duration,
    /// What is demanded of clients (`ssl_mode`); absent without TLS of the
    /// tenant's.
    pub tls: Option<TlsMode>,
    /// Whether replicas clone the data of this server while it runs, if it can
    /// (`[mysql] replica_provisioning`, which is this agent's own).
    pub clone_replicas: bool,
    /// How long the server may take to reach a state
    /// (`state_change_wait_time`).
    pub state_change_wait_time: Duration,
    /// Upper bound for the pause between two probes while waiting
    /// (`state_change_poll_time`).
    pub state_change_poll_time: Duration,
    /// Upper bound for the good probes in a row that count as healthy
    /// (`state_healthy_counts`); two are enough, because systemd has reported
    /// the server ready before the first.
    pub state_healthy_counts: u32,
}

/// Paths of a guest. [`Layout::new`] has the ones that every guest of Trove
/// uses; tests move them.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The base option file.
    pub base_config: PathBuf,
    /// Directory of override files, read by the base file's `!includedir`.
    pub include_dir: PathBuf,
    /// The server's socket.
    pub socket: PathBuf,
    /// The server's error log.
    pub error_log: PathBuf,
    /// Where the data volume is mounted.
    pub mount_point: PathBuf,
    /// The server program; found in the usual directories when absent.
    pub server_program: Option<PathBuf>,
    /// Where the backup tools are; in the usual directories when absent.
    pub tools_dir: Option<PathBuf>,
}

impl Layout {
    /// The layout of a guest whose volume is mounted at `mount_point`.
    pub fn new(mount_point: impl Into<PathBuf>) -> Self {
        Self {
            base_config: "/etc/mysql/my.cnf".into(),
            include_dir: "/etc/mysql/conf.d".into(),
            socket: "/run/mysqld/mysqld.sock".into(),
            error_log: "/var/log/mysqld.log".into(),
            mount_point: mount_point.into(),
            server_program: None,
            tools_dir: None,
        }
    }

    /// The server's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.mount_point.join("data")
    }

    /// Directory of the passwords that survive a rebuild of the root disk.
    pub fn credentials_dir(&self) -> PathBuf {
        self.mount_point.join("conf.d")
    }

    /// What the server is to others, for the next root disk: override files.
    pub(crate) fn replication_dir(&self) -> PathBuf {
        self.credentials_dir().join("replication")
    }

    /// The server's id in replication, which outlives its configuration.
    pub(crate) fn server_id_file(&self) -> PathBuf {
        self.credentials_dir().join("server_id")
    }

    /// Statements of the first start; exists only for its duration.
    pub fn init_file(&self) -> PathBuf {
        self.mount_point.join(".first-start.sql")
    }

    /// Directory of the base option file.
    pub(crate) fn config_dir(&self) -> &Path {
        self.base_config.parent().unwrap_or(Path::new("/"))
    }
}
