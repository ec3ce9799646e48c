//! What restored data says about itself, and its first start.
//!
//! Restored data brings the accounts of the server it was taken from. Their
//! administrators get new passwords before the first connection is accepted,
//! in the way new data does; the tenant's accounts stay as they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use archive::FILE_MODE;
use datastore::{Restored, Result};
use guest::Attributes;
use tracing::{error, info, warn};

use crate::cnf::Document;
use crate::credentials::{Login, OS_ADMIN, ROOT};
use crate::errors::{os_error, sql_error};
use crate::init::{FirstStart, insecure};
use crate::marker::Marker;
use crate::overrides::{COMMON, Group, Overrides, SERVER_SECTION};
use crate::replication::check_cloned;
use crate::root::has_account_lock;
use crate::session::{Session, SqlResult};
use crate::{Flavor, Server, ServerVersion, Vendor, password, snapshot, sql};

/// Where the binary log stood: file, position, GTIDs.
pub(crate) const BINLOG_INFO: &str = "xtrabackup_binlog_info";
/// Options of the server the data was taken from that its files depend on.
pub(crate) const SERVER_OPTIONS: &str = "backup-my.cnf";
/// The last file of a clone's archive.
pub(crate) const CLONE_INFO: &str = "clone_backup_info";
/// Line of that file: the plugin was there for the backup only.
pub(crate) const TEMPORARY_PLUGIN: &str = "plugin = temporary";
/// Files that tell how a backup was made; tools write them at its end.
/// MariaDB has its own names since 11.1.
pub(crate) const INFO_FILES: [&str; 3] = ["xtrabackup_info", "mariadb_backup_info", CLONE_INFO];
/// The first start of restored data: it follows nobody, and administrators can
/// write, to make it what it is to be. Unknown options with this prefix do no
/// harm: not all versions have all.
const FIRST_START: &str = "loose_skip_slave_start\nloose_skip_replica_start\n\
     loose_super_read_only = 0\n";
const DEFAULT_DATA_FILE_PATH: &str = "ibdata1:12M:autoextend";
const DEFAULT_PAGE_SIZE: &str = "16384";

/// The path of the first of these files that exists.
pub(crate) fn find_file(dir: &Path, names: &[&str]) -> Option<PathBuf> {
    let mut paths = names.iter().map(|name| dir.join(name));
    paths.find(|path| path.is_file())
}

/// A value of a file of lines `key = value`.
pub(crate) fn value_in(path: &Path, key: &str) -> Result<Option<String>> {
    let text = guest::read_optional(path).map_err(os_error)?;
    Ok(text.unwrap_or_default().lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    }))
}

impl<F: Flavor> Server<F> {
    /// Options that the files depend on win over the base configuration,
    /// which may have others: the server would not start.
    pub(crate) fn adopt_server_options(&self) -> Result<()> {
        let layout = &self.settings.layout;
        let read = |path: &Path| -> Result<Document> {
            let text = guest::read_optional(path).map_err(os_error)?;
            Ok(Document::parse(&text.unwrap_or_default()))
        };
        let theirs = read(&layout.data_dir().join(SERVER_OPTIONS))?;
        let base = read(&layout.base_config)?;
        let overrides = Overrides::new(&layout.include_dir);
        let mut system = overrides.read(Group::SystemLate, COMMON)?;
        for (name, default) in [
            ("innodb_data_file_path", DEFAULT_DATA_FILE_PATH),
            ("innodb_page_size", DEFAULT_PAGE_SIZE),
        ] {
            let Some(Some(wanted)) = theirs.get(SERVER_SECTION, name) else {
                continue;
            };
            let configured = base.get(SERVER_SECTION, name).flatten();
            if configured.unwrap_or(default) != wanted {
                info!(
                    option = name,
                    value = wanted,
                    "Option of the restored data kept."
                );
                system.set(SERVER_SECTION, name, Some(wanted));
            }
        }
        overrides.write(Group::SystemLate, COMMON, &system)
    }

