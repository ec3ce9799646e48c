//! Questions to a source, by the programs that come with the server: they
//! speak TLS and replication as the server itself does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use datastore::{Error, ErrorKind, ReplicaContext, Result};
use guest::Command;
use tracing::{debug, warn};

use super::link::{Link, password_line};
use crate::Server;
use crate::errors::os_error;
use crate::place::Lsn;

/// How long a source may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// SQLSTATE of a slot that exists already, or that does not exist.
const DUPLICATE: &str = "42710";
const UNDEFINED: &str = "42704";

/// Who a source says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The same for a source and all of its replicas.
    pub(super) system: String,
    /// The timeline it writes.
    pub(super) timeline: u32,
    /// How far it has written.
    pub(super) place: Lsn,
}

/// A source to talk to.
pub(super) struct Remote {
    pub(super) link: Link,
    password: PasswordFile,
    programs: PathBuf,
    account: (u32, u32),
}

/// The password while it is being tried, or the one that is in use.
enum PasswordFile {
    Tried(PathBuf),
    Used(PathBuf),
}

impl PasswordFile {
    fn path(&self) -> &Path {
        match self {
            Self::Tried(path) | Self::Used(path) => path,
        }
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        if let Self::Tried(path) = self
            && let Err(error) = guest::remove_if_exists(path)
        {
            warn!(%error, "File with a password not removed.");
        }
    }
}

impl Server {
    /// The source of a context. What is in use does not change.
    pub(super) fn remote(&self, context: &ReplicaContext) -> Result<Remote> {
        let path = self.settings.layout.password_file();
        let path = path.with_file_name(".replica.pass.tried");
        self.write_volume_file(&path, &password_line(context))?;
        self.remote_with(Link::of(context), PasswordFile::Tried(path))
    }

    /// The source that this server is linked to.
    pub(super) fn linked_remote(&self, link: Link) -> Result<Remote> {
        let path = self.settings.layout.password_file();
        self.remote_with(link, PasswordFile::Used(path))
    }

    fn remote_with(&self, link: Link, password: PasswordFile) -> Result<Remote> {
        let account = &self.settings.account;
        Ok(Remote {
            link,
            password,
            programs: self.programs(None)?,
            account: (account.uid, account.gid),
        })
    }
}

impl Remote {
    /// Who the source is.
    pub(super) async fn identify(&self) -> Result<Identity> {
        let answer = self.ask("IDENTIFY_SYSTEM").await?;
        let identity = identity(&answer)
            .ok_or_else(|| self.failed(ErrorKind::Failed, &format!("it answers {answer:?}")))?;
        debug!(?identity, "Source found.");
        Ok(identity)
    }

    /// Lets the source keep what this replica has not got yet.
    pub(super) async fn create_slot(&self, name: &str) -> Result<()> {
        let statement = format!("CREATE_REPLICATION_SLOT {name} PHYSICAL RESERVE_WAL");
        self.unless(DUPLICATE, &statement).await
    }

    /// Ends that.
    pub(super) async fn drop_slot(&self, name: &str) -> Result<()> {
        let statement = format!("DROP_REPLICATION_SLOT {name} WAIT");
        self.unless(UNDEFINED, &statement).await
    }

    async fn unless(&self, state: &str, statement: &str) -> Result<()> {
        let output = self.send(statement).await?;
        let complaint = text_of(&output.stderr);
        match output.status.success() || complaint.contains(&format!(" {state}: ")) {
            true => Ok(()),
            false => Err(self.refusal(&complaint)),
        }
    }

    async fn ask(&self, statement: &str) -> Result<String> {
        let output = self.send(statement).await?;
        match output.status.success() {
            true => Ok(output.stdout_text()),
            false => Err(self.refusal(&text_of(&output.stderr))),
        }
    }

    async fn send(&self, statement: &str) -> Result<guest::Output> {
        let more = [
            ("dbname", "postgres"),
            ("replication", "true"),
            ("application_name", "trove-guestagent"),
        ];
        self.program("psql")
            .args(["-X", "-A", "-t", "-q"])
            .args(["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"])
            .arg("-d")
            .arg(self.link.text(self.password.path(), &more))
            .stdin(format!("{statement};\n"))
            .timeout(ANSWER_LIMIT)
            .output()
            .await
            .map_err(os_error)
    }

    /// A program of the server's, as its account.
    pub(super) fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name)).user(self.account.0, self.account.1)
    }

    /// The text for a program that reads the source's files.
    pub(super) fn text(&self) -> String {
        let more = [("dbname", "postgres")];
        self.link.text(self.password.path(), &more)
    }

    fn refusal(&self, complaint: &str) -> Error {
        self.failed(ErrorKind::Failed, &words(complaint))
    }

    /// An error that names the source.
    pub(super) fn failed(&self, kind: ErrorKind, what: &str) -> Error {
        let Link { host, port, .. } = &self.link;
        Error::new(
            kind,
            format!("Cannot follow the source {host}:{port}: {what}"),
        )
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a client program complains about, in one line.
fn words(complaint: &str) -> String {
    let is_news = |line: &&str| !line.is_empty() && !line.starts_with("LOCATION:");
    let lines: Vec<&str> = complaint
        .lines()
        .map(|line| line.trim_start_matches("psql: error: ").trim())
        .filter(is_news)
        .collect();
    match lines.is_empty() {
        true => "it does not say why".to_owned(),
        false => lines.join("; "),
    }
}

/// Reads `system|timeline|place|`.
fn identity(answer: &str) -> Option<Identity> {
    let mut fields = answer.trim().split('|');
    Some(Identity {
        system: fields.next()?.to_owned(),
        timeline: fields.next()?.parse().ok()?,
        place: Lsn::parse(fields.next()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_real_sources() {
        let answer = "7577162356467893265|2|0/03000148|\n";
        assert_eq!(
            identity(answer),
            Some(Identity {
                system: "7577162356467893265".into(),
                timeline: 2,
                place: Lsn(0x3000148),
            })
        );
        for answer in ["", "1|x|0/0|", "1|2"] {
            assert_eq!(identity(answer), None, "{answer}");
        }
    }

    #[test]
    fn complaints_become_one_line() {
        let complaint = "psql: error: connection to server at \"192.0.2.1\", port 5432 failed: \
             FATAL:  password authentication failed for user \"replicator\"\n\n";
        assert_eq!(
            words(complaint),
            "connection to server at \"192.0.2.1\", port 5432 failed: FATAL:  password \
             authentication failed for user \"replicator\""
        );
        let complaint = "ERROR:  53400: all replication slots are in use\nHINT:  Free one.\n\
             LOCATION:  x, slot.c:347\n";
        assert_eq!(
            words(complaint),
            "ERROR:  53400: all replication slots are in use; HINT:  Free one."
        );
        assert_eq!(words("\n"), "it does not say why");
    }
}
