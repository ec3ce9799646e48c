//! Waiting until a replica follows its source.

use std::time::{Duration, Instant};

use datastore::{Error, ErrorKind, Result};

use super::link::Link;
use super::position::Position;
use super::remote::{Identity, Remote};
use super::slots::name_of;
use crate::Server;
use crate::errors::sql_error;
use crate::session::{Session, SqlResult};

/// How long a replica may make no progress at all: one that has just been told
/// where its source is, and one that has just been made. The server tries at
/// once and then every 5 s (`wal_retrieve_retry_interval`).
const STANDSTILL: Duration = Duration::from_secs(12);
const STANDSTILL_OF_NEW: Duration = Duration::from_secs(60);
/// The longest that a caller waits who does not wait for a new replica.
const SHORT: Duration = Duration::from_secs(180);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Lines of the server's log in an error.
const JOURNAL_LINES: u32 = 6;

impl Server {
    /// Checks that this server's data is of that source.
    pub(super) async fn check_source(&self, remote: &Remote) -> Result<Identity> {
        let source = remote.identify().await?;
        let own = self.system_identifier().await?;
        match own == source.system {
            true => Ok(source),
            false => Err(remote.failed(
                ErrorKind::BadRequest,
                "the data here does not come from there: make a new replica of it",
            )),
        }
    }

    /// Waits until WAL of the source's timeline streams in. Whoever has much to
    /// replay before gets the time for it, up to `limit`.
    pub(super) async fn wait_following(
        &self,
        link: &Link,
        timeline: u32,
        limit: Duration,
    ) -> Result<()> {
        let session = self.session().await?;
        let result = wait(&session, link, timeline, limit).await;
        session.close().await;
        match result.map_err(|error| sql_error("look whether the replica follows", error))? {
            true => Ok(()),
            false => {
                let journal = self.service.journal_tail(JOURNAL_LINES).await;
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!(
                        "The replica does not follow its source {}:{}; its last words: {journal}",
                        link.host, link.port
                    ),
                ))
            }
        }
    }

    /// Whether anything streams in.
    pub(super) async fn is_following(&self) -> Result<bool> {
        let session = self.session().await?;
        let query = "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        let found = session.finds(query, &[]).await;
        session.close().await;
        found.map_err(|error| sql_error("look whether the replica follows", error))
    }

    /// Makes the slot at the source again, which may have been dropped there.
    pub(super) async fn renew_slot(&self, link: Link) -> Result<()> {
        let remote = self.linked_remote(link)?;
        remote.create_slot(&name_of(&self.settings.instance)).await
    }
}

async fn wait(session: &Session, link: &Link, timeline: u32, limit: Duration) -> SqlResult<bool> {
    let timeline = i64::from(timeline);
    let port = i32::from(link.port);
    let query = "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming' \
         AND received_tli >= $1::int8 AND sender_host = $2::text AND sender_port = $3::int4";
    let standstill = match limit <= SHORT {
        true => STANDSTILL,
        false => STANDSTILL_OF_NEW,
    };
    let started = Instant::now();
    let (mut last, mut moved) = (Position::of(session).await?, Instant::now());
    loop {
        if session
            .finds(query, &[&timeline, &link.host, &port])
            .await?
        {
            return Ok(true);
        }
        let position = Position::of(session).await?;
        if position != last {
            (last, moved) = (position, Instant::now());
        }
        if moved.elapsed() >= standstill || started.elapsed() >= limit {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}
