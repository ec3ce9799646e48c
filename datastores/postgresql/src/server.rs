//! The datastore: one PostgreSQL server on this guest.

use std::sync::Mutex;

use datastore::{Result, TlsMode};
use managed::{Patience, Service};

use crate::Settings;
use crate::errors::sql_error;
use crate::session::{Session, SqlResult};

/// A PostgreSQL server, managed as a systemd unit.
pub struct Server {
    pub(crate) settings: Settings,
    pub(crate) service: Service,
    /// What is demanded of clients now.
    pub(crate) tls: Mutex<Option<TlsMode>>,
    pub(crate) archive: crate::wal::Archive,
    /// Held by who makes statistics.
    pub(crate) analysis: std::sync::Arc<tokio::sync::Mutex<()>>,
}

/// The superuser that `initdb` makes; it cannot be removed.
pub(crate) const SUPERUSER: &str = "postgres";
/// The database that the agent connects to when no other is meant.
pub(crate) const MAINTENANCE: &str = "postgres";
/// The account by which replicas read the source's WAL.
pub(crate) const REPLICATOR: &str = "replicator";

/// Users and databases of the server and the agent, whatever the configuration
/// hides.
const OWN_USERS: [&str; 2] = [SUPERUSER, REPLICATOR];
const OWN_DATABASES: [&str; 3] = [MAINTENANCE, "template0", "template1"];

/// The datastore of a PostgreSQL guest.
pub fn datastore(settings: Settings) -> Server {
    Server::new(settings)
}

impl Server {
    /// The server described by `settings`. Nothing is looked at yet.
    pub fn new(mut settings: Settings) -> Self {
        add(&mut settings.ignore_users, &OWN_USERS);
        add(&mut settings.ignore_dbs, &OWN_DATABASES);
        let patience = Patience {
            limit: settings.state_change_wait_time,
            poll: settings.state_change_poll_time,
            healthy_counts: settings.state_healthy_counts,
        };
        Self {
            tls: Mutex::new(settings.tls),
            service: Service::new(&settings.unit, patience),
            settings,
            archive: crate::wal::Archive::default(),
            analysis: std::sync::Arc::default(),
        }
    }

    /// The same server, whose unit is managed by another program than
    /// `systemctl`: for tests.
    #[must_use]
    pub fn managed_by(mut self, systemctl: impl Into<std::path::PathBuf>) -> Self {
        self.service = self.service.managed_by(systemctl);
        self
    }

    /// What this datastore was built from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Logs in as the superuser.
    pub(crate) async fn session(&self) -> Result<Session> {
        self.session_in(MAINTENANCE)
            .await
            .map_err(|error| sql_error("log in to the server", error))
    }

    /// Logs in to one database as the superuser.
    pub(crate) async fn session_in(&self, database: &str) -> SqlResult<Session> {
        let socket = self.settings.layout.socket(self.settings.port);
        Session::open(&socket, SUPERUSER, database).await
    }
}

fn add(names: &mut Vec<String>, own: &[&str]) {
    for name in own {
        if !names.iter().any(|known| known == name) {
            names.push((*name).to_owned());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::time::Duration;

    use guest::Account;

    use super::*;
    use crate::Layout;

    /// A datastore with all its paths below `dir`.
    pub(crate) fn server_in(dir: &Path) -> Server {
        let etc = dir.join("etc");
        std::fs::create_dir_all(&etc).unwrap();
        let metadata = std::fs::metadata(dir).unwrap();
        use std::os::unix::fs::MetadataExt;
        Server::new(Settings {
            instance: "00000000-1111-4222-8333-444444444444".into(),
            layout: Layout {
                base_config: etc.join("postgresql.conf"),
                include_dir: etc.join("conf.d"),
                hba_file: etc.join("pg_hba.conf"),
                ident_file: etc.join("pg_ident.conf"),
                programs_link: etc.join("server"),
                socket_dir: dir.join("run"),
                mount_point: dir.join("volume"),
                versions_dir: dir.join("versions"),
                programs_dir: None,
            },
            account: Account {
                name: "database".into(),
                uid: metadata.uid(),
                gid: metadata.gid(),
            },
            agent_account: "root".into(),
            unit: "postgresql-test-unit-that-does-not-exist".into(),
            port: 5432,
            tls: None,
            ignore_users: vec!["os_admin".into()],
            ignore_dbs: Vec::new(),
            default_password_length: 36,
            long_query_time: Duration::ZERO,
            state_change_wait_time: Duration::from_secs(180),
            state_change_poll_time: Duration::from_secs(3),
            state_healthy_counts: 5,
            clean_wal_archive: true,
            increments: crate::Increments::Wal,
        })
    }

    #[test]
    fn what_is_the_servers_own_is_always_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        assert_eq!(
            server.settings.ignore_users,
            ["os_admin", "postgres", "replicator"]
        );
        assert_eq!(
            server.settings.ignore_dbs,
            ["postgres", "template0", "template1"]
        );
    }
}
