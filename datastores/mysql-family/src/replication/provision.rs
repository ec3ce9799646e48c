//! A replica that is being made: its data is a copy of the source's.

use datastore::{PrepareRequest, ReplicaRequest, Restored, Result};
use tracing::{error, info};

use super::channel::{Channel, unknown};
use super::kept;
use crate::errors::os_error;
use crate::marker::Marker;
use crate::session::Session;
use crate::{Flavor, Server};

impl<F: Flavor> Server<F> {
    /// Before anything is done for a replica: whether its source is there.
    pub(crate) async fn meet_source(&self, request: &PrepareRequest) -> Result<()> {
        match &request.replica {
            None => Ok(()),
            Some(replica) => self
                .source_offers_tls(&replica.context.source)
                .await
                .map(drop),
        }
    }

    /// The first start on restored data, as a replica if that is asked for. On
    /// failure the server stays down.
    pub(crate) async fn start_as_asked(&self, request: &PrepareRequest) -> Result<Restored> {
        let Some(replica) = &request.replica else {
            return self.start_restored().await;
        };
        let context = &replica.context;
        self.keep_replica_overrides(context, &replica.config)
            .await?;
        let restored = self.start_restored().await?;
        let followed = self.begin_to_follow(replica).await;
        if followed.is_err()
            && let Err(error) = self.service.keep_down().await
        {
            error!(%error, "Replica that does not follow not stopped.");
        }
        followed.map(|()| restored)
    }

    async fn begin_to_follow(&self, replica: &ReplicaRequest) -> Result<()> {
        let context = &replica.context;
        // A clone brings what the source calls executed, too.
        let position = match context.demands_clone() {
            true => None,
            false => Some(self.copied_position(context)?),
        };
        let tls = self.source_offers_tls(&context.source).await?;
        let mut session = self.session().await?;
        let followed = self.follow(&mut session, context, position, tls).await;
        session.close().await;
        followed?;
        self.take_tls(context).await
    }

    /// A replica must not be written to before it follows its source again: data
    /// of another agent does not bring the override that sees to that.
    pub(crate) async fn keep_replica(&self, session: &mut Session) -> Result<()> {
        if Channel::of(session).await.map_err(unknown)?.is_none() {
            return Ok(());
        }
        info!("The data is a replica's: nobody writes to it.");
        self.keep_read_only()?;
        self.close_to_writers(session).await
    }

    /// Forgets what the server that had this volume was to others: a volume may
    /// be a copy of another one.
    pub(crate) fn forget_role(&self) -> Result<()> {
        let layout = &self.settings.layout;
        for kept in kept::ALL {
            self.drop_override(kept)?;
        }
        self.forget_account()?;
        Marker::Failover.remove(layout)?;
        Marker::Donor.remove(layout)?;
        guest::remove_if_exists(&layout.server_id_file())
            .map(drop)
            .map_err(os_error)
    }
}
