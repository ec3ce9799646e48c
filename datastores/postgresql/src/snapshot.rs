//! Snapshots of the volume: a server that expects one, and a volume that was
//! made from one.
//!
//! The volume is frozen meanwhile, so that a snapshot is one moment of it, and
//! the server on the copy recovers as it would after a crash. A backup that is
//! begun before keeps that recovery short. It is never of the exclusive kind
//! of old versions, whose file in the data directory outlives a crash and then
//! keeps the server itself from recovering.

use std::time::Duration;

use async_trait::async_trait;
use datastore::{Error, PrepareRequest, ReadLock, Result};
use serde_json::{Map, Value};
use tracing::info;

use crate::errors::sql_error;
use crate::marker::Marker;
use crate::recovered::STANDBY_SIGNAL;
use crate::restore::Recovery;
use crate::session::{Session, SqlResult};
use crate::{Server, restore};

/// A checkpoint writes all that has changed in memory. The control plane waits
/// no longer for the answer.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(600);

impl Server {
    /// See [`Datastore::lock_for_snapshot`](datastore::Datastore::lock_for_snapshot).
    pub(crate) async fn hold_writes(&self) -> Result<Box<dyn ReadLock>> {
        let session = self.session().await?;
        // An error drops the session, and with it the backup.
        let begun = begin(&session)
            .await
            .map_err(|error| sql_error("prepare for a snapshot", error))?;
        info!(replica = !begun, "Ready for a snapshot.");
        Ok(Box::new(SnapshotLock {
            session,
            begun,
            position: Map::new(),
        }))
    }

    /// Everything before the first start on a volume that was made from a
    /// snapshot: the data becomes this guest's. The server must not run.
    pub async fn take_over_snapshot(&self, request: &PrepareRequest) -> Result<Recovery> {
        let layout = &self.settings.layout;
        let data = layout.data_dir();
        if !data.join("PG_VERSION").is_file() || !data.join("global/pg_control").is_file() {
            return Err(Error::failed(format!(
                "The volume should come from a snapshot, but there is no data of a server in {}: \
                 check that the snapshot is of a volume of this datastore",
                data.display()
            )));
        }
        if Marker::Initialising.is_set(layout) || Marker::Restoring.is_set(layout) {
            return Err(Error::failed(format!(
                "The snapshot was taken while the data in {} was not complete: it cannot be used",
                data.display()
            )));
        }
        Marker::TakingOver.set(layout)?;
        restore::sweep(&layout.mount_point)?;
        let installed = self
            .installed_version(request.datastore_version.as_deref())
            .await?;
        self.programs_for(&data, Some(&installed))
            .map_err(|error| {
                Error::with_source(
                    error.kind(),
                    format!("Cannot use the snapshot: {error}"),
                    error,
                )
            })?;
        self.ensure_directories()?;
        self.install_configuration(request).await?;
        let replica = request.replica.is_some();
        // A copy of a replica becomes a server of its own by a recovery, which
        // gives it a history of its own.
        let recover = data.join(STANDBY_SIGNAL).exists();
        self.make_own(replica, recover)?;
        self.finish_data_dir().await?;
        self.link_programs()?;
        self.write_access_rules()?;
        Ok(Recovery {
            end: None,
            replica,
            archived: Vec::new(),
        })
    }
}

/// Makes the server ready; whether a backup was begun. A replica can have
/// none of its own.
async fn begin(session: &Session) -> SqlResult<bool> {
    session.stay().await?;
    if session.is_in_recovery().await? {
        session.run_within(CHECKPOINT_LIMIT, "CHECKPOINT").await?;
        return Ok(false);
    }
    let query = match session.version().major >= 15 {
        true => "SELECT pg_backup_start('trove snapshot', true)::text",
        false => "SELECT pg_start_backup('trove snapshot', true, false)::text",
    };
    session.first_within(CHECKPOINT_LIMIT, query, &[]).await?;
    Ok(true)
}

/// The session in which the backup goes on; it ends with it.
struct SnapshotLock {
    session: Session,
    begun: bool,
    position: Map<String, Value>,
}

#[async_trait]
impl ReadLock for SnapshotLock {
    fn position(&self) -> &Map<String, Value> {
        &self.position
    }

    async fn release(self: Box<Self>) -> Result<()> {
        let this = *self;
        let query = match this.session.version().major >= 15 {
            true => "SELECT lsn::text FROM pg_backup_stop(false)",
            false => "SELECT lsn::text FROM pg_stop_backup(false, false)",
        };
        let ended = match this.begun {
            true => this.session.first(query, &[]).await.map(drop),
            false => Ok(()),
        };
        this.session.close().await;
        ended.map_err(|error| sql_error("end the preparation for a snapshot", error))?;
        info!("Snapshot is over.");
        Ok(())
    }
}
