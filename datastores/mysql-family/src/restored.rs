//! What restored data says about itself, and its first start.
//!
//! Restored data brings the accounts of the server it was taken from. Their
//! administrators get new passwords before the first connection is accepted,
//! in the way new data does; the tenant's accounts stay as they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use archive::FILE_MODE;
use datastore::{Error, ErrorKind, Restored, Result};
use guest::{Attributes, Command};
use tracing::{error, info, warn};

use crate::cnf::Document;
use crate::credentials::{Login, OS_ADMIN, ROOT};
use crate::errors::{os_error, sql_error};
use crate::init::{FirstStart, insecure};
use crate::marker::Marker;
use crate::overrides::{COMMON, Group, Overrides, SERVER_SECTION};
use crate::root::has_account_lock;
use crate::scratch::{BACKUP, Scratch};
use crate::session::{Session, SqlResult};
use crate::tool::write_options;
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
/// Files of MariaDB servers that tell for which version the data is.
const UPGRADE_FILES: [&str; 2] = ["mariadb_upgrade_info", "mysql_upgrade_info"];
/// Unknown options with this prefix do no harm: not all versions have both.
const NO_REPLICATION: &str = "loose_skip_slave_start\nloose_skip_replica_start\n";
/// System tables are small, but checks read all others.
const UPGRADE_LIMIT: Duration = Duration::from_secs(4 * 3600);
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

/// The version of the server that wrote the data, if it says so.
fn data_version(data_dir: &Path) -> Result<Option<ServerVersion>> {
    if let Some(path) = find_file(data_dir, &UPGRADE_FILES) {
        let text = guest::read_optional(&path).map_err(os_error)?;
        return Ok(text.as_deref().and_then(ServerVersion::parse));
    }
    let Some(path) = find_file(data_dir, &INFO_FILES) else {
        return Ok(None);
    };
    let text = value_in(&path, "server_version")?;
    Ok(text.as_deref().and_then(ServerVersion::parse))
}

impl<F: Flavor> Server<F> {
    /// Refuses data of another product or of a newer release series, which no
    /// server takes back.
    pub(crate) async fn check_data_version(&self) -> Result<()> {
        let installed = self.installed_version().await?;
        let Some(data) = data_version(&self.settings.layout.data_dir())? else {
            return Ok(());
        };
        if data.vendor != installed.vendor || data.series() > installed.series() {
            return Err(Error::bad_request(format!(
                "The data was written by {data}, which {installed} cannot read: choose a \
                 datastore version with at least {}.{}",
                data.number.0, data.number.1
            )));
        }
        Ok(())
    }

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
        let version = self.installed_version().await?;
        let length = self.settings.default_password_length;
        // The data may hold a policy of passwords.
        self.arm(
            || password::generate_mixed(length),
            |root, os_admin| statements(root, os_admin, &version),
            NO_REPLICATION,
        )
    }

    /// The first start; on failure the server stays down.
    pub(crate) async fn start_restored(&self) -> Result<Restored> {
        let first_start = self.arm_restored_start().await?;
        let started = self.bring_up(false).await;
        drop(first_start);
        let checked = match started {
            Ok(()) => self.check_restored().await,
            Err(error) => Err(error),
        };
        if checked.is_err()
            && let Err(error) = self.keep_down().await
        {
            error!(%error, "Server on incomplete data not stopped.");
        }
        checked
    }

    /// Checks that the first start has secured the restored data, ends what
    /// the data brought along, and takes the mark of the restore away.
    pub async fn check_restored(&self) -> Result<Restored> {
        let data_dir = self.settings.layout.data_dir();
        let mut session = self.session().await?;
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
        self.refuse_open_root().await?;
        forget_replication(&mut session)
            .await
            .map_err(|error| sql_error("end the replication of the restored data", error))?;
        if find_file(&data_dir, &[CLONE_INFO]).is_some() {
            self.finish_clone(&mut session).await?;
        }
        let server = session.version().clone();
        session.close().await;
        if let Some(data) = data_version(&data_dir)?
            && server.vendor == Vendor::MariaDb
            && data.series() < server.series()
        {
            self.upgrade_tables(&data, &server).await?;
        }
        let root_enabled = self.is_root_unlocked().await?;
        for marker in [Marker::Restoring, Marker::TakingOver] {
            marker.remove(&self.settings.layout)?;
        }
        info!(root_enabled, "Data restored.");
        Ok(Restored { root_enabled })
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

    /// MySQL upgrades its system tables by itself, MariaDB has a program.
    async fn upgrade_tables(&self, data: &ServerVersion, server: &ServerVersion) -> Result<()> {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        let names = ["mariadb-upgrade", "mysql_upgrade"];
        let program = self.find_tool(&names).ok_or_else(|| {
            Error::failed(format!(
                "The data was written by {data} and must be upgraded for {server}, but there is \
                 no mariadb-upgrade: install mariadb-client in the image"
            ))
        })?;
        let scratch = Scratch::new(&layout.mount_point, BACKUP, "upgrade", account)?;
        let options = scratch.path().join("options.cnf");
        let (owner, login) = ((account.uid, account.gid), self.administrator()?);
        write_options(&options, &layout.base_config, &layout.socket, &login, owner)?;
        info!(%data, %server, "Upgrading the system tables.");
        let upgraded = Command::new(program)
            .arg(format!("--defaults-file={}", options.display()))
            .user(account.uid, account.gid)
            .timeout(UPGRADE_LIMIT)
            .run()
            .await;
        scratch.remove().await;
        upgraded.map(drop).map_err(|error| {
            let text = format!("Cannot upgrade the restored data from {data} to {server}: {error}");
            Error::with_source(ErrorKind::Failed, text, error)
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_tells_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let version = || {
            data_version(dir.path())
                .unwrap()
                .map(|version| version.number)
        };
        assert_eq!(version(), None);
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let info = "uuid = 5660481d\nserver_version = 10.11.19-MariaDB-0+deb12u1-log\n";
        write("xtrabackup_info", info);
        assert_eq!(version(), Some((10, 11, 19)));
        // What an upgrade says is newer.
        write("mysql_upgrade_info", "11.4.2-MariaDB\n");
        assert_eq!(version(), Some((11, 4, 2)));
    }
}
