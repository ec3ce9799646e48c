//! A source that its replicas are cloned from while it runs.
//!
//! That takes the plugin, larger packets than the control plane's templates
//! allow, and `BACKUP_ADMIN` for the account of replicas: with it, its owner
//! reads all the data. Nobody tells when the replicas are made, so the privilege
//! is taken away some hours later ([`Server::withdraw_offer`]). The plugin stays
//! until a backup takes it away.

use std::time::Duration;

use datastore::Result;
use tracing::info;

use super::account::ANYWHERE;
use crate::clone::{SINCE, load_plugin, refuse_other_engines};
use crate::credentials::Login;
use crate::errors::sql_error;
use crate::marker::Marker;
use crate::session::{Session, SqlResult};
use crate::{Flavor, Layout, Server, Vendor, sql};

/// How long replicas may take to begin: large ones are made one after the other.
const OFFER: Duration = Duration::from_secs(12 * 3600);
/// The least that the plugin works with (MySQL manual, "Cloning Remote Data").
pub(super) const PACKET: u32 = 2 << 20;

impl<F: Flavor> Server<F> {
    /// See [`Datastore::offer_clone`](datastore::Datastore::offer_clone).
    pub(crate) async fn offer_to_replicas(&self, host: &str) -> Result<bool> {
        if !self.settings.clone_replicas {
            return Ok(false);
        }
        self.account_for_replicas().await?;
        let account = self.known_account()?;
        let mut session = self.session().await?;
        let offered = offer(&mut session, &self.settings.layout, account.as_ref(), host).await;
        session.close().await;
        offered
    }

    /// Takes from the account of replicas what only those need that are being
    /// made. A new source has it from the one before.
    pub(super) async fn withdraw_offer(&self, session: &mut Session) -> Result<()> {
        let account = self.known_account()?;
        withdraw(session, &self.settings.layout, account.as_ref()).await
    }
}

/// Lets replicas clone this server, unless something keeps them from it.
async fn offer(
    session: &mut Session,
    layout: &Layout,
    login: Option<&Login>,
    host: &str,
) -> Result<bool> {
    if let Some(reason) = obstacle(session, layout, host).await {
        info!(
            reason,
            "Replicas cannot clone this server: they begin with a backup."
        );
        return Ok(false);
    }
    let failed = |error| sql_error("let replicas clone this server", error);
    Marker::Donor.set(layout)?;
    enlarge_packets(session).await.map_err(failed)?;
    if let Some(login) = login {
        let grant = format!("GRANT BACKUP_ADMIN ON *.* TO {}", account(login));
        session.run(&grant).await.map_err(failed)?;
    }
    info!("Replicas may clone this server.");
    Ok(true)
}

/// Why this server cannot be cloned, if so.
async fn obstacle(session: &mut Session, layout: &Layout, host: &str) -> Option<String> {
    if !session.version().is_at_least(Vendor::MySql, SINCE) {
        return Some(format!("{} has no CLONE", session.version()));
    }
    if host.contains(':') {
        return Some(format!("CLONE takes no IPv6 addresses, such as {host}"));
    }
    if session.is_read_only() {
        return Some("it is read only".to_owned());
    }
    let ready = match refuse_other_engines(session).await {
        Ok(()) => load_plugin(session, layout).await.map(drop),
        refused => refused,
    };
    ready.err().map(|error| error.to_string())
}

/// For new connections, until the server's next start.
async fn enlarge_packets(session: &mut Session) -> SqlResult<()> {
    let query = "SELECT @@GLOBAL.max_allowed_packet";
    let present: Option<u64> = session.first(query, ()).await?;
    if present.is_some_and(|bytes| bytes >= u64::from(PACKET)) {
        return Ok(());
    }
    let enlarge = format!("SET GLOBAL max_allowed_packet = {PACKET}");
    session.run(&enlarge).await
}

async fn withdraw(session: &mut Session, layout: &Layout, login: Option<&Login>) -> Result<()> {
    if Marker::Donor.age(layout).is_some_and(|age| age < OFFER)
        || !session.version().is_at_least(Vendor::MySql, SINCE)
    {
        return Ok(());
    }
    if let Some(login) = login {
        let failed = |error| sql_error("keep replicas from cloning this server", error);
        revoke(session, login).await.map_err(failed)?;
    }
    Marker::Donor.remove(layout)
}

async fn revoke(session: &mut Session, login: &Login) -> SqlResult<()> {
    let query = format!(
        "SELECT COUNT(*) FROM mysql.global_grants \
         WHERE PRIV = 'BACKUP_ADMIN' AND HOST = '{ANYWHERE}' AND USER = {}",
        sql::literal(&login.user)
    );
    let granted: Option<u64> = session.first(&query, ()).await?;
    if granted == Some(0) {
        return Ok(());
    }
    let revoke = format!("REVOKE BACKUP_ADMIN ON *.* FROM {}", account(login));
    session.run(&revoke).await?;
    info!("Replicas may not clone this server any more.");
    Ok(())
}

fn account(login: &Login) -> String {
    sql::account(&login.user, ANYWHERE)
}
