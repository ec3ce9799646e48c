//! Which server wrote the data, and what another one has to do before it can
//! use it.

use std::path::Path;
use std::time::Duration;

use datastore::{Error, ErrorKind, Result};
use guest::Command;
use serde_json::Value;
use tracing::info;

use crate::errors::os_error;
use crate::restored::{INFO_FILES, find_file, value_in};
use crate::scratch::{BACKUP, Scratch};
use crate::tool::write_options;
use crate::{Flavor, Server, ServerVersion, Vendor};

/// Files that a data directory of this family has, whatever its version.
const SIGNS_OF_DATA: [&str; 3] = ["mysql", "mysql.ibd", "ibdata1"];
/// Files that only one product has.
const SIGNS_OF_VENDOR: [(&str, Vendor); 2] = [
    ("aria_log_control", Vendor::MariaDb),
    ("mysql.ibd", Vendor::MySql),
];
/// Files of MariaDB servers that tell for which version the data is.
const UPGRADE_FILES: [&str; 2] = ["mariadb_upgrade_info", "mysql_upgrade_info"];
/// File of MySQL servers that tells for which versions it was, since 8.4.
const UPGRADE_HISTORY: &str = "mysql_upgrade_history";
/// System tables are small, but checks read all others.
const UPGRADE_LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Whether a directory holds data of a server.
pub(crate) fn has_data(dir: &Path) -> bool {
    SIGNS_OF_DATA.iter().any(|name| dir.join(name).exists())
}

/// The version of the server that wrote the data, if it says so.
pub(crate) fn data_version(data_dir: &Path) -> Result<Option<ServerVersion>> {
    if let Some(path) = find_file(data_dir, &UPGRADE_FILES) {
        let text = guest::read_optional(&path).map_err(os_error)?;
        return Ok(text.as_deref().and_then(ServerVersion::parse));
    }
    let history = guest::read_optional(&data_dir.join(UPGRADE_HISTORY)).map_err(os_error)?;
    if let Some(version) = history.as_deref().and_then(last_of_history) {
        return Ok(Some(version));
    }
    let Some(path) = find_file(data_dir, &INFO_FILES) else {
        return Ok(None);
    };
    let text = value_in(&path, "server_version")?;
    Ok(text.as_deref().and_then(ServerVersion::parse))
}

/// The last version in a file of MySQL's.
fn last_of_history(text: &str) -> Option<ServerVersion> {
    let history: Value = serde_json::from_str(text).ok()?;
    let last = history.get("upgrade_history")?.as_array()?.last()?;
    ServerVersion::parse(last.get("version")?.as_str()?)
}

impl<F: Flavor> Server<F> {
    /// Refuses data of another product or of a newer release series, which no
    /// server takes back.
    pub(crate) async fn check_data_version(&self) -> Result<()> {
        let installed = self.installed_version().await?;
        let data_dir = self.settings.layout.data_dir();
        let foreign = SIGNS_OF_VENDOR
            .into_iter()
            .find(|(name, vendor)| *vendor != installed.vendor && data_dir.join(name).exists());
        if let Some((_, vendor)) = foreign {
            return Err(Error::bad_request(format!(
                "The data was written by {vendor}, which {installed} cannot read"
            )));
        }
        let Some(data) = data_version(&data_dir)? else {
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

    /// Upgrades the system tables for the running server, if an older one has
    /// made them. MySQL does so by itself, MariaDB has a program.
    pub(crate) async fn upgrade_tables(&self, server: &ServerVersion) -> Result<()> {
        let data = data_version(&self.settings.layout.data_dir())?;
        if server.vendor != Vendor::MariaDb
            || data
                .as_ref()
                .is_some_and(|data| data.series() >= server.series())
        {
            return Ok(());
        }
        let data = data.map_or_else(
            || "an unknown version of MariaDB".to_owned(),
            |data| data.to_string(),
        );
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
            let text = format!("Cannot upgrade the data from {data} to {server}: {error}");
            Error::with_source(ErrorKind::Failed, text, error)
        })
    }
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
                .map(|version| (version.vendor, version.number))
        };
        assert_eq!(version(), None);
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let info = "uuid = 5660481d\nserver_version = 10.11.19-MariaDB-0+deb12u1-log\n";
        write("xtrabackup_info", info);
        assert_eq!(version(), Some((Vendor::MariaDb, (10, 11, 19))));
        // What an upgrade says is newer.
        write("mysql_upgrade_info", "11.4.2-MariaDB\n");
        assert_eq!(version(), Some((Vendor::MariaDb, (11, 4, 2))));
        std::fs::remove_file(dir.path().join("mysql_upgrade_info")).unwrap();
        write(
            UPGRADE_HISTORY,
            r#"{"file_format":"1","upgrade_history":[
                {"date":"2026-11-22 08:04:27","version":"8.4.2","maturity":"LTS","initialize":true},
                {"date":"2026-11-23 08:04:27","version":"9.7.4","maturity":"LTS"}]}"#,
        );
        assert_eq!(version(), Some((Vendor::MySql, (9, 7, 4))));
    }
}
