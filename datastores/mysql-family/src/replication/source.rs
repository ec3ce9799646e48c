//! What a source does for its replicas.

use datastore::{Error, Result};
use tracing::info;

use super::channel::unknown;
use super::kept::Kept;
use super::{Role, privileged};
use crate::cnf::Document;
use crate::errors::sql_error;
use crate::{Flavor, Server};

impl<F: Flavor> Server<F> {
    /// See [`Datastore::enable_as_source`](datastore::Datastore::enable_as_source).
    ///
    /// A promoted replica has a binary log already: it is not restarted.
    pub(crate) async fn become_source(&self, config: &str) -> Result<()> {
        let mut session = self.session().await?;
        let role = Role::ask(&mut session, &self.settings.layout).await;
        match role.map_err(unknown)? {
            Role::Source | Role::Detached => {}
            // It serves replicas and would be a source again.
            Role::Fenced => return Ok(()),
            Role::Replica => {
                return Err(Error::bad_request(
                    "This server is a replica and cannot be a source: detach it first",
                ));
            }
        }
        let wanted = self.accepted(config).await?;
        self.keep_common_override().await?;
        self.keep_override(Kept::Source, &wanted)?;
        let mut session = self.put_in_force(session, &wanted).await?;
        let revoked = match session.is_read_only() {
            // It has been when it became a replica.
            true => Ok(()),
            false => privileged::revoke_all(&mut session).await,
        };
        session.close().await;
        revoked.map_err(|error| sql_error("let replicas be read only", error))?;
        info!("Replicas may follow this server.");
        Ok(())
    }

    /// See [`Datastore::port`](datastore::Datastore::port).
    pub(crate) async fn tcp_port(&self) -> Result<u16> {
        let mut session = self.session().await?;
        let port = session.first::<u16>("SELECT @@GLOBAL.port", ()).await;
        session.close().await;
        let port = port.map_err(|error| sql_error("ask for the server's port", error))?;
        port.ok_or_else(|| Error::failed("The server does not tell its port"))
    }

    /// See [`Datastore::demote_source`](datastore::Datastore::demote_source).
    pub(crate) async fn stop_being_source(&self) -> Result<()> {
        let mut session = self.session().await?;
        let role = Role::ask(&mut session, &self.settings.layout).await;
        if role.map_err(unknown)? != Role::Replica {
            return Err(Error::bad_request(
                "This server has no source to follow: attach it to one first",
            ));
        }
        self.drop_override(Kept::Source)?;
        // It should have what replicas have; it has had since it was attached.
        let wanted: Document = self.kept_override(Kept::Replica)?;
        let session = self.put_in_force(session, &wanted).await?;
        session.close().await;
        info!("This server is no source any more.");
        Ok(())
    }
}
