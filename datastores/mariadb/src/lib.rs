//! MariaDB guests: what sets them apart from their family.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use guest::{Command, CommandError};
use mysql_family::{Flavor, Initialisation, Server, ServerVersion, Settings, Vendor};

/// A MariaDB server on this guest.
pub type Mariadb = Server<MariadbFlavor>;

/// The datastore of a MariaDB guest.
pub fn datastore(settings: Settings) -> Mariadb {
    Server::new(MariadbFlavor, settings)
}

/// Creating the system tables takes seconds; on slow volumes more of them.
const INITIALISE_LIMIT: Duration = Duration::from_secs(600);

/// MariaDB.
#[derive(Debug, Clone, Copy)]
pub struct MariadbFlavor;

#[async_trait]
impl Flavor for MariadbFlavor {
    fn manager(&self) -> &'static str {
        "mariadb"
    }

    fn vendor(&self) -> Vendor {
        Vendor::MariaDb
    }

    fn server_programs(&self) -> &'static [&'static str] {
        // `mysqld` until 10.4.
        &["mariadbd", "mysqld"]
    }

    fn check_arguments(&self, _version: &ServerVersion) -> Vec<OsString> {
        // There is no --validate-config; the help text is the one run that
        // reads all options and starts nothing. Without --skip-log-bin it
        // would touch the binary log's index.
        ["--verbose", "--help", "--skip-log-bin"]
            .map(OsString::from)
            .into()
    }

    async fn initialise(&self, work: &Initialisation<'_>) -> Result<(), CommandError> {
        Command::new(install_program())
            .arg(format!("--defaults-file={}", work.config.display()))
            .arg(format!("--datadir={}", work.data_dir.display()))
            // The accounts of the first start take over from this one.
            .arg("--auth-root-authentication-method=normal")
            .arg("--skip-test-db")
            // No accounts for the host's name, which may not be known yet.
            .arg("--skip-name-resolve")
            .arg("--skip-log-bin")
            .user(work.account.uid, work.account.gid)
            .timeout(INITIALISE_LIMIT)
            .run()
            .await
            .map(drop)
    }
}

/// `mariadb-install-db`, or its name until 10.4.
fn install_program() -> PathBuf {
    let old = PathBuf::from("/usr/bin/mysql_install_db");
    match PathBuf::from("/usr/bin/mariadb-install-db").exists() || !old.exists() {
        true => "mariadb-install-db".into(),
        false => old,
    }
}
