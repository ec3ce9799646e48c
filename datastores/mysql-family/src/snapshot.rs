//! Snapshots of the volume: a server that holds still while one is taken, and
//! a volume that was made from one.

use std::time::Duration;

use async_trait::async_trait;
use datastore::{Error, PrepareRequest, ReadLock, Result};
use serde_json::{Map, Value};
use tracing::info;

use crate::credentials::{OS_ADMIN, ROOT};
use crate::data_version::has_data;
use crate::errors::{os_error, sql_error};
use crate::marker::Marker;
use crate::restored::BINLOG_INFO;
use crate::scratch;
use crate::session::{Session, SqlResult};
use crate::{Flavor, Server, Vendor};

/// How long the lock may be waited for, in seconds. While a long query keeps
/// it waiting, every write of the tenant waits behind it.
const LOCK_LIMIT: u32 = 60;
/// The server must not end the session that holds the lock: a year, which is
/// the most there is.
const SESSION_LIMIT: u32 = 31_536_000;

impl<F: Flavor> Server<F> {
    /// See [`Datastore::lock_for_snapshot`](datastore::Datastore::lock_for_snapshot).
    pub(crate) async fn hold_writes(&self) -> Result<Box<dyn ReadLock>> {
        let mut session = self.session().await?;
        // An error drops the session, and with it the lock.
        let position = lock(&mut session)
            .await
            .map_err(|error| sql_error("lock the tables for a snapshot", error))?;
        self.write_position(&position)?;
        info!(?position, "Tables locked for a snapshot.");
        Ok(Box::new(TableLock { session, position }))
    }

    /// Replicas made from the snapshot read the position from the data.
    fn write_position(&self, position: &Map<String, Value>) -> Result<()> {
        if position.is_empty() {
            // One of an earlier time would be wrong.
            let path = self.settings.layout.data_dir().join(BINLOG_INFO);
            return guest::remove_if_exists(&path).map(drop).map_err(os_error);
        }
        let field = |key: &str| match position.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        let line = position_line(
            &field("log_file"),
            &field("log_position"),
            &field("log_executed_gtid_set"),
        );
        self.write_data_file(BINLOG_INFO, &line)
    }

    /// Everything before the first start on a volume that was made from a
    /// snapshot: the data becomes this guest's. The server must not run.
    pub async fn take_over_snapshot(&self, request: &PrepareRequest) -> Result<()> {
        let layout = &self.settings.layout;
        let data_dir = layout.data_dir();
        if !has_data(&data_dir) {
            return Err(Error::failed(format!(
                "The volume should come from a snapshot, but there is no data of a server in {}: \
                 check that the snapshot is of a volume of this datastore",
                data_dir.display()
            )));
        }
        let partial = [Marker::Initialising, Marker::Restoring, Marker::Cloning];
        if partial.iter().any(|marker| marker.is_set(layout)) {
            return Err(Error::failed(format!(
                "The snapshot was taken while the data in {} was not complete: it cannot be used",
                data_dir.display()
            )));
        }
        Marker::TakingOver.set(layout)?;
        scratch::sweep(&layout.mount_point)?;
        self.check_data_version().await?;
        self.ensure_directories()?;
        for user in [OS_ADMIN, ROOT] {
            let path = layout.credentials_dir().join(format!("{user}.cnf"));
            guest::remove_if_exists(&path).map_err(os_error)?;
        }
        self.forget_role()?;
        self.install_configuration(request).await?;
        self.finish_data_dir().await
    }
}

/// A position as backup tools write it down. Servers break long sets of GTIDs
/// into lines.
pub(crate) fn position_line(file: &str, position: &str, gtids: &str) -> String {
    format!("{file}\t{position}\t{}\n", gtids.replace('\n', ""))
}

/// Locks, and tells where the binary log stands.
async fn lock(session: &mut Session) -> SqlResult<Map<String, Value>> {
    session
        .run(&format!(
            "SET SESSION lock_wait_timeout = {LOCK_LIMIT}, wait_timeout = {SESSION_LIMIT}"
        ))
        .await?;
    let limit = Duration::from_secs(u64::from(LOCK_LIMIT) + 10);
    session
        .run_within(limit, "FLUSH TABLES WITH READ LOCK")
        .await?;
    let version = session.version();
    let is_mariadb = version.vendor == Vendor::MariaDb;
    let query = match version.is_at_least(Vendor::MySql, (8, 2, 0)) {
        true => "SHOW BINARY LOG STATUS",
        false => "SHOW MASTER STATUS",
    };
    let mut position = Map::new();
    let rows = session.text_rows(query).await?;
    // No row: the binary log is off.
    let Some(row) = rows.first() else {
        return Ok(position);
    };
    let gtids: Option<String> = match is_mariadb {
        true => {
            session
                .first("SELECT @@GLOBAL.gtid_current_pos", ())
                .await?
        }
        false => row.get("Executed_Gtid_Set"),
    };
    position.insert("log_file".into(), row.get::<String, _>("File").into());
    position.insert("log_position".into(), row.get::<u64, _>("Position").into());
    position.insert("log_executed_gtid_set".into(), gtids.into());
    Ok(position)
}

/// The session that holds the lock; it ends with it.
struct TableLock {
    session: Session,
    position: Map<String, Value>,
}

#[async_trait]
impl ReadLock for TableLock {
    fn position(&self) -> &Map<String, Value> {
        &self.position
    }

    async fn release(self: Box<Self>) -> Result<()> {
        let mut session = self.session;
        let unlocked = session.run("UNLOCK TABLES").await;
        session.close().await;
        unlocked.map_err(|error| sql_error("unlock the tables", error))?;
        info!("Tables unlocked.");
        Ok(())
    }
}
