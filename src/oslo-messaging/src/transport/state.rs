//! What the rest of the program may know about the connection.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;

use super::Session;

/// State of the connection to the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// No connection yet, or none any more.
    Connecting {
        /// Why the last attempt failed or the connection broke.
        last_error: Option<String>,
    },
    /// Logged in.
    Connected {
        /// `host:port` of the broker.
        host: String,
    },
    /// Logged in, but the broker takes no messages (its memory or disk is
    /// short): replies and casts wait.
    Blocked {
        /// `host:port` of the broker.
        host: String,
        /// The broker's words.
        reason: String,
    },
    /// Closed on our own request.
    Closed,
}

impl ConnectionState {
    /// Whether there is a connection at all.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. } | Self::Blocked { .. })
    }
}

pub(super) struct Shared {
    pub(super) state: watch::Sender<ConnectionState>,
    pub(super) session: watch::Sender<Option<Arc<Session>>>,
    pub(super) progress: AtomicU64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(ConnectionState::Connecting { last_error: None }),
            session: watch::Sender::new(None),
            progress: AtomicU64::new(0),
        }
    }
}
