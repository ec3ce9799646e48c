//! Sources and replicas, which agree on transactions by their GTIDs.
//!
//! What a server is to others is in override files, which are kept on the
//! volume too ([`kept`]): a new root disk does not make a replica writable, nor
//! a source one without a binary log, not even for a moment.
//!
//! A replica is read only for everybody and gets no transactions but those of
//! its source: what the agent changes on a read-only server is not logged
//! ([`Session`]). It stays read only from the moment it stops following until
//! it is told to be a source ([`read_only`]), and before it stops it applies
//! all it has received ([`detach`]). So no transaction has two homes, and every
//! server can follow every other one.

mod account;
mod attach;
mod binlogs;
mod channel;
mod detach;
mod donor;
mod gtid;
mod in_force;
mod kept;
mod position;
pub(crate) mod privileged;
mod provision;
mod reach;
mod read_only;
mod recipient;
mod source;
mod syntax;
mod tend;

use crate::Layout;
use crate::marker::Marker;
use crate::session::{Session, SqlResult};
use channel::Channel;
pub(crate) use recipient::check_cloned;

/// What the running server is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It writes.
    Source,
    /// A source that has been made read only.
    Fenced,
    /// It was a replica, and follows nobody for now.
    Detached,
    /// It has a source.
    Replica,
}

impl Role {
    fn of(session: &Session, channel: Option<&Channel>, layout: &Layout) -> Self {
        match (channel, session.is_read_only()) {
            (Some(_), _) => Self::Replica,
            (None, false) => Self::Source,
            (None, true) if Marker::Failover.is_set(layout) => Self::Detached,
            (None, true) => Self::Fenced,
        }
    }

    async fn ask(session: &mut Session, layout: &Layout) -> SqlResult<Self> {
        let channel = Channel::of(session).await?;
        Ok(Self::of(session, channel.as_ref(), layout))
    }
}
