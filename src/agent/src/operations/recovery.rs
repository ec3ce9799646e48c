//! What an earlier agent left unfinished.

use std::time::Duration;

use tracing::{error, info, warn};

use super::Operations;
use super::renew::UPGRADE;
use crate::journal::{Record, State};
use crate::markers::Markers;
use crate::status::Phase;

/// The phase in which this guest is, from what is on its disk: the record an
/// earlier agent left and the markers.
pub fn phase_on_disk(unfinished: Option<&Record>, markers: &Markers) -> Phase {
    match unfinished {
        Some(record) if !(record.method == "prepare" && markers.installed()) => Phase::Failed,
        _ if markers.installed() => Phase::Installed,
        _ => Phase::Uninstalled,
    }
}

impl Operations {
    /// Starts the server that should have come up at boot and could not,
    /// because its volume was attached late.
    pub async fn resume(&self) {
        if self.status.phase() == Phase::Installed {
            self.start_if_meant_to_run().await;
        }
    }

    async fn start_if_meant_to_run(&self) {
        if self.host.ready().await.is_err() {
            return;
        }
        let Ok(_exclusive) = self.turns.exclusive("start").await else {
            return;
        };
        match self.datastore.resume().await {
            Ok(true) => info!("Server started: it is enabled and was down."),
            Ok(false) => {}
            Err(error) => error!(%error, "Server is enabled and does not start."),
        }
    }

    /// Ends what an earlier agent was doing when it died: the instance is
    /// failed with a reason the user sees, or found to be complete.
    /// `unfinished` was read before any request could write a record of its own.
    pub async fn recover(&self, unfinished: Option<Record>) {
        let Some(record) = unfinished else {
            return;
        };
        if record.method == "prepare" && self.markers.installed() {
            // It died between the two last steps: the work is done.
            info!("Interrupted prepare had completed.");
            self.journal.clear();
            self.notify_end(record.notification, record.context).await;
            return;
        }
        if record.method == UPGRADE && self.markers.installed() {
            // Whatever it was doing: the server comes back first.
            error!(
                name: "operation_interrupted",
                request_id = record.request_id,
                "An upgrade was interrupted."
            );
            self.start_if_meant_to_run().await;
            self.show_failure().await;
            self.journal.clear();
            return;
        }
        match &record.state {
            State::Failed(reason) => {
                info!(
                    method = record.method,
                    reason, "An earlier operation failed."
                );
            }
            State::Running => {
                let reason = format!(
                    "the guest agent was restarted in the middle of {}",
                    record.method
                );
                error!(
                    name: "operation_interrupted",
                    request_id = record.request_id,
                    reason, "Operation was interrupted."
                );
                if record.method == "prepare"
                    && let Err(error) = self.datastore.stop(Duration::ZERO).await
                {
                    warn!(%error, "Server that was being prepared not stopped.");
                }
                self.fail(record, &reason).await;
            }
        }
    }
}
