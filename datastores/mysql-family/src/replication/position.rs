//! How far a server has come.

use std::time::{Duration, Instant};

use datastore::{Error, ErrorKind, LastTransaction, Result};
use serde_json::{Map, Value};
use tracing::info;

use super::channel::{Channel, unknown};
use super::gtid::{MariadbPosition, last_number};
use super::syntax::Syntax;
use crate::errors::sql_error;
use crate::marker::Marker;
use crate::session::{Session, SqlError, SqlResult};
use crate::{Flavor, Server, Vendor};

/// How long the server waits between two looks at the channel, in seconds.
const SLICE: u32 = 2;
/// Key of MariaDB's position, which is upstream's, and of MySQL's, which
/// upstream leaves out.
const MARIADB_KEY: &str = "gtid_pos";
const MYSQL_KEY: &str = "gtid_executed";

/// Everything that has been done here, in the server's own words.
pub(super) async fn executed(session: &mut Session) -> SqlResult<String> {
    if session.version().vendor == Vendor::MariaDb {
        return furthest(session).await.map(|position| position.to_string());
    }
    let text: Option<String> = session.first("SELECT @@GLOBAL.gtid_executed", ()).await?;
    // Long sets are broken into lines.
    Ok(text.unwrap_or_default().replace('\n', ""))
}

/// MariaDB has two positions: of what was replicated, and of what is in the
/// binary log, which is both when replicas log, and nothing when it is new.
pub(super) async fn furthest(session: &mut Session) -> SqlResult<MariadbPosition> {
    let query = "SELECT @@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_pos";
    let texts: Option<(String, String)> = session.first(query, ()).await?;
    let (replicated, logged) = texts.unwrap_or_default();
    Ok(parsed(&replicated)?.furthest(&parsed(&logged)?))
}

fn parsed(text: &str) -> SqlResult<MariadbPosition> {
    MariadbPosition::parse(text).ok_or_else(|| SqlError::Nonsense(format!("position {text:?}")))
}

/// Refuses to follow a source that lacks transactions which are here: both
/// would believe to have the same and have not. A source of upstream's does not
/// tell what MySQL servers have.
pub(super) async fn check_history(
    session: &mut Session,
    source: &Map<String, Value>,
) -> Result<()> {
    let failed = |error| sql_error("compare the transactions with those of the source", error);
    let told = |key: &str| source.get(key).and_then(Value::as_str).map(str::to_owned);
    let beyond = match session.version().vendor {
        Vendor::MySql => {
            let Some(theirs) = told(MYSQL_KEY) else {
                return Ok(());
            };
            let query = "SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, ?)";
            let beyond: Option<String> = session.first(query, (theirs,)).await.map_err(failed)?;
            beyond.unwrap_or_default().replace('\n', "")
        }
        Vendor::MariaDb => {
            let Some(theirs) = told(MARIADB_KEY) else {
                return Ok(());
            };
            let theirs = parsed(&theirs).map_err(failed)?;
            furthest(session)
                .await
                .map_err(failed)?
                .beyond(&theirs)
                .to_string()
        }
    };
    if beyond.is_empty() {
        return Ok(());
    }
    Err(Error::bad_request(format!(
        "This server has transactions that its source does not have ({beyond}), so it cannot \
         follow it: delete this replica and make a new one"
    )))
}

impl<F: Flavor> Server<F> {
    /// See [`Datastore::source_position`](datastore::Datastore::source_position).
    pub(crate) async fn position_of_source(&self) -> Result<Map<String, Value>> {
        let mut session = self.session().await?;
        let text = executed(&mut session).await;
        let key = match session.version().vendor {
            Vendor::MySql => MYSQL_KEY,
            Vendor::MariaDb => MARIADB_KEY,
        };
        session.close().await;
        let text = text.map_err(|error| sql_error("ask how far the source has come", error))?;
        Ok(Map::from_iter([(key.to_owned(), Value::from(text))]))
    }