    /// Like [`arm_first_start`](Self::arm_first_start) for restored data: the
    /// tenant's accounts stay, and nothing is replicated from anywhere.
    pub async fn arm_restored_start(&self) -> Result<FirstStart> {
        self.arm_start_of_copy(FIRST_START).await
    }

    /// The same with other options.
    pub(crate) async fn arm_start_of_copy(&self, options: &str) -> Result<FirstStart> {
        let version = self.installed_version().await?;
        let length = self.settings.default_password_length;
        // The data may hold a policy of passwords.
        self.arm(
            || password::generate_mixed(length),
            |root, os_admin| statements(root, os_admin, &version),
            options,
        )
    }

    /// The first start; on failure the server stays down.
    pub(crate) async fn start_restored(&self) -> Result<Restored> {
        let limit = self.settings.state_change_wait_time;
        let checked = match self.start_armed(limit).await {
            Ok(()) => self.check_restored().await,
            Err(error) => Err(error),
        };
        self.down_unless(checked).await
    }

    /// A start in which accounts and passwords of the agent are made.
    pub(crate) async fn start_armed(&self, limit: Duration) -> Result<()> {
        let first_start = self.arm_restored_start().await?;
        let started = self.bring_up_within(true, limit).await;
        drop(first_start);
        started
    }

    /// Keeps a server down that is not what it should be.
    pub(crate) async fn down_unless<T>(&self, checked: Result<T>) -> Result<T> {
        if checked.is_err()
            && let Err(error) = self.service.keep_down().await
        {
            error!(%error, "Server that is not as it should be not stopped.");
        }
        checked
    }

    /// Checks that the first start has secured the restored data, ends what
    /// the data brought along, and takes the mark of the restore away.
    pub async fn check_restored(&self) -> Result<Restored> {
        let mut session = self.session().await?;
        self.check_accounts(&mut session).await?;
        if Marker::Cloning.is_set(&self.settings.layout) {
            check_cloned(&mut session).await?;
        }
        forget_replication(&mut session)
            .await
            .map_err(|error| sql_error("end the replication of the restored data", error))?;
        if find_file(&self.settings.layout.data_dir(), &[CLONE_INFO]).is_some() {
            self.finish_clone(&mut session).await?;
        }
        let server = session.version().clone();
        session.close().await;
        self.upgrade_tables(&server).await?;
        let root_enabled = self.is_root_unlocked().await?;
        for marker in [
            Marker::Restoring,
            Marker::Cloning,
            Marker::TakingOver,
            Marker::Adopting,
        ] {
            marker.remove(&self.settings.layout)?;
        }
        info!(root_enabled, "Data restored.");
        Ok(Restored { root_enabled })
    }

    /// Checks that nobody gets in whom the data has let in without a password,
    /// or as the agent.
    pub(crate) async fn check_accounts(&self, session: &mut Session) -> Result<()> {
        let query = format!(
            "SELECT COUNT(*) FROM mysql.user WHERE {}",
            unwanted(session.version().vendor)
        );
        let open: SqlResult<Option<u64>> = session.first(&query, ()).await;
        if open.map_err(|error| sql_error("check the accounts", error))? != Some(0) {
            return Err(insecure(
                "it has anonymous users or an administrator from afar",
            ));
        }
        self.refuse_open_root().await
    }

