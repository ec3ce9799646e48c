//! Sources and replicas.
//!
//! A replica recovers for ever (`standby.signal`) from the WAL that its source
//! streams. How it reaches the source is on the volume, beside the data: it
//! survives a new root disk, and neither a backup nor a rewind carries it to
//! another server.
//!
//! A change of the source must not make two histories of one. So whoever is to
//! stop writing is restarted as a server that recovers, too ([`fence`]), and a
//! replica that is detached for a failover only stops following: which replica
//! becomes the source is known when it is told to be one ([`promote`]). All
//! others then go on where they are. What has a history of its own nevertheless
//! is rewound ([`rewind`]).

mod account;
mod attach;
mod detach;
mod fence;
mod follow;
mod link;
mod minimums;
mod position;
mod promote;
mod remote;
mod rewind;
mod slots;
mod source;

use datastore::Result;

use crate::Server;
use crate::errors::sql_error;
use crate::marker::Marker;

/// What the running server is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It writes.
    Source,
    /// A source that has been made read only.
    Fenced,
    /// A replica that follows nobody for now.
    Detached,
    /// It follows a source.
    Replica,
}

impl Server {
    async fn role(&self) -> Result<Role> {
        let session = self.session().await?;
        let recovering = session.is_in_recovery().await;
        session.close().await;
        let recovering =
            recovering.map_err(|error| sql_error("ask whether this is a replica", error))?;
        let layout = &self.settings.layout;
        Ok(match recovering {
            false => Role::Source,
            true if Marker::Detached.is_set(layout) => Role::Detached,
            true if Marker::ReadOnly.is_set(layout) => Role::Fenced,
            true => Role::Replica,
        })
    }
}
