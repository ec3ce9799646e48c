//! What a source does for its replicas.

use std::collections::BTreeMap;

use datastore::{Error, Result};
use tracing::{info, warn};

use super::Role;
use crate::Server;

impl Server {
    /// See [`Datastore::enable_as_source`](datastore::Datastore::enable_as_source).
    /// The rules of access for replicas are always there.
    pub(crate) async fn become_source(&self) -> Result<()> {
        let role = self.role().await?;
        match role {
            Role::Source => {}
            Role::Detached => self.promote().await?,
            // It serves replicas and would be a source again.
            Role::Fenced => return Ok(()),
            Role::Replica => {
                return Err(Error::bad_request(
                    "This server is a replica and cannot be a source: detach it first",
                ));
            }
        }
        self.write_access_rules()?;
        self.bound_slots()?;
        self.reload(&BTreeMap::new()).await?;
        self.account_for_replicas().await?;
        // A failover is no reason to keep WAL for new replicas.
        if role == Role::Source {
            self.open_nursery().await?;
        }
        info!("Replicas may follow this server.");
        Ok(())
    }

    /// See [`Datastore::demote_source`](datastore::Datastore::demote_source).
    pub(crate) async fn stop_being_source(&self) -> Result<()> {
        if self.role().await? == Role::Source {
            let Some(link) = self.link()? else {
                return Err(Error::bad_request(
                    "This server has no source to follow: attach it to one first",
                ));
            };
            let remote = self.linked_remote(link)?;
            let source = self.check_source(&remote).await?;
            self.turn_back(&remote, &source).await?;
        }
        self.drop_own_slots().await
    }

    /// Looks after slots, and after a replica that was left alone.
    pub(crate) async fn tend_replication(&self) -> Result<()> {
        let Ok(role) = self.role().await else {
            // A server that does not run needs nothing.
            return Ok(());
        };
        match role {
            Role::Source | Role::Fenced => {
                if self.bounds_slots()? {
                    if self.bound_slots()? {
                        self.reload(&BTreeMap::new()).await?;
                    }
                    self.sweep_slots().await?;
                }
                Ok(())
            }
            Role::Detached => self.promote_if_forgotten().await,
            Role::Replica => {
                let lost = !self.is_following().await?;
                if lost
                    && let Some(link) = self.link()?
                    && let Err(error) = self.renew_slot(link).await
                {
                    warn!(%error, "The replica does not follow.");
                }
                Ok(())
            }
        }
    }
}
