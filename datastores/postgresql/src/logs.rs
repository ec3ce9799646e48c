//! The tenant's log: every statement, in a file beside the data.
//!
//! The server writes a file only if it was started with its collector: until
//! then what it says goes to the journal, where a failed start is looked for.
//! So the first switch waits for a restart, and the others do not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use datastore::{Error, LogKind, Result, ServerLog};
use tracing::{info, warn};

use crate::Server;
use crate::conf::Document;
use crate::errors::sql_error;
use crate::overrides::{Group, Overrides};
use crate::session::SqlResult;

const GENERAL: &str = "general";
/// The id of the override.
const ID: &str = "general_log";
pub(crate) const FILE: &str = "postgresql-general.log";
const COLLECTOR: &str = "logging_collector";
/// The log file is begun anew beyond this size; the one before is kept. With a
/// fixed name the server itself never does.
const LARGEST: u64 = 256 << 20;

impl Server {
    pub(crate) fn server_logs(&self) -> Vec<ServerLog> {
        vec![ServerLog {
            name: GENERAL,
            kind: LogKind::User,
            path: self.log_path(),
        }]
    }

    fn log_path(&self) -> PathBuf {
        self.settings.layout.data_dir().join(FILE)
    }

    /// Whether the log is switched on, now or with the next start.
    pub(crate) fn is_log_on(&self, name: &str) -> Result<bool> {
        check(name)?;
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        let document = overrides.read(Group::SystemEarly, ID)?;
        Ok(document.get(COLLECTOR) == Some("on"))
    }

    /// Switches the log; tells whether that waits for a restart.
    pub(crate) async fn switch_log(&self, name: &str, on: bool) -> Result<bool> {
        check(name)?;
        let collects = self.collects().await?;
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        let before = overrides.read(Group::SystemEarly, ID)?;
        overrides.write(Group::SystemEarly, ID, &self.log_options(on))?;
        // Without the collector statements would go to the journal.
        if !collects {
            return Ok(on);
        }
        if let Err(refusal) = self.reload(&BTreeMap::new()).await {
            overrides.write(Group::SystemEarly, ID, &before)?;
            return Err(refusal);
        }
        info!(log = name, on, "Log switched.");
        Ok(false)
    }

    /// The override. A collector that runs goes on until the next start, and
    /// must not begin other files.
    fn log_options(&self, on: bool) -> Document {
        let mut document = Document::default();
        let dir = self.settings.layout.data_dir();
        document.set("log_directory", &dir.to_string_lossy());
        document.set("log_filename", FILE);
        document.set("log_rotation_age", "0");
        document.set("log_rotation_size", "0");
        if on {
            let limit = self.settings.long_query_time.as_millis();
            document.set(COLLECTOR, "on");
            document.set("log_destination", "stderr");
            document.set("log_statement", "all");
            document.set("log_min_duration_statement", &limit.to_string());
        }
        document
    }

    /// Whether the running server writes its log to a file.
    async fn collects(&self) -> Result<bool> {
        let session = self.session().await?;
        let query = "SELECT current_setting('logging_collector')::bool";
        let on: SqlResult<bool> = match session.first(query, &[]).await {
            Ok(Some(row)) => row.try_get(0).map_err(Into::into),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        session.close().await;
        on.map_err(|error| sql_error("look at the log", error))
    }

    /// Begins the log file anew when it has grown too large.
    pub(crate) async fn bound_log(&self) {
        let path = self.log_path();
        let large = std::fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_file() && found.len() > LARGEST);
        if large && let Err(error) = self.begin_log_anew().await {
            warn!(%error, "Log file not begun anew.");
        }
    }

    async fn begin_log_anew(&self) -> Result<()> {
        let path = self.log_path();
        let session = self.session().await?;
        let mut old = path.clone().into_os_string();
        old.push(".1");
        let renamed = std::fs::rename(&path, &old)
            .map_err(|error| Error::failed(format!("rename {}: {error}", path.display())));
        let rotated = session.run("SELECT pg_rotate_logfile()").await;
        session.close().await;
        renamed?;
        rotated.map_err(|error| sql_error("begin the log anew", error))?;
        info!(path = %path.display(), "Log file begun anew.");
        Ok(())
    }
}

fn check(name: &str) -> Result<()> {
    match name {
        GENERAL => Ok(()),
        _ => Err(Error::bad_request(format!(
            "Log {name:?} cannot be switched"
        ))),
    }
}
