//! Keeping everybody from writing.
//!
//! The server has no such switch: `default_transaction_read_only` is a default,
//! which any session can change. A server that recovers is read only for
//! everybody, superusers too. So a source is restarted as one that recovers
//! from nobody: it writes no WAL any more, its replicas get all of it that
//! there is, also after the restart, and it can follow one of them without a
//! rewind.

use std::time::Duration;

use datastore::{Error, Result};
use tracing::{info, warn};

use super::Role;
use crate::Server;
use crate::errors::os_error;
use crate::marker::Marker;
use crate::recovered::STANDBY_SIGNAL;

/// How long writers may go on for a shorter restart.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(60);

impl Server {
    /// See [`Datastore::set_read_only`](datastore::Datastore::set_read_only).
    pub(crate) async fn keep_from_writing(&self, read_only: bool) -> Result<()> {
        match (read_only, self.role().await?) {
            (true, Role::Source) => self.fence().await,
            (true, _) => Ok(()),
            (false, Role::Source) => Ok(()),
            (false, Role::Detached) => self.promote().await,
            (false, Role::Fenced) => self.lift_fence().await,
            (false, Role::Replica) => Err(Error::bad_request(
                "This server is a replica, which only its source changes: detach it first",
            )),
        }
    }

    async fn fence(&self) -> Result<()> {
        let layout = &self.settings.layout;
        // Whatever it was to follow once: it follows nobody now.
        self.remove_link()?;
        Marker::ReadOnly.set(layout)?;
        // What is written now is not written while the server is down.
        self.checkpoint(CHECKPOINT_LIMIT).await;
        self.write_data_file(STANDBY_SIGNAL, "")?;
        self.bring_up(true).await?;
        match self.role().await? {
            Role::Source => Err(Error::failed(
                "The server has been restarted read only, and still writes",
            )),
            _ => {
                info!("Server is read only.");
                Ok(())
            }
        }
    }

    async fn lift_fence(&self) -> Result<()> {
        let layout = &self.settings.layout;
        let signal = layout.data_dir().join(STANDBY_SIGNAL);
        guest::remove_if_exists(&signal).map_err(os_error)?;
        self.bring_up(true).await?;
        Marker::ReadOnly.remove(layout)?;
        info!("Server may be written to again.");
        Ok(())
    }

    /// A checkpoint that may fail: the server makes its own.
    pub(super) async fn checkpoint(&self, limit: Duration) {
        let made = async {
            let session = self.session().await?;
            let made = session.run_within(limit, "CHECKPOINT").await;
            session.close().await;
            made.map_err(|error| crate::errors::sql_error("make a checkpoint", error))
        };
        if let Err(error) = made.await {
            warn!(%error, "No checkpoint.");
        }
    }
}
