//! What the agent tells the datastore.

use std::path::{Path, PathBuf};
use std::time::Duration;

use datastore::TlsMode;
use guest::Account;

/// Options of the agent's configuration that are honoured here. Names and
/// defaults are those of `trove/common/cfg.py` unless said otherwise.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The instance's id, by which a source knows its replica (`guest_id`).
    pub instance: String,
    /// Where everything is.
    pub layout: Layout,
    /// The account that runs the server and owns its data.
    pub account: Account,
    /// Name of the account the agent itself runs as: the one that may be the
    /// superuser without a password, over the local socket.
    pub agent_account: String,
    /// Name of the server's systemd unit.
    pub unit: String,
    /// TCP port, also part of the socket's name (`postgresql_port`).
    pub port: u16,
    /// What is demanded of clients, where TLS is on (`ssl_mode`).
    pub tls: Option<TlsMode>,
    /// Users that are neither shown nor touched (`ignore_users`).
    pub ignore_users: Vec<String>,
    /// Databases that are neither shown nor touched (`ignore_dbs`).
    pub ignore_dbs: Vec<String>,
    /// Length of generated passwords (`default_password_length`).
    pub default_password_length: usize,
    /// Statements that take longer are logged with their duration, when the
    /// tenant's log is on (`guest_log_long_query_time`).
    pub long_query_time: Duration,
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
    /// Whether archived WAL is removed when it has grown too large
    /// (`enable_clean_wal_archives`).
    pub clean_wal_archive: bool,
    /// What incremental backups are made of; an option of our own
    /// (`[postgresql] backup_incremental`).
    pub increments: Increments,
}

/// What incremental backups are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Increments {
    /// All WAL since the parent: what every guest agent of Trove restores.
    #[default]
    Wal,
    /// Blocks that have changed since the parent, from PostgreSQL 17 on.
    /// Smaller, and faster to restore; upstream's agent cannot.
    Blocks,
}

/// Paths of a guest. [`Layout::new`] has the ones that every guest of Trove
/// uses; tests move them.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The base configuration file.
    pub base_config: PathBuf,
    /// Directory of override files, read by the base file's `include_dir`.
    pub include_dir: PathBuf,
    /// Who may connect from where.
    pub hba_file: PathBuf,
    /// Which system account may be which user.
    pub ident_file: PathBuf,
    /// Link to the directory of the server programs that fit the data: what
    /// the systemd unit starts.
    pub programs_link: PathBuf,
    /// Directory of the server's socket.
    pub socket_dir: PathBuf,
    /// Where the data volume is mounted.
    pub mount_point: PathBuf,
    /// Where distributions put versions of the server, one directory each.
    pub versions_dir: PathBuf,
    /// Directory of the server programs; the one below
    /// [`versions_dir`](Self::versions_dir) that fits the data when absent.
    pub programs_dir: Option<PathBuf>,
}

impl Layout {
    /// The layout of a guest whose volume is mounted at `mount_point`.
    pub fn new(mount_point: impl Into<PathBuf>) -> Self {
        Self {
            base_config: "/etc/postgresql/postgresql.conf".into(),
            include_dir: "/etc/postgresql/conf.d".into(),
            hba_file: "/etc/postgresql/pg_hba.conf".into(),
            ident_file: "/etc/postgresql/pg_ident.conf".into(),
            programs_link: "/etc/postgresql/server".into(),
            socket_dir: "/run/postgresql".into(),
            mount_point: mount_point.into(),
            versions_dir: "/usr/lib/postgresql".into(),
            programs_dir: None,
        }
    }

    /// What the server's account owns on the volume.
    pub fn volume_dir(&self) -> PathBuf {
        self.mount_point.join("data")
    }

    /// The server's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.volume_dir().join("pgdata")
    }

    /// Directory of archived WAL; Trove's templates name it.
    pub fn wal_archive(&self) -> PathBuf {
        self.volume_dir().join("wal_archive")
    }

    /// The server's socket at `port`.
    pub fn socket(&self, port: u16) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{port}"))
    }

    /// Directory of the base configuration file.
    pub(crate) fn config_dir(&self) -> &Path {
        self.base_config.parent().unwrap_or(Path::new("/"))
    }
}
