//! Looking after sources and replicas now and then.

use std::time::Duration;

use datastore::{Endpoint, Result};
use tracing::{info, warn};

use super::Role;
use super::channel::{Channel, unknown};
use super::syntax::Syntax;
use crate::errors::sql_error;
use crate::marker::Marker;
use crate::session::Session;
use crate::{Flavor, Server, Vendor};

/// How long a failover may last, of which nothing is heard any more.
const FORGOTTEN: Duration = Duration::from_secs(600);

impl<F: Flavor> Server<F> {
    /// Bounds binary logs, and helps a replica that has been left alone.
    pub(crate) async fn tend_replication(&self) -> Result<()> {
        let Ok(mut session) = self.session().await else {
            // A server that does not run needs nothing.
            return Ok(());
        };
        let result = self.tend(&mut session).await;
        session.close().await;
        result
    }

    async fn tend(&self, session: &mut Session) -> Result<()> {
        let layout = &self.settings.layout;
        self.bound_binlogs(session).await?;
        let channel = Channel::of(session).await.map_err(unknown)?;
        let role = Role::of(session, channel.as_ref(), layout);
        let waits = |age: Duration| age < FORGOTTEN;
        if Marker::Failover.age(layout).is_some_and(waits) {
            return Ok(());
        }
        match (role, channel) {
            (Role::Detached, _) => {
                warn!(
                    "The failover that this replica was detached for has not come: promoting it."
                );
                self.open_to_writers(session).await
            }
            (Role::Source, _) => self.withdraw_offer(session).await,
            (Role::Replica, Some(channel)) => {
                Marker::Failover.remove(layout)?;
                match channel.works() {
                    true => Ok(()),
                    false => self.restart_channel(session, &channel).await,
                }
            }
            _ => Ok(()),
        }
    }

    /// Starts a channel again that does not work: an error may have been of the
    /// moment, and the source may have got TLS since.
    async fn restart_channel(&self, session: &mut Session, channel: &Channel) -> Result<()> {
        let syntax = Syntax::of(session.version());
        warn!(
            complaint = channel.complaint(),
            "The replica does not follow its source; trying again."
        );
        let failed = |error| sql_error("start replication again", error);
        session.run(&syntax.stop()).await.map_err(failed)?;
        let source = Endpoint {
            host: channel.host.clone(),
            port: channel.port.parse().unwrap_or_default(),
        };
        if session.version().vendor == Vendor::MySql
            && let Ok(tls) = self.source_offers_tls(&source).await
            && tls != channel.tls
        {
            info!(tls, "The source offers TLS or has ceased to.");
            let change = syntax.encrypt(tls);
            session.run(&change).await.map_err(failed)?;
        }
        session.run(&syntax.start()).await.map_err(failed)
    }
}
