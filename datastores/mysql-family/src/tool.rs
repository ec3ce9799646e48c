//! The backup tools of this family: mariadb-backup and xtrabackup have one
//! ancestor, and the same options, log lines and files.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use datastore::{BackupMetadata, Error, ErrorKind, Result};
use guest::{Attributes, Command, CommandError, Output};
use tracing::debug;

use crate::cnf::Document;
use crate::credentials::Login;
use crate::errors::os_error;
use crate::version::leading_number;
use crate::{Flavor, Server, ServerVersion, Vendor};

/// The last words of a tool that has done its work.
const SUCCESS: &str = "completed OK!";
/// Object stores take values of metadata up to this length.
const METADATA_LIMIT: usize = 256;
/// Lines in an error.
const LAST_WORDS: usize = 5;

/// A product among the tools.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Names of the program, newest first.
    pub(crate) programs: &'static [&'static str],
    /// The package that provides it.
    pub(crate) package: &'static str,
    /// Whether a backup must be kept open (`--apply-log-only`) until the last
    /// increment is in.
    pub(crate) keeps_open: bool,
    /// Whether a tool of this version wants `--incremental` beside the LSN.
    pub(crate) names_increments: fn(own: Number) -> bool,
}

/// major, minor, patch.
pub(crate) type Number = (u32, u32, u32);

impl Tool {
    /// The tool of a product.
    pub(crate) fn of(vendor: Vendor) -> &'static Self {
        match vendor {
            Vendor::MySql => &crate::xtrabackup::XTRABACKUP,
            Vendor::MariaDb => &crate::mariabackup::MARIADB_BACKUP,
        }
    }
}

/// A tool that is installed and fits the server.
#[derive(Debug)]
pub(crate) struct InstalledTool {
    pub(crate) kind: &'static Tool,
    pub(crate) program: PathBuf,
    /// Its own version; mariadb-backup has that of the server.
    pub(crate) own: Number,
}

impl<F: Flavor> Server<F> {
    /// The tool for a server of this version. Others may fail, or make
    /// backups that cannot be restored, so they are refused.
    pub(crate) async fn backup_tool(&self, server: &ServerVersion) -> Result<InstalledTool> {
        let kind = Tool::of(server.vendor);
        let missing = |names: &[&str]| {
            Error::failed(format!(
                "There is no {} for {server}: install {} in the image",
                names[0], kind.package
            ))
        };
        let program = self.find_tool(kind.programs);
        let program = program.ok_or_else(|| missing(kind.programs))?;
        let output = Command::new(&program).arg("--version").run().await;
        let output = output.map_err(os_error)?;
        // Some releases answer on one of them, some on the other.
        let text = format!("{}\n{}", output.stdout_text(), output.stderr_tail());
        let Some((own, made_for)) = versions_in(&text) else {
            return Err(Error::failed(format!(
                "{} does not tell its version: {:?}",
                program.display(),
                text.trim()
            )));
        };
        let series = |number: Number| (number.0, number.1);
        if series(made_for) != series(server.number) {
            let (major, minor, patch) = made_for;
            return Err(Error::failed(format!(
                "{} is made for {} {major}.{minor}.{patch}, but the server is {server}: install \
                 the {} for {}.{} in the image",
                program.display(),
                server.vendor,
                kind.package,
                server.number.0,
                server.number.1
            )));
        }
        debug!(program = %program.display(), "Backup tool found.");
        Ok(InstalledTool { kind, program, own })
    }
}

/// Own version and that of the server it is made for, from `--version`:
/// `xtrabackup version 8.0.35-30 based on MySQL server 8.0.35 Linux`,
/// `mariadb-backup based on MariaDB server 10.11.19-MariaDB`.
fn versions_in(text: &str) -> Option<(Number, Number)> {
    let line = text.lines().find(|line| line.contains(" based on "))?;
    let (own, server) = line.split_once(" based on ")?;
    let made_for = leading_number(server.split_once(" server ")?.1)?;
    let own = match own.split_once(" version ") {
        Some((_, own)) => leading_number(own.trim())?,
        None => made_for,
    };
    Some((own, made_for))
}

/// Writes the option file that a tool gets: the server's own, and how to log
/// in. Only the account can read it.
pub(crate) fn write_options(
    path: &Path,
    base_config: &Path,
    socket: &Path,
    login: &Login,
    owner: (u32, u32),
) -> Result<()> {
    let mut options = Document::parse(&format!("!include {}\n", base_config.display()));
    let socket = socket.to_string_lossy();
    // Every tool reads these groups; the last line wins.
    for group in ["client", "xtrabackup"] {
        options.set(group, "user", Some(&quoted(&login.user)));
        options.set(group, "password", Some(&quoted(login.password.expose())));
        options.set(group, "socket", Some(&quoted(&socket)));
    }
    let private = Attributes {
        mode: 0o600,
        owner: Some(owner),
    };
    guest::write_atomic(path, options.to_string().as_bytes(), &private).map_err(os_error)
}

/// A value of an option file, whatever it holds (MySQL manual, "Using Option
/// Files": quotes keep `#` and blanks, backslashes escape).
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// What a tool says while it works.
#[derive(Debug, Default)]
pub(crate) struct ToolLog {
    completed: bool,
    last_words: VecDeque<String>,
    metadata: BackupMetadata,
}

