//! The channel between a replica and its source.

use std::time::{Duration, Instant};

use datastore::{Error, ErrorKind, Result};
use mysql_async::Row;

use super::syntax::Syntax;
use crate::Vendor;
use crate::errors::sql_error;
use crate::session::{Session, SqlResult};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What the server says of its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Channel {
    /// Where the source is.
    pub(super) host: String,
    /// Its port.
    pub(super) port: String,
    /// Whom the replica logs in as.
    pub(super) user: String,
    /// The source's UUID, or its server id in MariaDB; empty before the first
    /// connection.
    pub(super) source: String,
    /// GTIDs that have been received: all since the replica's start in MySQL,
    /// the last ones in MariaDB.
    pub(super) received: String,
    /// Whether encryption is demanded.
    pub(super) tls: bool,
    receiving: Thread,
    applying: Thread,
    /// Whether all of what has been received is read.
    idle: bool,
    /// Whether the source has begun to send.
    begun: bool,
}

/// A half of the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Thread {
    state: String,
    error: String,
}

impl Thread {
    fn runs(&self) -> bool {
        self.state == "Yes"
    }

    /// Stopped by an error, other than on request.
    fn failed(&self) -> bool {
        self.state == "No" && !self.error.is_empty()
    }
}

impl Channel {
    /// The server's own channel, if it has a source.
    pub(super) async fn of(session: &mut Session) -> SqlResult<Option<Self>> {
        let syntax = Syntax::of(session.version());
        let vendor = session.version().vendor;
        let rows = session.text_rows(syntax.status()).await?;
        let channels = rows.iter().map(|row| Self::read(row, syntax, vendor));
        // A tenant's own channels have names.
        Ok(channels
            .filter(|(name, channel)| name.is_empty() && !channel.host.is_empty())
            .map(|(_, channel)| channel)
            .next())
    }

    fn read(row: &Row, syntax: Syntax, vendor: Vendor) -> (String, Self) {
        let value = |old: &str| text(row, &syntax.column(old));
        let (source, received) = match vendor {
            Vendor::MySql => ("Master_UUID", "Retrieved_Gtid_Set"),
            Vendor::MariaDb => ("Master_Server_Id", "Gtid_IO_Pos"),
        };
        let thread = |name: &str| Thread {
            state: value(&format!("Slave_{name}_Running")),
            error: value(&format!("Last_{name}_Error")),
        };
        let channel = Self {
            host: value("Master_Host"),
            port: value("Master_Port"),
            user: value("Master_User"),
            source: match value(source) {
                none if none == "0" => String::new(),
                source => source,
            },
            received: value(received).replace('\n', ""),
            tls: value("Master_SSL_Allowed") == "Yes",
            receiving: thread("IO"),
            applying: thread("SQL"),
            idle: value("Slave_SQL_Running_State").contains("read all relay log"),
            begun: !value("Master_Log_File").is_empty(),
        };
        (value("Channel_Name"), channel)
    }

    /// The channel of a server that has one.
    pub(super) async fn present(session: &mut Session) -> Result<Self> {
        let channel = Self::of(session).await.map_err(unknown)?;
        channel.ok_or_else(|| {
            Error::bad_request(
                "This server is no replica, so it does not get transactions of a source",
            )
        })
    }

    /// Whether it is connected, and both halves work.
    pub(super) fn works(&self) -> bool {
        self.receiving.runs() && self.applying.runs() && self.begun
    }

    /// Whether what has been received is being applied.
    pub(super) fn applies(&self) -> bool {
        self.applying.runs()
    }

    /// Whether there is nothing left to be applied, other than what has been
    /// begun.
    pub(super) fn idles(&self) -> bool {
        self.applies() && self.idle
    }

    /// Why it has ended, if it has not on request.
    pub(super) fn failure(&self) -> Option<&str> {
        let threads = [&self.applying, &self.receiving];
        let failed = threads.into_iter().find(|thread| thread.failed())?;
        Some(&failed.error)
    }

    /// What is wrong with it, as far as it says so.
    pub(super) fn complaint(&self) -> &str {
        let errors = [&self.applying.error, &self.receiving.error];
        let error = errors.into_iter().find(|error| !error.is_empty());
        error.map_or("no error so far", String::as_str)
    }

    /// The replica does not do what it should.
    pub(super) fn broken(&self, kind: ErrorKind) -> Error {
        Error::new(
            kind,
            format!(
                "The replica does not follow its source {}:{}: {}",
                self.host,
                self.port,
                self.complaint()
            ),
        )
    }
}

/// Waits until transactions of the source come in.
pub(super) async fn wait_following(session: &mut Session, limit: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        let channel = Channel::present(session).await?;
        if channel.works() {
            return Ok(());
        }
        if channel.failure().is_some() {
            return Err(channel.broken(ErrorKind::Failed));
        }
        if started.elapsed() >= limit {
            return Err(channel.broken(ErrorKind::Timeout));
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) fn unknown(error: crate::session::SqlError) -> Error {
    sql_error("ask the server about its source", error)
}

/// A column as text; nothing for NULL and for what this version does not have.
fn text(row: &Row, name: &str) -> String {
    match row.get_opt::<Option<Vec<u8>>, _>(name) {
        Some(Ok(Some(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(receiving: (&str, &str), applying: (&str, &str), begun: bool) -> Channel {
        let thread = |(state, error): (&str, &str)| Thread {
            state: state.into(),
            error: error.into(),
        };
        Channel {
            host: "192.0.2.7".into(),
            port: "3306".into(),
            user: "slave_1".into(),
            source: String::new(),
            received: String::new(),
            tls: true,
            receiving: thread(receiving),
            applying: thread(applying),
            idle: false,
            begun,
        }
    }

    #[test]
    fn a_channel_tells_whether_it_works() {
        let yes = ("Yes", "");
        assert!(channel(yes, yes, true).works());
        // Connected, but the source has not looked at our position yet.
        assert!(!channel(yes, yes, false).works());
        let away = channel(("Connecting", "cannot connect"), yes, false);
        assert!(!away.works() && away.failure().is_none());
        assert_eq!(away.complaint(), "cannot connect");
        // Not started, and not refused either.
        assert_eq!(channel(("No", ""), ("No", ""), false).failure(), None);
        let refused = channel(("No", "it was purged"), yes, true);
        assert_eq!(refused.failure(), Some("it was purged"));
        let text = refused.broken(ErrorKind::Failed).to_string();
        assert!(text.contains("192.0.2.7:3306") && text.contains("purged"));
    }
}
