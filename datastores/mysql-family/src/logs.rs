//! The server's logs: the tenant's, which it switches, and the error log.
//!
//! A switch takes effect at once and is written to an override file that is
//! weaker than the tenant's configuration group, so that it holds after a
//! restart.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use datastore::{Error, LogKind, Result, ServerLog};
use guest::Attributes;
use tracing::{info, warn};

use crate::cnf::Document;
use crate::config::errors_of;
use crate::errors::{os_error, sql_error};
use crate::overrides::{Group, Overrides, SERVER_SECTION};
use crate::session::{Session, SqlResult};
use crate::{Flavor, Server, sql};

/// The general query log.
const GENERAL: &str = "general";
/// The log of slow statements.
const SLOW: &str = "slow_query";
/// The server's own words.
const ERROR: &str = "error";
/// The id of the override that names the error log.
const ERROR_ID: &str = "error_log";
/// A log file is begun anew beyond this size; the one before is kept.
const LARGEST: u64 = 256 << 20;
/// Last bytes of the error log that are looked at after a failed start.
const TAIL: u64 = 4096;
/// Lines of them in an error.
const TAIL_LINES: usize = 15;

impl<F: Flavor> Server<F> {
    pub(crate) fn server_logs(&self) -> Vec<ServerLog> {
        let user = |name| ServerLog {
            name,
            kind: LogKind::User,
            path: self.log_path(name),
        };
        vec![
            user(GENERAL),
            user(SLOW),
            ServerLog {
                name: ERROR,
                kind: LogKind::System,
                path: self.settings.layout.error_log.clone(),
            },
        ]
    }

    fn log_path(&self, name: &str) -> PathBuf {
        let file = format!("{}-{name}.log", self.flavor.manager());
        self.settings.layout.data_dir().join(file)
    }

    /// Whether a log is switched on: what the running server says, or else
    /// what it would be started with.
    pub(crate) async fn is_log_on(&self, name: &str) -> Result<bool> {
        let switch = switch_of(name)?;
        let Ok(mut session) = self.session().await else {
            let overrides = Overrides::new(&self.settings.layout.include_dir);
            let file = overrides.read(Group::SystemEarly, &id_of(name))?;
            return Ok(file.get(SERVER_SECTION, switch).is_some());
        };
        let query = format!("SELECT @@GLOBAL.{switch}");
        let on: SqlResult<Option<bool>> = session.first(&query, ()).await;
        session.close().await;
        let on = on.map_err(|error| sql_error(format!("look at log {name}"), error))?;
        Ok(on == Some(true))
    }

    /// Switches a log now and for later starts, or not at all.
    pub(crate) async fn switch_log(&self, name: &str, on: bool) -> Result<()> {
        let switch = switch_of(name)?;
        let path = self.log_path(name).to_string_lossy().into_owned();
        let options: Vec<(&str, String)> = match on {
            false => Vec::new(),
            true => {
                let mut options = vec![
                    ("log_output", "FILE".to_owned()),
                    (file_of(name), path),
                    (switch, "1".to_owned()),
                ];
                if name == SLOW {
                    let seconds = self.settings.long_query_time.as_secs_f64();
                    options.insert(2, ("long_query_time", seconds.to_string()));
                }
                options
            }
        };
        let mut session = self.session().await?;
        let mut statements: Vec<String> = options.iter().map(set_global).collect();
        if !on {
            statements.push(format!("SET GLOBAL {switch} = 0"));
        }
        let done = run_all(&mut session, &statements).await;
        session.close().await;
        done.map_err(|error| sql_error(format!("switch log {name}"), error))?;
        self.write_log_override(name, &options)
    }

    fn write_log_override(&self, name: &str, options: &[(&str, String)]) -> Result<()> {
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        if options.is_empty() {
            return overrides.remove(Group::SystemEarly, &id_of(name));
        }
        let mut document = Document::default();
        for (option, value) in options {
            document.set(SERVER_SECTION, option, Some(value));
        }
        overrides.write(Group::SystemEarly, &id_of(name), &document)
    }

    /// Makes the server write its error log to a file that tenants can have
    /// published. The directory is root's: the file has to be there before the
    /// server is.
    pub(crate) fn open_error_log(&self) -> Result<()> {
        let path = &self.settings.layout.error_log;
        self.make_error_log(path)?;
        let mut document = Document::default();
        document.set(SERVER_SECTION, "log_error", path.to_str());
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        overrides.write(Group::SystemEarly, ERROR_ID, &document)
    }

