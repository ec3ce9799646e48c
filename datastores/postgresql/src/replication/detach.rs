//! A replica stops following.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use datastore::{Error, ErrorKind, Result};
use tracing::{info, warn};

use super::Role;
use super::link::Link;
use super::position::Position;
use super::slots::name_of;
use crate::Server;
use crate::errors::sql_error;
use crate::marker::Marker;
use crate::session::Session;

/// How long the replica may take to replay what it has received.
const REPLAY_LIMIT: Duration = Duration::from_secs(40);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

impl Server {
    /// See [`Datastore::detach_replica`](datastore::Datastore::detach_replica).
    ///
    /// For a failover it only stops following: the same is asked of all
    /// replicas, and whoever is promoted then could not follow another.
    pub(crate) async fn detach(&self, for_failover: bool) -> Result<()> {
        let role = self.role().await?;
        match role {
            Role::Source => return self.remove_link(),
            Role::Fenced => return Ok(()),
            Role::Replica | Role::Detached => {}
        }
        let link = self.link()?;
        if role == Role::Replica {
            self.stop_following().await?;
        }
        if for_failover {
            return Ok(());
        }
        if let Some(link) = link {
            self.say_goodbye(link).await;
        }
        self.promote().await
    }

    async fn stop_following(&self) -> Result<()> {
        Marker::Detached.set(&self.settings.layout)?;
        self.clear_link()?;
        self.reload(&BTreeMap::new()).await?;
        let session = self.session().await?;
        let result = wait_replayed(&session).await;
        session.close().await;
        let position = result?;
        info!(at = %position.applied, "Replica follows nobody.");
        Ok(())
    }

    /// Lets the source forget this replica, if it is there.
    async fn say_goodbye(&self, link: Link) {
        let told = async {
            let remote = self.linked_remote(link)?;
            remote.drop_slot(&name_of(&self.settings.instance)).await
        };
        if let Err(error) = told.await {
            warn!(%error, "The source keeps the slot of this replica until it is full.");
        }
    }
}

/// Waits until nothing comes any more and everything is visible.
async fn wait_replayed(session: &Session) -> Result<Position> {
    let failed = |error| sql_error("stop following the source", error);
    let started = Instant::now();
    loop {
        let receiving = session
            .finds("SELECT 1 FROM pg_stat_wal_receiver", &[])
            .await
            .map_err(failed)?;
        let position = Position::of(session).await.map_err(failed)?;
        if !receiving && position.applied >= position.received {
            return Ok(position);
        }
        if started.elapsed() >= REPLAY_LIMIT {
            // It goes on; whoever promotes it waits again.
            if !receiving {
                return Ok(position);
            }
            return Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "The replica still follows its source after {} s",
                    REPLAY_LIMIT.as_secs()
                ),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}
