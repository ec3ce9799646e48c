//! What the server's state looks like from outside.

use datastore::ServiceStatus;
use managed::{Answer, PROBE_LIMIT};
use tracing::warn;

use crate::session::{SqlError, probe};
use crate::{Flavor, Server};

impl<F: Flavor> Server<F> {
    /// See [`Datastore::status`](datastore::Datastore::status).
    pub(crate) async fn current_status(&self) -> ServiceStatus {
        self.service.status(self.answer().await).await
    }

    /// Tries a query as the administrator.
    async fn answer(&self) -> Answer {
        let Ok(login) = self.administrator() else {
            return Answer::Silence;
        };
        match probe(&self.settings.layout.socket, &login, PROBE_LIMIT).await {
            Ok(()) => Answer::Query,
            Err(error @ SqlError::Server { .. }) => {
                warn!(%error, "The server turns the agent away.");
                Answer::Refusal
            }
            Err(_) => Answer::Silence,
        }
    }
}
