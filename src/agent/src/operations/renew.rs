//! A new root disk below the same data, and a new version of the server.

use std::time::Duration;

use datastore::{Error, PrepareRequest, Result, TlsMode};
use tracing::{error, info};

use super::{ANNOUNCE, Operations};
use crate::journal::{Record, State};
use crate::rpc::args::{Args, ArgsError};
use crate::rpc::context::Context;
use crate::status::Phase;

/// The method, in the journal.
pub(super) const UPGRADE: &str = "upgrade";
/// How long a call takes from the control plane, at most.
const UPGRADE_EXPECTED: Duration = Duration::from_secs(3);
/// How long a failed upgrade is the instance's status. The control plane looks
/// every 5 s, takes a healthy server for a new one, and tells nobody when it
/// has seen the failure (`trove/taskmanager/models.py`, `upgrade`).
const FAILURE_SHOWN: Duration = Duration::from_secs(20);

/// The arguments of `rebuild`, which are `prepare`'s by other names.
///
/// # Errors
/// When one is missing or of another type.
pub fn rebuild_request(args: &mut Args) -> std::result::Result<PrepareRequest, ArgsError> {
    Ok(PrepareRequest {
        config_contents: args.optional("config_contents")?.unwrap_or_default(),
        overrides: args.optional("config_overrides")?.unwrap_or_default(),
        datastore_version: args.optional("ds_version")?,
        replica: None,
    })
}

impl Operations {
    /// Takes over the data on the volume, which another agent, of this or of
    /// another kind, has left there.
    ///
    /// # Errors
    /// The reason of a failure, after it was reported.
    pub async fn rebuild(&self, request: PrepareRequest, context: &Context) -> Result<()> {
        let _exclusive = self.turns.exclusive("rebuild").await?;
        let record = Record {
            method: "rebuild".into(),
            request_id: context.request_id().map(str::to_owned),
            // Its end is not notified: the control plane waits for the status.
            notification: None,
            context: context.for_conductor(),
            state: State::Running,
        };
        match self.take_over(&request, &record).await {
            Ok(()) => {
                self.journal.clear();
                self.status.enter(Phase::Installed);
                info!("Instance rebuilt.");
                // The server does not wait for them.
                self.modules_again().await;
                Ok(())
            }
            Err(error) => {
                self.fail(record, &error.to_string()).await;
                Err(error)
            }
        }
    }

    async fn take_over(&self, request: &PrepareRequest, record: &Record) -> Result<()> {
        let disk = |error: guest::FileError| Error::failed(error.to_string());
        self.journal.write(record).map_err(disk)?;
        self.markers.begin().map_err(disk)?;
        self.status.enter(Phase::Installing);
        self.host.ready().await?;
        self.datastore.rebuild(request, self.tls_mode()?).await?;
        self.markers.complete().map_err(disk)
    }

    /// The mode of TLS that the instance has.
    ///
    /// # Errors
    /// When the control plane has injected something else.
    pub(super) fn tls_mode(&self) -> Result<Option<TlsMode>> {
        if let Some(injected) = &self.backups.settings.ssl_mode {
            crate::tls::mode_named(injected)?;
        }
        Ok(self.tls.mode())
    }

    /// An upgrade is next: no heartbeat comes between its request and its begin.
    pub fn expect_upgrade(&self) {
        let mute = self.status.mute();
        tokio::spawn(async move {
            tokio::time::sleep(UPGRADE_EXPECTED).await;
            drop(mute);
        });
    }

    /// Goes over to another version of the server.
    ///
    /// # Errors
    /// When the data cannot be taken there; the instance then shows the failure
    /// for a while, and is what it was.
    pub async fn upgrade(&self, target: &str, context: &Context) -> Result<()> {
        let exclusive = self.turns.exclusive("upgrade").await?;
        // The first healthy server that the control plane sees ends its waiting.
        let mute = self.status.mute();
        let record = Record {
            method: UPGRADE.into(),
            request_id: context.request_id().map(str::to_owned),
            notification: None,
            context: context.for_conductor(),
            state: State::Running,
        };
        let upgraded = match self.host.ready().await {
            Ok(()) => self.go_over(target, &record).await,
            Err(error) => Err(error),
        };
        drop(exclusive);
        match upgraded {
            Ok(()) => {
                drop(mute);
                self.status.announce(ANNOUNCE).await;
                info!(target, "Server upgraded.");
            }
            Err(error) => {
                error!(%error, target, "Server not upgraded.");
                self.status.enter(Phase::Failed);
                drop(mute);
                self.show_failure().await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn go_over(&self, target: &str, record: &Record) -> Result<()> {
        let disk = |error: guest::FileError| Error::failed(error.to_string());
        self.journal.write(record).map_err(disk)?;
        let upgraded = self.datastore.upgrade(target).await;
        self.journal.clear();
        upgraded
    }

    /// Shows the control plane that an upgrade has failed: it may look at a
    /// server that is what it was, and healthy.
    pub(super) async fn show_failure(&self) {
        self.status.enter(Phase::Failed);
        tokio::time::sleep(FAILURE_SHOWN).await;
        self.status.enter(Phase::Installed);
    }
}
