//! A new root disk below the data of a server: all that was on the old one is
//! made anew, and the data stays what it is, whoever has made it.
//!
//! The accounts of the agent get new passwords before the first connection is
//! accepted, so it does not matter what the old ones were, or whether the
//! server still knows how to check them. Nothing here initialises anything, and
//! everything can be repeated: a mark on the volume lets the next start go on.

use std::time::Duration;

use datastore::{PrepareRequest, Result, TlsMode};
use tracing::{info, warn};

use crate::data_version::has_data;
use crate::errors::os_error;
use crate::marker::{self, Marker};
use crate::scratch;
use crate::session::Session;
use crate::{Flavor, Server, Vendor};

/// The old guest may have lost power, or had an older server: recovery and
/// upgrade take what they take.
const START_LIMIT: Duration = Duration::from_secs(3600);
/// What a restore of other agents leaves beside the data when it is cut off: a
/// statement with the administrator's password.
const LEFT_BEHIND: &str = "init.sql";

impl<F: Flavor> Server<F> {
    /// See [`Datastore::rebuild`](datastore::Datastore::rebuild).
    pub(crate) async fn take_over_volume(
        &self,
        request: &PrepareRequest,
        tls: Option<TlsMode>,
    ) -> Result<()> {
        let layout = &self.settings.layout;
        // A rebuild that was interrupted may have started it.
        self.service.keep_down().await?;
        self.check_volume()?;
        self.check_data_version().await?;
        scratch::sweep(&layout.mount_point)?;
        self.ensure_directories()?;
        let left_behind = layout.data_dir().join(LEFT_BEHIND);
        guest::remove_if_exists(&left_behind).map_err(os_error)?;
        self.own_data_dir().await?;
        self.install_configuration(request).await?;
        self.adopt_server_options()?;
        self.put_tls_on(tls, &self.installed_version().await?)?;
        Marker::Adopting.set(layout)?;
        self.start_adopted().await?;
        info!("Data on the volume taken over.");
        Ok(())
    }

    /// Refuses a volume without data or with half of it, before anything is
    /// written.
    fn check_volume(&self) -> Result<()> {
        let layout = &self.settings.layout;
        marker::ensure_complete(layout)?;
        let data = layout.data_dir();
        let whole = has_data(&data) && !Marker::Initialising.is_set(layout);
        managed::ensure_data(&data, whole)
    }

    /// The first start on the data of somebody else; on failure the server
    /// stays down.
    pub(crate) async fn start_adopted(&self) -> Result<()> {
        let adopted = match self.start_armed(START_LIMIT).await {
            Ok(()) => self.check_adopted().await,
            Err(error) => Err(error),
        };
        self.down_unless(adopted).await
    }

    async fn check_adopted(&self) -> Result<()> {
        let mut session = self.session().await?;
        self.check_accounts(&mut session).await?;
        let version = session.version().clone();
        self.keep_replica(&mut session).await?;
        warn_of_plugins(&mut session).await;
        session.close().await;
        self.upgrade_tables(&version).await?;
        Marker::Adopting.remove(&self.settings.layout)
    }
}

/// Servers forget how to check passwords of old: those users cannot log in.
async fn warn_of_plugins(session: &mut Session) {
    if session.version().vendor != Vendor::MySql {
        return;
    }
    let query = "SELECT CONCAT(User, '@', Host) FROM mysql.user WHERE plugin NOT IN \
                 (SELECT PLUGIN_NAME FROM information_schema.PLUGINS \
                 WHERE PLUGIN_STATUS = 'ACTIVE') ORDER BY 1";
    match session.rows::<String>(query, ()).await {
        Ok(users) if users.is_empty() => {}
        Ok(users) => warn!(
            users = users.join(", "),
            "This server does not know how to check the passwords of some users: give them new \
             ones."
        ),
        Err(error) => warn!(%error, "Not known whether all users can log in."),
    }
}
