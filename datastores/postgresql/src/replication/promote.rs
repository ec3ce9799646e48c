//! From a replica to a server of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use datastore::{Error, ErrorKind, Result};
use tracing::{info, warn};

use crate::Server;
use crate::errors::{os_error, sql_error};
use crate::marker::Marker;
use crate::session::Session;

/// How long the server may take to replay what it has received. The caller
/// waits for 180 s.
const PROMOTE_LIMIT: Duration = Duration::from_secs(120);
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(50);
/// The first version whose `pg_rewind` sees a new timeline before the next
/// checkpoint.
const SEES_TIMELINES_SINCE: u32 = 16;
/// How long a replica may be detached for a failover, and nothing comes of it.
const FORGOTTEN: Duration = Duration::from_secs(600);

impl Server {
    /// Lets a replica that follows nobody write, with everything it has
    /// received.
    pub(super) async fn promote(&self) -> Result<()> {
        let started = Instant::now();
        let session = self.session().await?;
        let result = promote(&session).await;
        let major = session.version().major;
        session.close().await;
        result?;
        let elapsed_ms = started.elapsed().as_millis();
        info!(elapsed_ms, "Replica promoted: it may be written to.");
        let layout = &self.settings.layout;
        for marker in [Marker::Detached, Marker::ReadOnly] {
            marker.remove(layout)?;
        }
        self.remove_link()?;
        if let Err(error) = self.reload(&BTreeMap::new()).await {
            warn!(%error, "Settings of a replica stay for now.");
        }
        if major < SEES_TIMELINES_SINCE {
            self.checkpoint(CHECKPOINT_LIMIT).await;
        }
        Ok(())
    }

    /// What was detached for a failover that never came is a server of its
    /// own, for the control plane too.
    pub(super) async fn promote_if_forgotten(&self) -> Result<()> {
        let since = Marker::Detached.since(&self.settings.layout);
        let since = since.map_err(os_error)?;
        let age = since.and_then(|since| SystemTime::now().duration_since(since).ok());
        if age.is_none_or(|age| age < FORGOTTEN) {
            return Ok(());
        }
        warn!("The failover that this replica was detached for has not come: promoting it.");
        self.promote().await
    }
}

async fn promote(session: &Session) -> Result<()> {
    let failed = |error| sql_error("promote the replica", error);
    // The server waits for its own end of recovery.
    let query = "SELECT pg_promote(true, $1)";
    let seconds = i32::try_from(PROMOTE_LIMIT.as_secs()).unwrap_or(i32::MAX);
    let limit = PROMOTE_LIMIT + Duration::from_secs(10);
    session
        .first_within(limit, query, &[&seconds])
        .await
        .map_err(failed)?;
    match session.is_in_recovery().await.map_err(failed)? {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "The replica is still replaying what it has received after {} s",
                PROMOTE_LIMIT.as_secs()
            ),
        )),
    }
}
