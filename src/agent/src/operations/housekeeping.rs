//! What the datastore does on its own, now and then.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Operations;
use crate::status::Phase;

/// Upstream's agent looks at its WAL archive as often
/// (`trove/guestagent/datastore/postgres/manager.py`).
const PAUSE: Duration = Duration::from_secs(180);

impl Operations {
    /// Lets the datastore look after the guest, until the agent ends.
    pub async fn keep_house(&self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            if self.status.phase() != Phase::Installed {
                continue;
            }
            if let Err(error) = self.datastore.housekeeping().await {
                warn!(%error, "Housekeeping failed.");
            }
        }
    }
}
