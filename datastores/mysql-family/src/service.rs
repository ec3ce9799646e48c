//! The life of the server: start, stop, restart, and waiting for it.

use std::time::{Duration, Instant};

use datastore::{Error, ErrorKind, Result, StopOutcome};
use guest::{ActiveState, ServiceError};
use tracing::{info, warn};

use crate::errors::os_error;
use crate::marker::{self, Marker};
use crate::session::{CONNECT_TIMEOUT, probe};
use crate::{Flavor, Server};

/// Pause between two probes of a server that is coming up.
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// Good probes in a row that are enough.
const GOOD_PROBES: u32 = 2;
/// Journal lines in an error.
const JOURNAL_LINES: u32 = 15;

impl<F: Flavor> Server<F> {
    /// Starts the server now and at every boot, and waits until it answers.
    pub(crate) async fn start_and_wait(&self) -> Result<()> {
        self.start_anew(false).await
    }

    /// Starts the server if its unit is enabled and neither up nor on its way.
    pub(crate) async fn start_if_meant_to_run(&self) -> Result<bool> {
        let state = self.unit.state().await.map_err(service_error)?;
        let down = matches!(state.active, ActiveState::Inactive | ActiveState::Failed);
        if !(state.enabled && down) {
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
        let started = Instant::now();
        // A start limit reached earlier must not forbid this start.
        let before = self.unit.state().await.map_err(service_error)?.active;
        if before == ActiveState::Failed
            && let Err(error) = self.unit.reset_failed().await
        {
            warn!(%error, "Failed state of the unit not reset.");
        }
        self.open_error_log()?;
        let log = self.error_log_size();
        self.unit.enable().await.map_err(service_error)?;
        let result = match restart {
            true => self.unit.restart(limit).await,
            false => self.unit.start(limit).await,
        };
        let up = match result {
            Ok(()) => self.wait_healthy(started, limit).await,
            Err(error) => Err(service_error(error)),
        };
        up.map_err(|error| self.with_server_words(error, log))?;
        // One that ran already may have other files than it was started with.
        let has_started = restart || before != ActiveState::Active;
        if has_started && let Err(error) = self.configurations().remember() {
            warn!(%error, "Configuration that works not remembered.");
        }
        self.settle_tls().await;
        Ok(())
    }

    /// Adds what the server has said since its log was of size `since`.
    fn with_server_words(&self, error: Error, since: u64) -> Error {
        match self.said_since(since) {
            said if said.is_empty() => error,
            said => Error::with_source(error.kind(), format!("{error}\n{said}"), error),
        }
    }

    /// Waits until the server answers. systemd has called it ready already;
    /// its socket and its accounts are what is probed here.
    async fn wait_healthy(&self, started: Instant, limit: Duration) -> Result<()> {
        let wanted = self.settings.state_healthy_counts.clamp(1, GOOD_PROBES);
        let pause = PROBE_PAUSE.min(self.settings.state_change_poll_time);
        let login = self.administrator()?;
        let mut good = 0;
        loop {
            let error = match probe(&self.settings.layout.socket, &login, CONNECT_TIMEOUT).await {
                Ok(()) => {
                    good += 1;
                    if good >= wanted {
                        let elapsed_ms = started.elapsed().as_millis();
                        info!(unit = self.unit.name(), elapsed_ms, "Server is healthy.");
                        return Ok(());
                    }
                    None
                }
                Err(error) => {
                    good = 0;
                    Some(error)
                }
            };
            if let Some(error) = error {
                let state = self.unit.state().await.map_err(service_error)?;
                let died = matches!(state.active, ActiveState::Failed | ActiveState::Inactive)
                    || state.sub.starts_with("auto-restart");
                if died || started.elapsed() >= limit {
                    let what = match died {
                        true => format!("ended after its start ({})", state.result),
                        false => format!("does not answer after {} s ({error})", limit.as_secs()),
                    };
                    return Err(self.start_error(&what, died).await);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn start_error(&self, what: &str, died: bool) -> Error {
        let journal = self.unit.journal_tail(JOURNAL_LINES).await;
        let kind = if died {
            ErrorKind::Failed
        } else {
            ErrorKind::Timeout
        };
        Error::new(kind, format!("{} {what}: {journal}", self.unit.name()))
    }

    /// Stops the server and keeps it down over a reboot.
    pub(crate) async fn stop_for_good(&self, patience: Duration) -> Result<StopOutcome> {
        self.unit.disable().await.map_err(service_error)?;
        self.unit.stop_no_block().await.map_err(service_error)?;
        match self
            .unit
            .wait_inactive(patience)
            .await
            .map_err(service_error)?
        {
            true => Ok(StopOutcome::Stopped),
            false => Ok(StopOutcome::Stopping),
        }
    }

    /// Waits until the server's process is gone.
    pub(crate) async fn wait_down(&self) -> Result<()> {
        let limit = self.settings.state_change_wait_time;
        match self
            .unit
            .wait_inactive(limit)
            .await
            .map_err(service_error)?
        {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "{} has not ended after {} s",
                    self.unit.name(),
                    limit.as_secs()
                ),
            )),
        }
    }

    /// Stops the server for the moment, whether it runs or not.
    pub(crate) async fn take_down(&self) -> Result<()> {
        self.unit
            .stop(self.settings.state_change_wait_time)
            .await
            .map_err(service_error)
    }

    /// Stops the server, and keeps it down over a reboot.
    pub(crate) async fn keep_down(&self) -> Result<()> {
        self.unit.disable().await.map_err(service_error)?;
        self.take_down().await
    }
}

/// The errors of `guest` name the unit, its result and its last words.
pub(crate) fn service_error(error: ServiceError) -> Error {
    match error {
        ServiceError::Timeout { .. } => {
            let text = error.to_string();
            Error::with_source(ErrorKind::Timeout, text, error)
        }
        error => os_error(error),
    }
}
