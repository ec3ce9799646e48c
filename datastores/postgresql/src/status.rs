//! What the server's state looks like from outside.

use datastore::ServiceStatus;
use managed::{Answer, PROBE_LIMIT};
use tokio_postgres::error::SqlState;
use tracing::warn;

use crate::Server;
use crate::server::SUPERUSER;
use crate::session::{SqlError, probe};

impl Server {
    /// See [`Datastore::status`](datastore::Datastore::status).
    pub(crate) async fn current_status(&self) -> ServiceStatus {
        self.service.status(self.answer().await).await
    }

    /// Tries a query as the superuser. A replica answers, too.
    async fn answer(&self) -> Answer {
        let socket = self.settings.layout.socket(self.settings.port);
        match probe(&socket, SUPERUSER, PROBE_LIMIT).await {
            Ok(()) => Answer::Query,
            Err(error) if error.state() == Some(&SqlState::CANNOT_CONNECT_NOW) => Answer::NotNow,
            Err(error @ SqlError::Server { .. }) => {
                warn!(%error, "The server turns the agent away.");
                Answer::Refusal
            }
            Err(_) => Answer::Silence,
        }
    }
}
