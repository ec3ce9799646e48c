//! `pg_upgrade`: from the old data to the new.
//!
//! It starts both servers by itself, on a socket of its own and with a
//! configuration of its own, which lets in nobody but the account it runs as.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datastore::{Error, ErrorKind, Result, Secret};
use guest::{Attributes, Command, Output};
use managed::{Examiner as _, OptionFile as _};
use tracing::{info, warn};

use super::facts::Facts;
use super::place::Transfer;
use crate::Server;
use crate::conf::Document;
use crate::errors::os_error;
use crate::recovered::AUTO_CONF;
use crate::server::SUPERUSER;
use crate::{logs, sql};

/// Creating the system tables takes seconds; on slow volumes more of them.
const INITIALISE_LIMIT: Duration = Duration::from_secs(600);
const CHECK_LIMIT: Duration = Duration::from_secs(600);
/// Large data takes long to copy; a conversion that was killed is for nothing.
const CONVERT_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// More processes than this compete for the same disk.
const MOST_JOBS: usize = 4;
/// Files of the old data directory that belong to the server, not to its
/// version. What ALTER SYSTEM has set is looked at first.
const TAKEN_ALONG: [&str; 4] = ["server.key", "server.crt", "ca.crt", ".replpass"];
/// The map of accounts that holds while `pg_upgrade` works.
const MAP: &str = "upgrade";
/// Lines of its output in an error, and of a file that it names there.
const LINES: usize = 12;

impl Server {
    /// Makes the empty data directory of the new server.
    pub(super) async fn make_new_data(&self, facts: &Facts, programs: &Path) -> Result<()> {
        let layout = &self.settings.layout;
        let account = &self.settings.account;
        let private = Attributes {
            mode: 0o700,
            owner: Some((account.uid, account.gid)),
        };
        for dir in [layout.new_data(), layout.upgrade_dir()] {
            guest::ensure_directory(&dir, &private).map_err(os_error)?;
        }
        self.write_own_configuration(facts, &private)?;
        let major = crate::installation::version_in(programs).await?.major;
        Command::new(programs.join("initdb"))
            .arg("-D")
            .arg(layout.new_data())
            .args(["--username", SUPERUSER])
            .args(["--auth-local", "peer", "--auth-host", "scram-sha-256"])
            .args(facts.options(major))
            .user(account.uid, account.gid)
            .timeout(INITIALISE_LIMIT)
            .run()
            .await
            .map(drop)
            .map_err(os_error)
    }

    fn write_own_configuration(&self, facts: &Facts, private: &Attributes) -> Result<()> {
        let path = |name: &str| self.own_file(name);
        let mut document = Document::default();
        for (name, value) in &facts.parameters {
            document.set(name, value);
        }
        document.set("hba_file", &path("hba").to_string_lossy());
        document.set("ident_file", &path("ident").to_string_lossy());
        let account = sql::identifier(&self.settings.account.name);
        let private = Attributes {
            mode: 0o600,
            ..*private
        };
        for (name, text) in [
            ("conf", document.to_string()),
            ("hba", format!("local all {SUPERUSER} peer map={MAP}\n")),
            ("ident", format!("{MAP} {account} {SUPERUSER}\n")),
        ] {
            guest::write_atomic(&path(name), text.as_bytes(), &private).map_err(os_error)?;
        }
        Ok(())
    }

    fn own_file(&self, name: &str) -> PathBuf {
        self.settings.layout.upgrade_dir().join(name)
    }

