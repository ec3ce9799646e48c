//! Whose turn it is.
//!
//! Operations on the server's life exclude one another and everything that
//! changes databases or users; those changes run in the order they arrive.
//! Nobody waits longer than a caller does: work must never start after its
//! caller has given up.

use std::sync::Arc;
use std::time::Duration;

use datastore::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, MutexGuard, OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, watch};
use tokio::time::timeout;

/// How long a call waits for its turn. Callers allow 15 s for quick calls
/// (`agent_call_low_timeout`).
const PATIENCE: Duration = Duration::from_secs(10);

/// The locks behind the turns.
#[derive(Default)]
pub struct Turns {
    /// Name of the operation that has the server's life in its hands.
    running: watch::Sender<Option<&'static str>>,
    lifecycle: Arc<RwLock<()>>,
    changes: Mutex<()>,
}

/// The right to change the server's life, until dropped.
pub struct Exclusive {
    running: watch::Sender<Option<&'static str>>,
    _lifecycle: OwnedRwLockWriteGuard<()>,
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        self.running.send_replace(None);
    }
}

/// The right to change databases or users, until dropped.
pub struct Change<'a> {
    _order: MutexGuard<'a, ()>,
    _lifecycle: RwLockReadGuard<'a, ()>,
}

impl Turns {
    /// The operation that now changes the server's life.
    pub fn running(&self) -> watch::Receiver<Option<&'static str>> {
        self.running.subscribe()
    }

    /// Waits for the turn to change the server's life as operation `name`.
    ///
    /// # Errors
    /// When another operation does not end within the usual patience.
    pub async fn exclusive(&self, name: &'static str) -> Result<Exclusive> {
        self.exclusive_within(name, PATIENCE).await
    }

    /// The same with a patience of its own.
    ///
    /// # Errors
    /// When another operation does not end within `patience`.
    pub async fn exclusive_within(
        &self,
        name: &'static str,
        patience: Duration,
    ) -> Result<Exclusive> {
        let locked = timeout(patience, self.lifecycle.clone().write_owned()).await;
        let lifecycle = locked.map_err(|_| self.busy(name))?;
        self.running.send_replace(Some(name));
        Ok(Exclusive {
            running: self.running.clone(),
            _lifecycle: lifecycle,
        })
    }

    /// Waits for the turn to change databases or users as operation `name`.
    ///
    /// # Errors
    /// When those before it do not end within the usual patience.
    pub async fn change(&self, name: &'static str) -> Result<Change<'_>> {
        let locked = timeout(PATIENCE, async {
            let order = self.changes.lock().await;
            Change {
                _order: order,
                _lifecycle: self.lifecycle.read().await,
            }
        });
        locked.await.map_err(|_| self.busy(name))
    }

    fn busy(&self, name: &str) -> Error {
        let running = self.running.borrow().unwrap_or("another operation");
        Error::new(
            ErrorKind::Timeout,
            format!("{name} was not started, because {running} is still at work; try again later"),
        )
    }
}
