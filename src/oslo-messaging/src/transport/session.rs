//! One open connection, from login to its end.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::PublishError;
use crate::connect::Link;

/// How long a polite close may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Separate channels, so that an exchange missing for one kind of message does
/// not close the channel under the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Replies,
    Casts,
}

/// An open connection. It never heals: when it breaks, it is dropped and the
/// supervisor makes a new one.
pub(crate) struct Session {
    pub(super) connection: Connection,
    pub(super) link: Link,
    /// `host:port` of the broker.
    pub(crate) broker: String,
    pub(super) blocked: watch::Sender<Option<String>>,
    replies: tokio::sync::Mutex<Option<Channel>>,
    casts: tokio::sync::Mutex<Option<Channel>>,
    exchanges: Mutex<HashSet<String>>,
    useful: AtomicBool,
}

impl Session {
    pub(crate) fn new(connection: Connection, link: Link, broker: String) -> Self {
        Self {
            connection,
            link,
            broker,
            blocked: watch::Sender::new(None),
            replies: tokio::sync::Mutex::new(None),
            casts: tokio::sync::Mutex::new(None),
            exchanges: Mutex::new(HashSet::new()),
            useful: AtomicBool::new(false),
        }
    }

    /// The heartbeat interval both sides agreed on; `None` = no heartbeats.
    pub(super) fn heartbeat(&self) -> Option<Duration> {
        let seconds = self.connection.configuration().heartbeat();
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// Whether anything was done with this connection beyond logging in; one
    /// that breaks before is retried as if login had failed.
    pub(super) fn was_useful(&self) -> bool {
        self.useful.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_useful(&self) {
        self.useful.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.link.closed().is_cancelled() && self.connection.status().connected()
    }

    /// Resolves when the connection is gone.
    pub(crate) async fn closed(&self) {
        self.link.closed().cancelled().await;
    }

    /// Says goodbye to the broker and waits for its answer, for a while.
    pub(crate) async fn close(&self) {
        let closing = self.connection.close(200, "OK".into());
        match timeout(CLOSE_TIMEOUT, self.guard(closing)).await {
            Ok(Ok(())) => debug!(host = self.broker, "Connection closed."),
            Ok(Err(error)) => debug!(host = self.broker, %error, "Connection closed."),
            Err(_) => debug!(
                host = self.broker,
                "Broker did not answer the close in time."
            ),
        }
    }

    /// Gives the connection up.
    pub(crate) fn cut(&self) {
        self.link.cut();
    }

    /// Runs an AMQP operation, but no longer than the connection lives: a
    /// broken connection must not leave anybody waiting for an answer.
    pub(crate) async fn guard<T>(
        &self,
        operation: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, PublishError> {
        tokio::select! {
            biased;
            result = operation => result.map_err(|error| PublishError::from(&error)),
            () = self.closed() => Err(PublishError::Lost("the connection broke".to_owned())),
        }
    }

    /// A fresh channel.
    pub(crate) async fn channel(&self) -> Result<Channel, PublishError> {
        self.guard(self.connection.create_channel()).await
    }

    /// The publishing channel of `lane`, with confirms on; opened anew after
    /// the broker closed it.
    pub(super) async fn publisher(&self, lane: Lane) -> Result<Channel, PublishError> {
        let slot = match lane {
            Lane::Replies => &self.replies,
            Lane::Casts => &self.casts,
        };
        let mut slot = slot.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = self.channel().await?;
        self.guard(channel.confirm_select(ConfirmSelectOptions::default()))
            .await?;
        *slot = Some(channel.clone());
        Ok(channel)
    }

    /// Waits while the broker takes no messages.
    pub(crate) async fn unblocked(&self) -> Result<(), PublishError> {
        let mut blocked = self.blocked.subscribe();
        tokio::select! {
            _ = blocked.wait_for(Option::is_none) => Ok(()),
            () = self.closed() => Err(PublishError::Lost("the connection broke while blocked".to_owned())),
        }
    }

    /// Remembers that an exchange exists; false if it was known already.
    pub(crate) fn remember_exchange(&self, name: &str) -> bool {
        self.lock_exchanges().insert(name.to_owned())
    }

    pub(crate) fn knows_exchange(&self, name: &str) -> bool {
        self.lock_exchanges().contains(name)
    }

    pub(crate) fn forget_exchange(&self, name: &str) {
        self.lock_exchanges().remove(name);
    }

    fn lock_exchanges(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
