//! Snapshots of the data volume, which the control plane makes between two
//! calls: the server holds still, and so does its file system.
//!
//! Whatever happens in between, both go on again: after the second call, after
//! [`DEAD_MAN`], or at the next start of the agent. The file system goes first:
//! sessions that were let go would pile up on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datastore::{Error, ReadLock, Result};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::Operations;

/// How long a snapshot may take. The control plane waits `volume_time_out`
/// (60 s) for it and calls again at once.
const DEAD_MAN: Duration = Duration::from_secs(240);

/// A server and a file system that hold still.
pub struct Frozen {
    lock: Box<dyn ReadLock>,
    dead_man: JoinHandle<()>,
}

impl Operations {
    /// Makes server and file system hold still; where the server's log stands.
    ///
    /// # Errors
    /// When they do not; then both go on.
    pub async fn pre_create_backup(self: &Arc<Self>) -> Result<Map<String, Value>> {
        self.host.ready().await?;
        let mut frozen = self.backups.frozen.lock().await;
        if frozen.is_some() {
            return Err(Error::failed("a snapshot of this instance is being made"));
        }
        let lock = self.datastore.lock_for_snapshot().await?;
        let position = lock.position().clone();
        if let Err(error) = self.freeze().await {
            self.thaw().await;
            if let Err(error) = lock.release().await {
                error!(%error, "Server not released.");
            }
            return Err(error);
        }
        let operations = self.clone();
        let dead_man = tokio::spawn(async move {
            tokio::time::sleep(DEAD_MAN).await;
            error!("Nobody has ended the snapshot: server and file system go on.");
            operations.thaw_and_release(false).await;
        });
        *frozen = Some(Frozen { lock, dead_man });
        info!("Server and file system hold still for a snapshot.");
        Ok(position)
    }

    /// Lets them go on. Safe at any time.
    pub async fn post_create_backup(&self) {
        self.thaw_and_release(true).await;
    }

    async fn thaw_and_release(&self, by_call: bool) {
        let frozen = self.backups.frozen.lock().await.take();
        self.thaw().await;
        let Some(Frozen { lock, dead_man }) = frozen else {
            return;
        };
        if by_call {
            dead_man.abort();
        }
        match lock.release().await {
            Ok(()) => info!("Server and file system go on."),
            // Its session is gone then, and the lock with it.
            Err(error) => warn!(%error, "Server not released by its session."),
        }
    }

    /// The mark comes first: nobody else would know after a crash.
    async fn freeze(&self) -> Result<()> {
        let private = guest::Attributes {
            mode: 0o600,
            owner: None,
        };
        let failed = |error: String| Error::failed(format!("freeze the data volume: {error}"));
        guest::write_atomic(&self.frozen_mark(), b"", &private)
            .map_err(|error| failed(error.to_string()))?;
        guest::freeze(&self.volume.mount_point)
            .await
            .map_err(|error| failed(error.to_string()))
    }

    async fn thaw(&self) {
        let mark = self.frozen_mark();
        if !mark.exists() {
            return;
        }
        match guest::thaw(&self.volume.mount_point).await {
            Ok(()) => info!("File system goes on."),
            // It may never have been frozen.
            Err(error) => warn!(%error, "File system not thawed."),
        }
        if let Err(error) = guest::remove_if_exists(&mark) {
            warn!(%error, "Mark of the frozen file system not removed.");
        }
    }

    fn frozen_mark(&self) -> PathBuf {
        self.backups.settings.state_path.join("frozen")
    }

    /// Thaws what an earlier agent left frozen. Its lock went with it.
    pub async fn recover_frozen(&self) {
        self.thaw().await;
    }
}
