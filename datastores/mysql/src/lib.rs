//! MySQL guests: what sets them apart from their family.

use std::ffi::OsString;
use std::time::Duration;

use async_trait::async_trait;
use guest::{Command, CommandError};
use mysql_family::{Flavor, Initialisation, Server, ServerVersion, Settings, Vendor};

/// A MySQL server on this guest.
pub type Mysql = Server<MysqlFlavor>;

/// The datastore of a MySQL guest.
pub fn datastore(settings: Settings) -> Mysql {
    Server::new(MysqlFlavor, settings)
}

/// Creating the system tables takes seconds; on slow volumes more of them.
const INITIALISE_LIMIT: Duration = Duration::from_secs(600);

/// MySQL, and servers built from it.
#[derive(Debug, Clone, Copy)]
pub struct MysqlFlavor;

#[async_trait]
impl Flavor for MysqlFlavor {
    fn manager(&self) -> &'static str {
        "mysql"
    }

    fn vendor(&self) -> Vendor {
        Vendor::MySql
    }

    fn server_programs(&self) -> &'static [&'static str] {
        &["mysqld"]
    }

    fn check_arguments(&self, version: &ServerVersion) -> Vec<OsString> {
        // MySQL manual, "Server Configuration Validation". Before, the help
        // text was the only run that reads all options and starts nothing.
        let arguments: &[&str] = match version.is_at_least(Vendor::MySql, (8, 0, 16)) {
            // With warnings, of values that it would replace.
            true => &["--validate-config", "--log-error-verbosity=2"],
            false => &["--verbose", "--help", "--skip-log-bin"],
        };
        arguments.iter().map(OsString::from).collect()
    }

    async fn initialise(&self, work: &Initialisation<'_>) -> Result<(), CommandError> {
        Command::new(work.program)
            .arg(format!("--defaults-file={}", work.config.display()))
            // Not --initialize: that prints a password into the error log.
            .arg("--initialize-insecure")
            .arg(format!("--datadir={}", work.data_dir.display()))
            // A log of the system tables' creation is of no use to replicas.
            .arg("--skip-log-bin")
            .user(work.account.uid, work.account.gid)
            .timeout(INITIALISE_LIMIT)
            .run()
            .await
            .map(drop)
    }
}
