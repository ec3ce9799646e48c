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
use crate::errors::sql_error;
use crate::marker::Marker;
use crate::session::Session;
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
        let account = sql::account(&self.account_for_replicas().await?.name, ANYWHERE);
        let mut session = self.session().await?;
        let offered = offer(&mut session, &self.settings.layout, &account, host).await;
        session.close().await;
        offered
    }

    /// Takes from the account of replicas what only those need that are being
    /// made. A new source has it from the one before.
    pub(super) async fn withdraw_offer(&self, session: &mut Session) -> Result<()> {
        match self.known_account()? {
            Some(login) => withdraw(session, &self.settings.layout, &login.user).await,
            None => Ok(()),
        }
    }
}

/// Lets replicas clone this server, unless something keeps them from it.
async fn offer(session: &mut Session, layout: &Layout, account: &str, host: &str) -> Result<bool> {
    if let Some(reason) = obstacle(session, layout, host).await {
        info!(
            reason,
            "Replicas cannot clone this server: they begin with a backup."
        );
        return Ok(false);
    }
    Marker::Donor.set(layout)?;
    // The first is for new connections, until the server's next start.
    for statement in [
        &format!(
            "SET GLOBAL max_allowed_packet = \
             CAST(GREATEST(@@GLOBAL.max_allowed_packet, {PACKET}) AS UNSIGNED)"
        ),
        &format!("GRANT BACKUP_ADMIN ON *.* TO {account}"),
    ] {
        let done = session.run(statement).await;
        done.map_err(|error| sql_error("let replicas clone this server", error))?;
    }
    info!("Replicas may clone this server: no backup is made.");
    Ok(true)
}

/// Why this server cannot be cloned, if so.
async fn obstacle(session: &mut Session, layout: &Layout, host: &str) -> Option<String> {
    if !session.version().is_at_least(Vendor::MySql, SINCE) {
        return Some(format!("{} has no CLONE", session.version()));
    }
    if host.contains(':') {
        return Some("CLONE takes no IPv6 addresses".to_owned());
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

async fn withdraw(session: &mut Session, layout: &Layout, user: &str) -> Result<()> {
    if Marker::Donor.age(layout).is_some_and(|age| age < OFFER)
        || !session.version().is_at_least(Vendor::MySql, SINCE)
    {
        return Ok(());
    }
    let failed = |error| sql_error("keep replicas from cloning this server", error);
    let query = format!(
        "SELECT COUNT(*) FROM mysql.global_grants \
         WHERE PRIV = 'BACKUP_ADMIN' AND HOST = '{ANYWHERE}' AND USER = {}",
        sql::literal(user)
    );
    let granted: Option<u64> = session.first(&query, ()).await.map_err(failed)?;
    if granted != Some(0) {
        let account = sql::account(user, ANYWHERE);
        let revoke = format!("REVOKE BACKUP_ADMIN ON *.* FROM {account}");
        session.run(&revoke).await.map_err(failed)?;
        info!("Replicas may not clone this server any more.");
    }
    Marker::Donor.remove(layout)
}