    /// See [`Datastore::latest_transaction`](datastore::Datastore::latest_transaction).
    pub(crate) async fn latest_gtids(&self) -> Result<String> {
        let mut session = self.session().await?;
        let text = executed(&mut session).await;
        session.close().await;
        text.map_err(|error| sql_error("ask how far the server has come", error))
    }

    /// See [`Datastore::wait_for_transaction`](datastore::Datastore::wait_for_transaction).
    pub(crate) async fn wait_for_gtids(&self, gtids: &str, patience: Duration) -> Result<()> {
        let mut session = self.session().await?;
        let result = wait_for(&mut session, gtids, patience).await;
        session.close().await;
        result
    }

    /// See [`Datastore::last_transaction`](datastore::Datastore::last_transaction).
    ///
    /// It is asked when the source is to be replaced, of one replica after the
    /// other. A source that is believed dead may still be sending: nothing must
    /// come in any more, or the one that is chosen has not most.
    pub(crate) async fn last_received(&self) -> Result<LastTransaction> {
        let mut session = self.session().await?;
        let result = self.stop_and_tell(&mut session).await;
        session.close().await;
        result
    }

    async fn stop_and_tell(&self, session: &mut Session) -> Result<LastTransaction> {
        let failed = |error| sql_error("ask for the last transaction received", error);
        if Channel::of(session).await.map_err(unknown)?.is_some() {
            Marker::Failover.set(&self.settings.layout)?;
            let stop = Syntax::of(session.version()).stop_receiving();
            session.run(&stop).await.map_err(failed)?;
            info!("Replica receives nothing while its source is being replaced.");
        }
        let channel = Channel::of(session).await.map_err(unknown)?;
        let (source, received) = channel.map(|c| (c.source, c.received)).unwrap_or_default();
        let number = match session.version().vendor {
            Vendor::MySql => {
                let executed = executed(session).await.map_err(failed)?;
                last_number(&executed, &source).max(last_number(&received, &source))
            }
            Vendor::MariaDb => {
                let received = parsed(&received).map_err(failed)?;
                furthest(session)
                    .await
                    .map_err(failed)?
                    .furthest(&received)
                    .count()
            }
        };
        Ok(LastTransaction {
            source: (!source.is_empty()).then_some(source),
            number,
        })
    }
}

/// Waits until transactions are here; ends early when the replica is broken.
async fn wait_for(session: &mut Session, gtids: &str, patience: Duration) -> Result<()> {
    let failed = |error| sql_error("wait for transactions of the source", error);
    if session.version().vendor == Vendor::MariaDb && MariadbPosition::parse(gtids).is_none() {
        return Err(Error::bad_request(format!(
            "{gtids:?} is no position, such as 0-1-5"
        )));
    }
    let started = Instant::now();
    loop {
        let channel = Channel::present(session).await?;
        if arrived(session, gtids, SLICE).await.map_err(failed)? {
            return Ok(());
        }
        if channel.failure().is_some() {
            return Err(channel.broken(ErrorKind::Failed));
        }
        if started.elapsed() >= patience {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "The replica has come to {} after {} s, and the source is at {gtids}; it says: {}",
                    executed(session).await.map_err(failed)?,
                    patience.as_secs(),
                    channel.complaint()
                ),
            ));
        }
    }
}

/// Whether transactions are here within so many seconds.
pub(super) async fn arrived(session: &mut Session, gtids: &str, seconds: u32) -> SqlResult<bool> {
    let query = match session.version().vendor {
        Vendor::MySql => "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)",
        Vendor::MariaDb => "SELECT MASTER_GTID_WAIT(?, ?)",
    };
    let answer: Option<Option<i64>> = session.first(query, (gtids, seconds)).await?;
    match answer.flatten() {
        Some(0) => Ok(true),
        // The time is over: MySQL says 1, MariaDB -1.
        Some(_) => Ok(false),
        None => Err(SqlError::Nonsense("nothing about transactions".to_owned())),
    }
}
