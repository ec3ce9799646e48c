//! The operations behind the RPC methods, and who may run beside whom.
//!
//! Reads run at once. Changes to databases and users run in the order they
//! arrive, and not while the server's life is being changed. Operations on
//! the server's life exclude one another.

mod lifecycle;
mod prepare;
pub mod recovery;
mod system;

use std::sync::Arc;
use std::time::Duration;

use datastore::{Datastore, Error, ErrorKind, Result};
use guest::VolumeSpec;
use tokio::sync::{Mutex, MutexGuard, OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, watch};

use crate::conductor::Conductor;
use crate::host::Host;
use crate::journal::Journal;
use crate::markers::Markers;
use crate::status::Status;

pub use prepare::PrepareCall;

/// How long a call waits for another operation before it gives up. Callers
/// allow 15 s for quick calls: work must never start after its caller left.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything the operations work with.
pub struct Operations {
    /// The one datastore of this guest.
    pub datastore: Arc<dyn Datastore>,
    /// Where results are reported.
    pub conductor: Arc<Conductor>,
    /// Status and heartbeats.
    pub status: Arc<Status>,
    /// Readiness of the operating system.
    pub host: Arc<Host>,
    /// Record of the long operation.
    pub journal: Journal,
    /// Installation markers.
    pub markers: Markers,
    /// The data volume.
    pub volume: VolumeSpec,
    /// Name of the operation that holds the lifecycle lock.
    running: watch::Sender<Option<&'static str>>,
    lifecycle: Arc<RwLock<()>>,
    changes: Mutex<()>,
}

/// The parts of [`Operations`] that its caller provides.
pub struct Parts {
    /// See [`Operations::datastore`].
    pub datastore: Arc<dyn Datastore>,
    /// See [`Operations::conductor`].
    pub conductor: Arc<Conductor>,
    /// See [`Operations::status`].
    pub status: Arc<Status>,
    /// See [`Operations::host`].
    pub host: Arc<Host>,
    /// See [`Operations::journal`].
    pub journal: Journal,
    /// See [`Operations::markers`].
    pub markers: Markers,
    /// See [`Operations::volume`].
    pub volume: VolumeSpec,
}

/// The right to change the server's life, until dropped.
pub struct Exclusive {
    running: watch::Sender<Option<&'static str>>,
    _guard: OwnedRwLockWriteGuard<()>,
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

impl Operations {
    /// Operations over `parts`.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            datastore,
            conductor,
            status,
            host,
            journal,
            markers,
            volume,
        } = parts;
        Self {
            datastore,
            conductor,
            status,
            host,
            journal,
            markers,
            volume,
            running: watch::Sender::new(None),
            lifecycle: Arc::default(),
            changes: Mutex::default(),
        }
    }

    /// The operation that now changes the server's life.
    pub fn running(&self) -> watch::Receiver<Option<&'static str>> {
        self.running.subscribe()
    }

    /// Waits for its turn to change the server's life as operation `name`.
    ///
    /// # Errors
    /// When another operation does not end within the caller's patience.
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
        let locked = tokio::time::timeout(patience, self.lifecycle.clone().write_owned()).await;
        let guard = locked.map_err(|_| self.busy(name))?;
        self.running.send_replace(Some(name));
        Ok(Exclusive {
            running: self.running.clone(),
            _guard: guard,
        })
    }

    /// Waits for its turn to change databases or users as operation `name`.
    ///
    /// # Errors
    /// When the server's life is being changed for longer than the caller's patience.
    pub async fn change(&self, name: &'static str) -> Result<Change<'_>> {
        let order = self.changes.lock().await;
        let locked = tokio::time::timeout(PATIENCE, self.lifecycle.read()).await;
        let lifecycle = locked.map_err(|_| self.busy(name))?;
        Ok(Change {
            _order: order,
            _lifecycle: lifecycle,
        })
    }

    fn busy(&self, name: &str) -> Error {
        let running = self.running.borrow().unwrap_or("another operation");
        Error::new(
            ErrorKind::Timeout,
            format!("{name} was not started, because {running} is still at work; try again later"),
        )
    }
}

#[cfg(test)]
mod tests;
