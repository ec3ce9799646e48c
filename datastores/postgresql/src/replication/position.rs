//! How far a server has come.

use std::time::{Duration, Instant};

use datastore::{Error, ErrorKind, LastTransaction, Result};
use tokio_postgres::Row;

use crate::Server;
use crate::errors::sql_error;
use crate::place::Lsn;
use crate::session::{Session, SqlError, SqlResult};
use crate::sql::Text;

/// Pause between two looks: no version before 19 can be waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Places in the WAL of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Whether it follows another.
    pub(super) recovering: bool,
    /// What is visible here.
    pub(super) applied: Lsn,
    /// What is here, visible or not.
    pub(super) received: Lsn,
}

impl Position {
    pub(super) async fn of(session: &Session) -> SqlResult<Self> {
        let query = "SELECT pg_is_in_recovery(), coalesce(CASE WHEN pg_is_in_recovery() \
             THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text, '0/0'), \
             coalesce(pg_last_wal_receive_lsn()::text, '0/0')";
        let row = session.first(query, &[]).await?;
        let row = row.ok_or(SqlError::Nonsense("how far it has come"))?;
        let applied = place(&row, 1)?;
        Ok(Self {
            recovering: row.try_get(0)?,
            applied,
            // After a start nothing has been received yet, in this sense.
            received: place(&row, 2)?.max(applied),
        })
    }
}

fn place(row: &Row, column: usize) -> SqlResult<Lsn> {
    let Text(text) = row.try_get(column)?;
    Lsn::parse(&text).ok_or(SqlError::Nonsense("a place in its WAL"))
}

impl Server {
    pub(super) async fn position(&self) -> Result<Position> {
        let session = self.session().await?;
        let position = Position::of(&session).await;
        session.close().await;
        position.map_err(|error| sql_error("ask how far the server has come", error))
    }

    /// See [`Datastore::latest_transaction`](datastore::Datastore::latest_transaction).
    pub(crate) async fn latest_place(&self) -> Result<String> {
        Ok(self.position().await?.applied.to_string())
    }

    /// See [`Datastore::wait_for_transaction`](datastore::Datastore::wait_for_transaction).
    pub(crate) async fn wait_for_place(&self, text: &str, patience: Duration) -> Result<()> {
        let wanted = Lsn::parse(text).ok_or_else(|| {
            Error::bad_request(format!(
                "{text:?} is no place in the WAL, such as 0/3000148"
            ))
        })?;
        let session = self.session().await?;
        let result = wait(&session, wanted, patience).await;
        session.close().await;
        result
    }

    /// See [`Datastore::last_transaction`](datastore::Datastore::last_transaction).
    /// A source and its replicas have one identifier since the data was made.
    pub(crate) async fn last_received(&self) -> Result<LastTransaction> {
        let position = self.position().await?;
        Ok(LastTransaction {
            source: Some(self.system_identifier().await?),
            number: position.received.0,
        })
    }

    /// What a source and its replicas have in common.
    pub(super) async fn system_identifier(&self) -> Result<String> {
        let session = self.session().await?;
        let query = "SELECT system_identifier::text FROM pg_control_system()";
        let row = session.first(query, &[]).await;
        session.close().await;
        let read = |row: Option<Row>| {
            let row = row.ok_or(SqlError::Nonsense("its identifier"))?;
            let Text(text) = row.try_get(0)?;
            SqlResult::Ok(text)
        };
        row.and_then(read)
            .map_err(|error| sql_error("ask for the identifier of the data", error))
    }
}

async fn wait(session: &Session, wanted: Lsn, patience: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        let position = Position::of(session).await;
        let position =
            position.map_err(|error| sql_error("wait for a transaction of the source", error))?;
        if !position.recovering {
            return Err(Error::bad_request(
                "This server is no replica, so it does not get transactions of a source",
            ));
        }
        if position.applied >= wanted {
            return Ok(());
        }
        if started.elapsed() >= patience {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "The replica has come to {} after {} s, and the source is at {wanted}",
                    position.applied,
                    patience.as_secs()
                ),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}
