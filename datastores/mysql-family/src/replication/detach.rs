//! A replica stops following.

use std::time::{Duration, Instant};

use datastore::{Error, ErrorKind, Result};
use tracing::{info, warn};

use super::Role;
use super::attach::forget_source;
use super::channel::{Channel, unknown};
use super::position::{arrived, executed};
use super::syntax::Syntax;
use crate::errors::sql_error;
use crate::marker::Marker;
use crate::session::Session;
use crate::{Flavor, Server};

/// How long the replica may take to apply what it has received.
const APPLY_LIMIT: Duration = Duration::from_secs(90);
/// How long the server waits between two looks, in seconds.
const SLICE: u32 = 1;
/// After so many looks without a change all is applied that can be.
const STILL: u32 = 3;

impl<F: Flavor> Server<F> {
    /// See [`Datastore::detach_replica`](datastore::Datastore::detach_replica).
    ///
    /// For a failover it only stops following, and stays read only: who becomes
    /// the source is told later.
    pub(crate) async fn detach(&self, for_failover: bool) -> Result<Option<String>> {
        let mut session = self.session().await?;
        let channel = Channel::of(&mut session).await.map_err(unknown)?;
        let role = Role::of(&session, channel.as_ref(), &self.settings.layout);
        if role == Role::Replica {
            self.stop_following(&mut session, for_failover).await?;
        }
        match role {
            Role::Replica | Role::Detached if !for_failover => {
                self.become_independent(session).await?;
            }
            _ => session.close().await,
        }
        Ok(channel.map(|channel| channel.user))
    }

    async fn stop_following(&self, session: &mut Session, for_failover: bool) -> Result<()> {
        let failed = |error| sql_error("stop following the source", error);
        Marker::Failover.set(&self.settings.layout)?;
        let stop = Syntax::of(session.version()).stop_receiving();
        session.run(&stop).await.map_err(failed)?;
        if let Err(error) = apply_received(session).await {
            // What is lost here would be lost everywhere.
            if for_failover {
                return Err(error);
            }
            warn!(%error, "The replica is detached without what it could not apply.");
        }
        forget_source(session).await.map_err(failed)?;
        info!("Replica follows nobody.");
        Ok(())
    }

    /// Makes a detached replica an instance of its own.
    async fn become_independent(&self, mut session: Session) -> Result<()> {
        self.forget_account()?;
        self.open_to_writers(&mut session).await?;
        session.close().await;
        // Its settings are those of a single server again.
        self.bring_up(true).await
    }
}

/// Waits until all that has been received is visible.
async fn apply_received(session: &mut Session) -> Result<()> {
    let failed = |error| sql_error("apply what was received of the source", error);
    let started = Instant::now();
    let channel = Channel::present(session).await?;
    if !channel.applies() {
        // Its last error may have been of the moment.
        let start = Syntax::of(session.version()).start_applying();
        session.run(&start).await.map_err(failed)?;
    }
    let (mut last, mut still) = (String::new(), 0);
    while !arrived(session, &channel.received, SLICE)
        .await
        .map_err(failed)?
    {
        let now = Channel::present(session).await?;
        if !now.applies() {
            return Err(now.broken(ErrorKind::Failed));
        }
        // The last transaction may have come in halfway.
        let done = executed(session).await.map_err(failed)?;
        still = if now.idles() && done == last {
            still + 1
        } else {
            0
        };
        if still >= STILL {
            return Ok(());
        }
        last = done;
        if started.elapsed() >= APPLY_LIMIT {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "The replica still applies what it has received after {} s",
                    APPLY_LIMIT.as_secs()
                ),
            ));
        }
    }
    Ok(())
}