impl ToolLog {
    /// Takes a line in.
    pub(crate) fn read(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if !is_progress(line) {
            self.last_words.truncate(LAST_WORDS - 1);
            self.last_words.push_front(line.to_owned());
        }
        // Only the last line counts.
        self.completed = line.ends_with(SUCCESS);
        if let Some(lsn) = quoted_after(line, "The latest check point (for incremental): ")
            && !lsn.is_empty()
            && lsn.bytes().all(|c| c.is_ascii_digit())
        {
            self.set("lsn", lsn);
        }
        if let Some((_, position)) = line.split_once("binlog position: ") {
            for (key, words) in [
                ("binlog_file", "filename "),
                ("binlog_position", "position "),
                ("gtid", "GTID of the last change "),
            ] {
                if let Some(value) = quoted_after(position, words) {
                    self.set(key, value);
                }
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        if value.len() <= METADATA_LIMIT {
            self.metadata.insert(key.to_owned(), value.to_owned());
        }
    }

    /// Checks the end of a tool, which has to say that all is done.
    pub(crate) fn judge(&self, ended: std::result::Result<Output, CommandError>) -> Result<()> {
        let how = match &ended {
            Ok(_) if self.completed => return Ok(()),
            Ok(_) => "ended without success".to_owned(),
            Err(CommandError::Failed { status, .. }) => format!("failed ({status})"),
            Err(other) => other.to_string(),
        };
        let words: Vec<&str> = self.last_words.iter().rev().map(String::as_str).collect();
        let text = format!("the tool {how}; its last words: {}", words.join(" | "));
        Err(match ended {
            Ok(_) => Error::failed(text),
            Err(error) => Error::with_source(ErrorKind::Failed, text, error),
        })
    }

    /// What is known of the backup.
    pub(crate) fn metadata(&self) -> &BackupMetadata {
        &self.metadata
    }
}

/// Lines that come by the thousand and tell nothing about a failure.
fn is_progress(line: &str) -> bool {
    [
        "log scanned up to",
        " Copying ",
        " Streaming ",
        "...done",
        "copied successfully",
    ]
    .iter()
    .any(|words| line.contains(words))
}

/// The text in single quotes that follows `words`.
fn quoted_after<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(words)?;
    Some(rest.strip_prefix('\'')?.split_once('\'')?.0)
}

#[cfg(test)]
mod tests {
    use datastore::Secret;

    use super::*;

    #[test]
    fn versions_that_tools_report() {
        for (text, own, made_for) in [
            (
                "mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)",
                (10, 11, 19),
                (10, 11, 19),
            ),
            (
                "recognized server arguments: --datadir=/x\n\
                 xtrabackup version 2.4.28 based on MySQL server 5.7.40 Linux (x86_64) (revision id: 1)",
                (2, 4, 28),
                (5, 7, 40),
            ),
            (
                "xtrabackup version 8.0.35-30 based on MySQL server 8.0.35 Linux (x86_64)",
                (8, 0, 35),
                (8, 0, 35),
            ),
        ] {
            assert_eq!(versions_in(text), Some((own, made_for)), "{text}");
        }
        assert_eq!(versions_in("xtrabackup: command not understood"), None);
    }

    #[test]
    fn logs_are_understood() {
        let mut log = ToolLog::default();
        for line in [
            "[00] 2026-11-22 08:04:27 MySQL binlog position: filename 'bin.000001', position '94494', GTID of the last change '0-23310-5'",
            "[00] 2026-11-22 08:04:27 The latest check point (for incremental): '44776'",
            "[00] 2026-11-22 08:04:27 completed OK!",
            "",
        ] {
            log.read(line);
        }
        assert!(log.completed);
        let metadata: Vec<_> = log
            .metadata()
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            metadata,
            [
                ("binlog_file", "bin.000001"),
                ("binlog_position", "94494"),
                ("gtid", "0-23310-5"),
                ("lsn", "44776")
            ]
        );
        log.read("[00] FATAL ERROR: too late");
        log.read("[01] 2026-11-22 08:04:29 ...done");
        assert!(!log.completed);
        let status = std::os::unix::process::ExitStatusExt::from_raw(256);
        let ended = Output {
            status,
            stdout: Vec::new(),
            stderr: b"noise".to_vec(),
        };
        let error = log.judge(Err(ended.into_error("tool"))).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the tool failed (exit status: 1); its last words: "));
        assert!(text.ends_with(" | [00] FATAL ERROR: too late"), "{text}");
    }

    #[test]
    fn passwords_survive_option_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("options.cnf");
        let login = Login {
            user: "os_admin".into(),
            password: Secret::new(r#"a#"b\n 'c"#),
        };
        let socket = Path::new("/run/mysqld/mysqld.sock");
        use std::os::unix::fs::MetadataExt;
        let own = std::fs::metadata(dir.path()).unwrap();
        let owner = (own.uid(), own.gid());
        write_options(&path, Path::new("/etc/mysql/my.cnf"), socket, &login, owner).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().take(3).collect::<Vec<_>>(),
            [
                "!include /etc/mysql/my.cnf",
                "[client]",
                "user = \"os_admin\""
            ]
        );
        assert!(text.contains("password = \"a#\\\"b\\\\n 'c\"\n"), "{text}");
    }
}