    /// Lets programs that are run once speak for themselves.
    pub(crate) fn close_error_log(&self) -> Result<()> {
        Overrides::new(&self.settings.layout.include_dir).remove(Group::SystemEarly, ERROR_ID)
    }

    fn make_error_log(&self, path: &Path) -> Result<()> {
        let account = &self.settings.account;
        if std::fs::symlink_metadata(path)
            .is_ok_and(|found| found.is_file() && found.uid() == account.uid)
        {
            return Ok(());
        }
        let attributes = Attributes {
            mode: 0o640,
            owner: Some((account.uid, account.gid)),
        };
        guest::write_atomic(path, b"", &attributes).map_err(os_error)
    }

    /// The size of the error log.
    pub(crate) fn error_log_size(&self) -> u64 {
        let path = &self.settings.layout.error_log;
        std::fs::metadata(path).map_or(0, |found| found.len())
    }

    /// What the server has said was wrong since its log was of size `since`;
    /// its last words if it has called nothing so.
    pub(crate) fn said_since(&self, since: u64) -> String {
        let tail = tail_of(&self.settings.layout.error_log, since);
        errors_of(&tail.unwrap_or_default())
    }

    /// Begins log files anew that have grown too large.
    pub(crate) async fn bound_logs(&self) -> Result<()> {
        for log in self.server_logs() {
            let large = std::fs::symlink_metadata(&log.path)
                .is_ok_and(|found| found.is_file() && found.len() > LARGEST);
            if large && let Err(error) = self.begin_anew(&log).await {
                warn!(%error, log = log.name, "Log file not begun anew.");
            }
        }
        Ok(())
    }

    /// Renames a log file and lets the server begin another.
    pub(crate) async fn begin_anew(&self, log: &ServerLog) -> Result<()> {
        // Only a server that runs can let go of the old one.
        let mut session = self.session().await?;
        let mut old = log.path.clone().into_os_string();
        old.push(".1");
        std::fs::rename(&log.path, &old)
            .map_err(|error| Error::failed(format!("rename {}: {error}", log.path.display())))?;
        if log.kind == LogKind::System {
            self.make_error_log(&log.path)?;
        }
        let which = match log.name {
            GENERAL => "GENERAL",
            SLOW => "SLOW",
            _ => "ERROR",
        };
        // Every server does this for itself.
        let flush = format!("FLUSH NO_WRITE_TO_BINLOG {which} LOGS");
        let flushed = session.run(&flush).await;
        session.close().await;
        flushed.map_err(|error| sql_error(format!("begin log {} anew", log.name), error))?;
        info!(log = log.name, "Log file begun anew.");
        Ok(())
    }
}

fn id_of(name: &str) -> String {
    format!("{name}_log")
}

/// The variable that switches a log of the tenant's.
fn switch_of(name: &str) -> Result<&'static str> {
    match name {
        GENERAL => Ok("general_log"),
        SLOW => Ok("slow_query_log"),
        _ => Err(Error::bad_request(format!(
            "Log {name:?} cannot be switched"
        ))),
    }
}

fn file_of(name: &str) -> &'static str {
    match name {
        GENERAL => "general_log_file",
        _ => "slow_query_log_file",
    }
}

fn set_global((option, value): &(&str, String)) -> String {
    let value = match value.parse::<f64>() {
        Ok(_) => value.clone(),
        Err(_) => sql::literal(value),
    };
    format!("SET GLOBAL {option} = {value}")
}

async fn run_all(session: &mut Session, statements: &[String]) -> SqlResult<()> {
    for statement in statements {
        session.run(statement).await?;
    }
    Ok(())
}

/// The last lines of a file that was of size `since`.
fn tail_of(path: &Path, since: u64) -> std::io::Result<String> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let offset = size.saturating_sub(TAIL).max(since.min(size));
    let mut bytes = vec![0; usize::try_from(size - offset).unwrap_or_default()];
    file.read_exact_at(&mut bytes, offset)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(tail_of(&path, 0).is_err());
        let lines: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(tail_of(&path, 0).unwrap(), lines[985..].join("\n"));
        let last = std::fs::metadata(&path).unwrap().len() - 8;
        assert_eq!(tail_of(&path, last).unwrap(), "line 999");
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(tail_of(&path, 0).unwrap(), "one");
        assert_eq!(tail_of(&path, 100).unwrap(), "");
    }

    #[test]
    fn numbers_are_numbers_and_names_are_quoted() {
        let set = |value: &str| set_global(&("x", value.to_owned()));
        assert_eq!(set("0.5"), "SET GLOBAL x = 0.5");
        assert_eq!(set("/a'b"), "SET GLOBAL x = '/a''b'");
    }
}
