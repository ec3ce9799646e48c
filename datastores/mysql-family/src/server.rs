//! The datastore: one server of the family on this guest.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use datastore::{Error, Result, TlsMode};
use guest::Command;
use managed::{Patience, Service};
use tracing::debug;

use crate::credentials::{self, Login};
use crate::errors::{os_error, sql_error};
use crate::session::{Session, SqlResult};
use crate::{Flavor, ServerVersion, Settings};

/// Where distributions put server programs.
const PROGRAM_DIRS: [&str; 6] = [
    "/usr/sbin",
    "/usr/libexec",
    "/usr/bin",
    "/sbin",
    "/usr/local/sbin",
    "/usr/local/bin",
];

/// A MySQL or MariaDB server, managed as a systemd unit.
pub struct Server<F> {
    pub(crate) flavor: F,
    pub(crate) settings: Settings,
    pub(crate) service: Service,
    /// What is demanded of clients now.
    pub(crate) tls: Mutex<Option<TlsMode>>,
}

/// Databases of the server itself, whatever the configuration hides. The
/// control plane's API hides `sys` too, although `[mariadb] ignore_dbs` lacks
/// it: a page that holds it would come back one short.
const SYSTEM_DATABASES: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

impl<F: Flavor> Server<F> {
    /// The server described by `settings`. Nothing is looked at yet.
    pub fn new(flavor: F, mut settings: Settings) -> Self {
        let missing = |name: &&&str| !settings.ignore_dbs.iter().any(|known| known == **name);
        let own = SYSTEM_DATABASES
            .iter()
            .filter(missing)
            .map(ToString::to_string);
        settings.ignore_dbs.extend(own.collect::<Vec<_>>());
        let patience = Patience {
            limit: settings.state_change_wait_time,
            poll: settings.state_change_poll_time,
            healthy_counts: settings.state_healthy_counts,
        };
        Self {
            flavor,
            tls: Mutex::new(settings.tls),
            service: Service::new(&settings.unit, patience),
            settings,
        }
    }

    /// What this datastore was built from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Logs in as the agent's administrator.
    pub(crate) async fn session(&self) -> Result<Session> {
        let login = self.administrator()?;
        self.session_of(&login)
            .await
            .map_err(|error| sql_error("log in to the server", error))
    }

    /// A session for changes that belong to all servers of a replication set,
    /// which therefore are made at the source and nowhere else.
    pub(crate) async fn writing_session(&self) -> Result<Session> {
        let session = self.session().await?;
        if !session.is_read_only() {
            return Ok(session);
        }
        session.close().await;
        Err(Error::bad_request(
            "This server is read only, as replicas are: make the change at its source",
        ))
    }

    /// Logs in as somebody.
    pub(crate) async fn session_of(&self, login: &Login) -> SqlResult<Session> {
        Session::open(&self.settings.layout.socket, login).await
    }

    pub(crate) fn administrator(&self) -> Result<Login> {
        credentials::administrator(&self.settings.layout.credentials_dir())
    }

    /// Path of the installed server program.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        if let Some(program) = &self.settings.layout.server_program {
            return Ok(program.clone());
        }
        let names = self.flavor.server_programs();
        names
            .iter()
            .flat_map(|name| {
                PROGRAM_DIRS
                    .iter()
                    .map(move |dir| PathBuf::from(dir).join(name))
            })
            .find(|path| path.is_file())
            .ok_or_else(|| {
                Error::failed(format!(
                    "No {} server is installed: there is no {} in {}",
                    self.flavor.vendor(),
                    names.join(" or "),
                    PROGRAM_DIRS.join(", ")
                ))
            })
    }

    /// Path of an installed tool, by its possible names.
    pub(crate) fn find_tool(&self, names: &[&str]) -> Option<PathBuf> {
        let dirs: Vec<&Path> = match &self.settings.layout.tools_dir {
            Some(dir) => vec![dir],
            None => PROGRAM_DIRS.iter().map(Path::new).collect(),
        };
        names
            .iter()
            .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)))
            .find(|path| path.is_file())
    }

    /// Version of the installed program, running or not.
    pub async fn installed_version(&self) -> Result<ServerVersion> {
        let program = self.program()?;
        let command = Command::new(&program).args(["--no-defaults", "--version"]);
        let output = command.run().await.map_err(os_error)?.stdout_text();
        let version = ServerVersion::parse_program_output(&output).ok_or_else(|| {
            Error::failed(format!(
                "{} does not tell its version: {output:?}",
                program.display()
            ))
        })?;
        if version.vendor != self.flavor.vendor() {
            return Err(Error::failed(format!(
                "The datastore manager is {}, but {} is {version}",
                self.flavor.manager(),
                program.display()
            )));
        }
        debug!(program = %program.display(), %version, "Server program found.");
        Ok(version)
    }
}
