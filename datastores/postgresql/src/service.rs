//! The life of the server: its starts.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use datastore::{ErrorKind, Result};
use managed::Probe;
use tracing::warn;

use crate::Server;
use crate::marker::{self, Marker};
use crate::server::SUPERUSER;
use crate::session::{CONNECT_TIMEOUT, probe};

impl Server {
    /// Starts the server now and at every boot, and waits until it answers.
    pub(crate) async fn start_and_wait(&self) -> Result<()> {
        // It may run already, for the agent alone.
        self.start_anew(self.is_upgrade_interrupted()?).await
    }

    /// Starts the server if its unit is enabled and neither up nor on its way.
    pub(crate) async fn start_if_meant_to_run(&self) -> Result<bool> {
        if self.is_upgrade_interrupted()? {
            // It may run, where nobody reaches it.
            return self.restart_and_wait().await.map(|()| true);
        }
        if !self.service.should_be_started().await? {
            return Ok(false);
        }
        self.start_and_wait().await.map(|()| true)
    }

    /// Stops the server if it runs, and starts it like
    /// [`start_and_wait`](Self::start_and_wait).
    pub(crate) async fn restart_and_wait(&self) -> Result<()> {
        self.start_anew(true).await
    }

    async fn start_anew(&self, restart: bool) -> Result<()> {
        self.settle_upgrade().await?;
        self.ensure_startable()?;
        self.bring_up_or_roll_back(restart).await?;
        self.forget_override()
    }

    /// Refuses incomplete data. Whoever starts the server on data that an
    /// interrupted `prepare` has made takes it for real.
    fn ensure_startable(&self) -> Result<()> {
        let layout = &self.settings.layout;
        marker::ensure_complete(layout)?;
        Marker::Initialising.remove(layout)
    }

    /// (Re)starts the server; if its configuration has changed and it does not
    /// start, with the one before.
    async fn bring_up_or_roll_back(&self, restart: bool) -> Result<()> {
        let refusal = match self.bring_up(restart).await {
            // One that is slow is not helped by other files.
            Err(error) if error.kind() == ErrorKind::Failed => error,
            done => return done,
        };
        let trial = self.configurations().try_last(refusal)?;
        Err(trial.end(self.bring_up(false).await))
    }

    /// (Re)starts the server with the programs that fit its data and the
    /// access rules that fit the settings.
    pub(crate) async fn bring_up(&self, restart: bool) -> Result<()> {
        self.bring_up_within(restart, self.settings.state_change_wait_time)
            .await
    }

    /// The same for a start that may take longer than others.
    pub(crate) async fn bring_up_within(&self, restart: bool, limit: Duration) -> Result<()> {
        let started = Instant::now();
        self.link_programs()?;
        self.write_access_rules()?;
        self.fit_replica().await?;
        let has_started = self.service.start(restart, limit).await?;
        self.service.wait_healthy(self, started, limit).await?;
        // One that ran already may have other files than it was started with.
        if has_started && let Err(error) = self.configurations().remember() {
            warn!(%error, "Configuration that works not remembered.");
        }
        Ok(())
    }
}

#[async_trait]
impl Probe for Server {
    async fn probe(&self) -> std::result::Result<(), String> {
        let socket = self.settings.layout.socket(self.settings.port);
        let answer = probe(&socket, SUPERUSER, CONNECT_TIMEOUT).await;
        answer.map_err(|error| error.to_string())
    }
}