    /// Only the server that runs on a clone knows where the binary log of its
    /// donor stood (MySQL manual, "Cloning for Replication"). What replicas
    /// are made with reads it from the data, as other tools leave it there.
    async fn finish_clone(&self, session: &mut Session) -> Result<()> {
        let failed = |error| sql_error("look for the position of the clone", error);
        let data_dir = self.settings.layout.data_dir();
        let query = "SELECT BINLOG_FILE, BINLOG_POSITION, GTID_EXECUTED \
             FROM performance_schema.clone_status WHERE BINLOG_FILE <> ''";
        let position: Option<(String, u64, String)> =
            session.first(query, ()).await.map_err(failed)?;
        if let Some((file, position, gtids)) = position {
            let line = snapshot::position_line(&file, &position.to_string(), &gtids);
            self.write_data_file(BINLOG_INFO, &line)?;
        }
        if has_temporary_plugin(&data_dir.join(CLONE_INFO))
            && let Err(error) = session.run("UNINSTALL PLUGIN clone").await
        {
            warn!(%error, "The clone plugin stays installed.");
        }
        Ok(())
    }

    /// Writes a file beside the server's own.
    pub(crate) fn write_data_file(&self, name: &str, text: &str) -> Result<()> {
        let account = &self.settings.account;
        let attributes = Attributes {
            mode: FILE_MODE,
            owner: Some((account.uid, account.gid)),
        };
        let path = self.settings.layout.data_dir().join(name);
        guest::write_atomic(&path, text.as_bytes(), &attributes).map_err(os_error)
    }
}

fn has_temporary_plugin(path: &Path) -> bool {
    guest::read_optional(path)
        .ok()
        .flatten()
        .is_some_and(|text| text.lines().any(|line| line == TEMPORARY_PLUGIN))
}

/// Data of a replica would follow the old source at the next start.
async fn forget_replication(session: &mut Session) -> SqlResult<()> {
    if session.version().vendor == Vendor::MySql {
        let reset = match session.version().is_at_least(Vendor::MySql, (8, 0, 22)) {
            true => "RESET REPLICA ALL",
            false => "RESET SLAVE ALL",
        };
        return session.run(reset).await;
    }
    // Every connection has a name of its own; it is empty for the default one.
    for row in session.text_rows("SHOW ALL SLAVES STATUS").await? {
        let name: Option<String> = row.get("Connection_name");
        let name = sql::literal(&name.unwrap_or_default());
        session.run(&format!("RESET SLAVE {name} ALL")).await?;
    }
    Ok(())
}

/// Accounts that restored data must not keep: anonymous ones, former
/// administrators of the agent, and administrators that anybody may be.
fn unwanted(vendor: Vendor) -> String {
    let open = match vendor {
        Vendor::MySql => "authentication_string = '' AND plugin LIKE '%password'",
        // Until 10.3 the hash is in the first, then in both.
        Vendor::MariaDb => {
            "Password = '' AND authentication_string = '' \
             AND plugin IN ('', 'mysql_native_password')"
        }
    };
    format!(
        "User = '' OR (Host <> 'localhost' AND (User = 'os_admin' OR (User = 'root' AND {open})))"
    )
}

/// Statements of the init file; see those for new data. Accounts may have
/// been dropped, locked or bound to conditions since they were made.
fn statements(root: &Login, os_admin: &Login, version: &ServerVersion) -> String {
    let unlock = match has_account_lock(version) {
        true => " ACCOUNT UNLOCK",
        false => "",
    };
    let mut text = format!(
        "SET SESSION sql_log_off = 1, sql_log_bin = 0, sql_mode = '', group_concat_max_len = 1048576;\n\
         SELECT IFNULL(CONCAT('DROP USER ', GROUP_CONCAT(CONCAT(QUOTE(User), '@', QUOTE(Host)))), 'DO 0') INTO @trove FROM mysql.user WHERE {unwanted};\n\
         PREPARE trove FROM @trove;\n\
         EXECUTE trove;\n\
         DEALLOCATE PREPARE trove;\n",
        unwanted = unwanted(version.vendor),
    );
    for (login, name) in [(root, ROOT), (os_admin, OS_ADMIN)] {
        let account = sql::account(name, "localhost");
        let password = sql::literal(login.password.expose());
        text += &format!(
            "CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {password};\n\
             ALTER USER {account} IDENTIFIED BY {password} REQUIRE NONE{unlock};\n\
             GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;\n"
        );
    }
    text
}