    /// Asks `pg_upgrade` whether it could, while the old server goes on.
    pub(super) async fn check_conversion(
        &self,
        old: &Path,
        new: &Path,
        transfer: Transfer,
    ) -> Result<()> {
        // It logs in to the running server as the server's account.
        self.let_in(&[&self.settings.account.name])?;
        let checked = async {
            self.reload(&BTreeMap::new()).await?;
            self.pg_upgrade(old, new, transfer)
                .arg("--check")
                .timeout(CHECK_LIMIT)
                .output()
                .await
                .map_err(os_error)
        };
        let checked = checked.await;
        self.write_access_rules()?;
        self.reload(&BTreeMap::new()).await?;
        let output = checked?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::NotSupported,
                format!("The data cannot be upgraded: {}", complaint(&output)),
            )),
        }
    }

    /// Takes the data over. The old server is down.
    pub(super) async fn convert(
        &self,
        facts: &Facts,
        old: &Path,
        new: &Path,
        transfer: Transfer,
    ) -> Result<()> {
        info!(
            ?transfer,
            parameters = facts.parameters.len(),
            "Converting the data."
        );
        let output = self
            .pg_upgrade(old, new, transfer)
            .timeout(CONVERT_LIMIT)
            .output()
            .await
            .map_err(os_error)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Error::failed(format!(
                "pg_upgrade failed, and the server is what it was: {}",
                complaint(&output)
            ))),
        }
    }

    fn pg_upgrade(&self, old: &Path, new: &Path, transfer: Transfer) -> Command {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        let dir = layout.upgrade_dir();
        let options = format!("-c config_file={}", self.own_file("conf").display());
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        // It writes scripts into its working directory.
        let mut chdir = std::ffi::OsString::from("--chdir=");
        chdir.push(&dir);
        Command::new("env")
            .arg(chdir)
            .arg(new.join("pg_upgrade"))
            .arg("--old-bindir")
            .arg(old)
            .arg("--new-bindir")
            .arg(new)
            .arg("--old-datadir")
            .arg(layout.data_dir())
            .arg("--new-datadir")
            .arg(layout.new_data())
            .args(["--old-options", &options, "--new-options", &options])
            .arg("--socketdir")
            .arg(&dir)
            .args(["--username", SUPERUSER])
            .arg(format!("--jobs={}", jobs.min(MOST_JOBS)))
            .args(transfer.option())
            .user(account.uid, account.gid)
    }

    /// Takes along what is the server's own beside its databases.
    pub(super) async fn take_along(&self, programs: &Path) -> Result<()> {
        let layout = &self.settings.layout;
        let (old, new) = (layout.data_dir(), layout.new_data());
        let account = &self.settings.account;
        let private = Attributes {
            mode: 0o600,
            owner: Some((account.uid, account.gid)),
        };
        for name in TAKEN_ALONG {
            let text = guest::read_optional(&old.join(name)).map_err(os_error)?;
            let Some(text) = text.map(Secret::new) else {
                continue;
            };
            guest::write_atomic(&new.join(name), text.expose().as_bytes(), &private)
                .map_err(os_error)?;
        }
        let text = guest::read_optional(&old.join(AUTO_CONF)).map_err(os_error)?;
        let mut document = Document::parse(&text.unwrap_or_default());
        for name in self.examiner(programs).examine(&document).await?.refused {
            warn!(
                parameter = name,
                "The new server refuses what ALTER SYSTEM has set; left out."
            );
            document.comment_out(&name, "Refused by the new server");
        }
        let path = new.join(AUTO_CONF);
        guest::write_atomic(&path, document.to_string().as_bytes(), &private).map_err(os_error)?;
        // Both have it: whichever data is used goes on with it.
        let (log, same) = (old.join(logs::FILE), new.join(logs::FILE));
        if log.exists()
            && let Err(error) = std::fs::hard_link(&log, &same)
        {
            warn!(%error, "The tenant's log begins anew.");
        }
        Ok(())
    }
}

/// What `pg_upgrade` has to say, with what the file tells that it names: a list
/// of things that are in its way, or the log of a program that has failed.
fn complaint(output: &Output) -> String {
    let text = output.stdout_text() + &output.stderr_tail();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.ends_with(" ok"))
        .collect();
    let mut told = lines[lines.len().saturating_sub(LINES)..].join("; ");
    let named = lines.iter().find_map(|line| {
        let quoted = || line.split('"').find(|word| word.ends_with(".log"));
        line.ends_with(".txt").then_some(*line).or_else(quoted)
    });
    if let Some(path) = named
        && let Ok(contents) = std::fs::read_to_string(path)
    {
        // Logs also quote statements: not those.
        let says = |line: &&str| path.ends_with(".txt") || is_error(line);
        let words: Vec<&str> = contents.lines().filter(says).take(LINES).collect();
        told = format!("{told}: {}", words.join("; "));
    }
    told
}

fn is_error(line: &str) -> bool {
    ["error:", "ERROR:", "FATAL:", "could not"]
        .iter()
        .any(|word| line.contains(word))
}
