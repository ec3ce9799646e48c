//! A server begins to follow a source.

use std::collections::BTreeMap;
use std::time::Duration;

use datastore::{Datastore, PrepareRequest, ReplicaContext, Restored, Result};
use tracing::{error, info, warn};

use super::Role;
use super::link::Link;
use super::remote::{Identity, Remote};
use super::slots::name_of;
use crate::Server;
use crate::errors::sql_error;
use crate::marker::Marker;
use crate::restore::Recovery;

/// The caller waits for 180 s.
const ATTACH_LIMIT: Duration = Duration::from_secs(100);
/// A new replica gets as long as a restore.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(36_000);

impl Server {
    /// See [`Datastore::attach_replica`].
    pub(crate) async fn attach(&self, context: &ReplicaContext, restart: bool) -> Result<()> {
        let remote = self.remote(context)?;
        let source = self.check_source(&remote).await?;
        remote
            .create_slot(&name_of(&self.settings.instance))
            .await?;
        let role = self.role().await?;
        self.clear_parameters().await?;
        self.write_link(context)?;
        if role == Role::Source {
            if !restart {
                // So it is asked of an old source, which is demoted next.
                info!("This server follows its source once it is demoted.");
                return Ok(());
            }
            self.turn_back(&remote, &source).await?;
        } else {
            self.forget_role()?;
            self.reload(&BTreeMap::new()).await?;
            let followed = self
                .wait_following(&remote.link, source.timeline, ATTACH_LIMIT)
                .await;
            if let Err(error) = followed {
                warn!(%error, "The replica does not follow; looking whether a rewind helps.");
                self.mend(&remote, &source, error).await?;
            }
        }
        self.drop_own_slots().await?;
        self.take_tls(context).await
    }

    /// Meets the source of a replica that is to be made, and lets it keep what
    /// comes while that is being done.
    pub(crate) async fn meet_source(&self, request: &PrepareRequest) -> Result<()> {
        let Some(replica) = &request.replica else {
            return Ok(());
        };
        self.ensure_directories()?;
        let remote = self.remote(&replica.context)?;
        remote.identify().await?;
        remote.create_slot(&name_of(&self.settings.instance)).await
    }

    /// Before the first start on data of the source: tells the server where
    /// that is.
    pub fn link_replica(&self, request: &PrepareRequest) -> Result<()> {
        let Some(replica) = &request.replica else {
            return self.remove_link();
        };
        let context = &replica.context;
        self.write_link(context)?;
        self.keep_password(&context.account.password)?;
        self.forget_role()
    }

    /// After the first start: waits until the replica follows.
    pub async fn follow_source(&self, request: &PrepareRequest) -> Result<()> {
        let Some(replica) = &request.replica else {
            return Ok(());
        };
        let context = &replica.context;
        let remote = self.remote(context)?;
        let source = self.check_source(&remote).await?;
        self.wait_following(&Link::of(context), source.timeline, CATCH_UP_LIMIT)
            .await?;
        self.drop_own_slots().await?;
        self.take_tls(context).await?;
        info!("Replica follows its source.");
        Ok(())
    }

    /// The first start on restored data; on failure the server stays down.
    pub(crate) async fn start_as_asked(
        &self,
        request: &PrepareRequest,
        recovery: Recovery,
    ) -> Result<Restored> {
        self.link_replica(request)?;
        let restored = self.start_restored(recovery).await?;
        let followed = self.follow_source(request).await;
        if followed.is_err()
            && let Err(error) = self.service.keep_down().await
        {
            error!(%error, "Replica that does not follow not stopped.");
        }
        followed.map(|()| restored)
    }

    /// What the server was to others before it is a replica.
    pub(super) fn forget_role(&self) -> Result<()> {
        let layout = &self.settings.layout;
        Marker::Detached.remove(layout)?;
        Marker::ReadOnly.remove(layout)
    }

    /// Lets nothing be stronger than the link: upstream's guests and tenants may
    /// have set the same in the server itself.
    async fn clear_parameters(&self) -> Result<()> {
        let session = self.session().await?;
        let mut result = Ok(());
        for name in ["primary_conninfo", "primary_slot_name"] {
            let reset = session.run(&format!("ALTER SYSTEM RESET {name}")).await;
            result = result.and(reset);
        }
        session.close().await;
        result.map_err(|error| sql_error("tell the replica its source", error))
    }

    /// Replicas have the TLS of their source.
    async fn take_tls(&self, context: &ReplicaContext) -> Result<()> {
        match &context.tls {
            None => Ok(()),
            Some((mode, material)) => self.set_tls(Some(*mode), Some(material)).await.map(drop),
        }
    }

    /// Lets a server with a history of its own follow after all.
    pub(super) async fn turn_back(&self, remote: &Remote, source: &Identity) -> Result<()> {
        self.rewind(remote, source).await?;
        self.wait_following(&remote.link, source.timeline, ATTACH_LIMIT)
            .await?;
        info!("This server has become a replica.");
        Ok(())
    }
}
