//! Keeping everybody from writing, over restarts too.

use std::time::Duration;

use datastore::{Error, Result};
use tracing::{info, warn};

use super::channel::unknown;
use super::kept::Kept;
use super::{Role, privileged};
use crate::cnf::Document;
use crate::errors::{code, sql_error};
use crate::marker::Marker;
use crate::overrides::SERVER_SECTION;
use crate::session::{Session, SqlResult};
use crate::{Flavor, Server, Vendor, sessions};

/// How long statements may go on that have begun, and then how long their end
/// may take, in seconds: the writers of a source that is being replaced wait.
const PATIENCE: u32 = 5;
const END_PATIENCE: u32 = 60;

impl<F: Flavor> Server<F> {
    /// See [`Datastore::set_read_only`](datastore::Datastore::set_read_only).
    pub(crate) async fn keep_from_writing(&self, read_only: bool) -> Result<()> {
        let mut session = self.session().await?;
        let role = Role::ask(&mut session, &self.settings.layout).await;
        let result = match (read_only, role.map_err(unknown)?) {
            (true, Role::Source) => self.fence(&mut session).await,
            (true, _) | (false, Role::Source) => Ok(()),
            (false, Role::Detached | Role::Fenced) => self.open_to_writers(&mut session).await,
            (false, Role::Replica) => Err(Error::bad_request(
                "This server is a replica, which only its source changes: detach it first",
            )),
        };
        session.close().await;
        result
    }

    async fn fence(&self, session: &mut Session) -> Result<()> {
        self.keep_read_only()?;
        let closed = self.close_to_writers(session).await;
        if closed.is_err()
            && let Err(error) = self.drop_override(Kept::ReadOnly)
        {
            warn!(%error, "The server may be read only after its next start.");
        }
        closed?;
        info!("Server is read only.");
        Ok(())
    }

    /// Lets the next start be a read-only one.
    pub(super) fn keep_read_only(&self) -> Result<()> {
        let mut document = Document::default();
        document.set(SERVER_SECTION, "read_only", Some("1"));
        // Not known to MariaDB, nor needed there.
        document.set(SERVER_SECTION, "loose_super_read_only", Some("1"));
        self.keep_override(Kept::ReadOnly, &document)
    }

    /// Makes the running server read only. What has been acknowledged before is
    /// in the binary log then, and nothing is acknowledged any more.
    pub(super) async fn close_to_writers(&self, session: &mut Session) -> Result<()> {
        let failed = |error| sql_error("make the server read only", error);
        // From here on it logs nothing of its own: every server of the set does
        // the same for itself.
        session
            .run("SET SESSION sql_log_bin = 0")
            .await
            .map_err(failed)?;
        privileged::revoke_all(session).await.map_err(failed)?;
        if let Err(error) = self.keep_clone_plugin(session).await {
            warn!(%error, "This server cannot be backed up while it is read only.");
        }
        let close = match session.version().vendor {
            Vendor::MySql => "SET GLOBAL super_read_only = 1",
            Vendor::MariaDb => "SET GLOBAL read_only = 1",
        };
        match patiently(session, close, PATIENCE).await {
            // Somebody's statement takes long, or holds locks.
            Err(error) if error.code() == Some(code::LOCK_WAIT_TIMEOUT) => {
                warn!(
                    "Ending the sessions of clients, which keep the server from being read only."
                );
                sessions::end(session, |_| true).await.map_err(failed)?;
                patiently(session, close, END_PATIENCE)
                    .await
                    .map_err(failed)
            }
            closed => closed.map_err(failed),
        }
    }

    /// Makes the server a source, for good.
    pub(super) async fn open_to_writers(&self, session: &mut Session) -> Result<()> {
        let failed = |error| sql_error("let others write", error);
        let layout = &self.settings.layout;
        for kept in [Kept::Replica, Kept::ReadOnly] {
            self.drop_override(kept)?;
        }
        // Of MySQL's two this ends both.
        session
            .run("SET GLOBAL read_only = 0")
            .await
            .map_err(failed)?;
        info!("Server may be written to.");
        Marker::Failover.remove(layout)?;
        let mut session = self.session().await?;
        if let Err(error) = self.drop_other_accounts(&mut session).await {
            warn!(%error, "Accounts of former replicas not dropped.");
        }
        session.close().await;
        self.settle_tls().await;
        Ok(())
    }
}

/// Runs a statement that waits for others, for so long.
async fn patiently(session: &mut Session, statement: &str, seconds: u32) -> SqlResult<()> {
    let wait = format!("SET SESSION lock_wait_timeout = {seconds}");
    session.run(&wait).await?;
    let limit = Duration::from_secs(u64::from(seconds) + 10);
    session.run_within(limit, statement).await
}
