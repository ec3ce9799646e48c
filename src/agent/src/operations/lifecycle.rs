//! Stop, start and restart of the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datastore::{Result, StopOutcome};
use serde_json::Value;
use tracing::{info, warn};

use super::{ANNOUNCE, Operations};

/// How long `stop_db` waits for the server's end. The caller gives up after
/// 15 s (`agent_call_low_timeout`); a large buffer pool takes longer to flush.
const STOP_PATIENCE: Duration = Duration::from_secs(9);

/// How long `stop_db` waits for its turn; with [`STOP_PATIENCE`] it stays
/// inside the same 15 s.
const LOCK_PATIENCE: Duration = Duration::from_secs(4);

impl Operations {
    /// Stops the server and keeps it down, also over a reboot of the guest.
    ///
    /// Answers within the caller's 15 s: if the server has not ended by then it
    /// goes on stopping, and whatever comes next waits for its end.
    ///
    /// # Errors
    /// When the stop could not be begun.
    pub async fn stop_db(self: Arc<Self>) -> Result<()> {
        let exclusive = self
            .turns
            .exclusive_within("stop_db", LOCK_PATIENCE)
            .await?;
        let hold = self.status.hold();
        let outcome = self.datastore.stop(STOP_PATIENCE).await?;
        drop(hold);
        if outcome == StopOutcome::Stopping {
            info!("Server is still shutting down; answering the caller now.");
            tokio::spawn(async move {
                let _exclusive = exclusive;
                match self.datastore.wait_stopped().await {
                    Ok(()) => info!("Server has shut down."),
                    Err(error) => warn!(%error, "Server did not shut down."),
                }
            });
        }
        Ok(())
    }

    /// Tells the user to restart the server, and which process it is that does
    /// not do yet what it is configured to.
    pub(super) async fn require_restart(&self) -> Option<u32> {
        // One that does not run begins with everything.
        let pid = self.datastore.main_pid().await?;
        info!(pid, "A setting waits for a restart of the server.");
        self.status.require_restart(true);
        self.status.announce(ANNOUNCE).await;
        Some(pid)
    }

    /// Restarts the server; returns when it answers queries.
    ///
    /// # Errors
    /// When it did not become healthy.
    pub async fn restart(&self) -> Result<()> {
        self.host.ready().await?;
        let _exclusive = self.turns.exclusive("restart").await?;
        let hold = self.status.hold();
        let result = self.datastore.restart().await;
        self.status.require_restart(false);
        drop(hold);
        self.status.announce(ANNOUNCE).await;
        result
    }

    /// Replaces the base configuration and (re)starts the server.
    ///
    /// # Errors
    /// When it did not become healthy.
    pub async fn start_db_with_conf_changes(&self, config_contents: &str) -> Result<()> {
        self.host.ready().await?;
        let _exclusive = self.turns.exclusive("start_db_with_conf_changes").await?;
        let hold = self.status.hold();
        let result = self.datastore.start_with_config(config_contents).await;
        self.status.require_restart(false);
        drop(hold);
        self.status.announce(ANNOUNCE).await;
        result
    }

    /// Replaces the base configuration only.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn reset_configuration(&self, config_contents: &str) -> Result<()> {
        let _exclusive = self.turns.exclusive("reset_configuration").await?;
        self.datastore.reset_configuration(config_contents).await
    }

    /// Replaces the configuration group in the files.
    ///
    /// # Errors
    /// When the server refuses it, or it could not be written.
    pub async fn update_overrides(
        &self,
        overrides: &BTreeMap<String, Value>,
        remove: bool,
    ) -> Result<()> {
        let _exclusive = self.turns.exclusive("update_overrides").await?;
        self.datastore.update_overrides(overrides, remove).await
    }

    /// Makes the running server use the configuration group.
    ///
    /// # Errors
    /// When the server refuses some of it.
    pub async fn apply_overrides(&self, overrides: &BTreeMap<String, Value>) -> Result<()> {
        let _exclusive = self.turns.exclusive("apply_overrides").await?;
        if self.datastore.apply_overrides(overrides).await? {
            self.require_restart().await;
        }
        Ok(())
    }
}
