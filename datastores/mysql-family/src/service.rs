//! The life of the server: its starts.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use datastore::{Error, ErrorKind, Result};
use managed::Probe;
use tracing::warn;

use crate::marker::{self, Marker};
use crate::session::{CONNECT_TIMEOUT, probe};
use crate::{Flavor, Server};

impl<F: Flavor> Server<F> {
    /// Starts the server now and at every boot, and waits until it answers.
    pub(crate) async fn start_and_wait(&self) -> Result<()> {
        self.start_anew(false).await
    }

    /// Starts the server if its unit is enabled and neither up nor on its way.
    pub(crate) async fn start_if_meant_to_run(&self) -> Result<bool> {
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
        let layout = &self.settings.layout;
        marker::ensure_complete(layout)?;
        if Marker::Adopting.is_set(layout) {
            // Whoever was taking it over was interrupted.
            return self.start_adopted().await;
        }
        self.disarm_first_start();
        self.bring_up_or_roll_back(restart).await
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

    pub(crate) async fn bring_up(&self, restart: bool) -> Result<()> {
        self.bring_up_within(restart, self.settings.state_change_wait_time)
            .await
    }

    /// The same for a start that may take longer than others.
    pub(crate) async fn bring_up_within(&self, restart: bool, limit: Duration) -> Result<()> {
        self.open_error_log()?;
        let log = self.error_log_size();
        let up = self.start_healthy(restart, limit).await;
        let has_started = up.map_err(|error| self.with_server_words(error, log))?;
        // One that ran already may have other files than it was started with.
        if has_started && let Err(error) = self.configurations().remember() {
            warn!(%error, "Configuration that works not remembered.");
        }
        self.settle_tls().await;
        Ok(())
    }

    async fn start_healthy(&self, restart: bool, limit: Duration) -> Result<bool> {
        let started = Instant::now();
        let has_started = self.service.start(restart, limit).await?;
        // Without a password there is nothing to wait for.
        self.administrator()?;
        self.service.wait_healthy(self, started, limit).await?;
        Ok(has_started)
    }

    /// Adds what the server has said since its log was of size `since`: it
    /// knows best.
    fn with_server_words(&self, error: Error, since: u64) -> Error {
        match self.said_since(since) {
            said if said.is_empty() => error,
            said => Error::with_source(error.kind(), format!("{said}; {error}"), error),
        }
    }
}

#[async_trait]
impl<F: Flavor> Probe for Server<F> {
    async fn probe(&self) -> std::result::Result<(), String> {
        let login = self.administrator().map_err(|error| error.to_string())?;
        let answer = probe(&self.settings.layout.socket, &login, CONNECT_TIMEOUT).await;
        answer.map_err(|error| error.to_string())
    }
}
