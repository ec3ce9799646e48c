//! The life of a server: start, stop, restart, and waiting for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datastore::{Error, ErrorKind, Result, StopOutcome};
use guest::{ActiveState, ServiceError, Unit, UnitState};
use tracing::info;

use crate::errors::os_error;

/// Pause between two probes of a server that is coming up.
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// Good probes in a row that are enough.
const GOOD_PROBES: u32 = 2;
/// Journal lines in an error.
const JOURNAL_LINES: u32 = 15;

/// How long a server may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To reach a state.
    pub limit: Duration,
    /// Upper bound for the pause between two probes while waiting.
    pub poll: Duration,
    /// Upper bound for the good probes in a row that count as healthy; two are
    /// enough, because systemd has reported the server ready before the first.
    pub healthy_counts: u32,
}

/// A server that can be asked whether it answers.
#[async_trait]
pub trait Probe: Sync {
    /// Nothing if it has run a query, or why not.
    async fn probe(&self) -> std::result::Result<(), String>;
}

/// The systemd unit of a server.
#[derive(Debug)]
pub struct Service {
    pub(crate) unit: Unit,
    pub(crate) patience: Patience,
    pub(crate) silence: crate::status::Silence,
}

impl Service {
    /// The unit of this name, with or without its suffix.
    pub fn new(name: &str, patience: Patience) -> Self {
        let unit = match name.contains('.') {
            true => Unit::new(name),
            false => Unit::new(format!("{name}.service")),
        };
        Self {
            unit,
            patience,
            silence: crate::status::Silence::default(),
        }
    }

    /// The same, managed by another program than `systemctl`: for tests.
    #[must_use]
    pub fn managed_by(mut self, systemctl: impl Into<PathBuf>) -> Self {
        self.unit = self.unit.managed_by(systemctl);
        self
    }

    /// Process id of the server, when it runs.
    pub async fn main_pid(&self) -> Option<u32> {
        self.unit.state().await.ok()?.main_pid
    }

    /// The unit's last words.
    pub async fn journal_tail(&self, lines: u32) -> String {
        self.unit.journal_tail(lines).await
    }

    async fn state(&self) -> Result<UnitState> {
        self.unit.state().await.map_err(service_error)
    }

    /// Whether the unit is enabled, and neither up nor on its way.
    ///
    /// # Errors
    /// When systemd does not say.
    pub async fn should_be_started(&self) -> Result<bool> {
        let state = self.state().await?;
        let down = matches!(state.active, ActiveState::Inactive | ActiveState::Failed);
        Ok(state.enabled && down)
    }

    /// (Re)starts the server now and starts it at every boot; returns when
    /// systemd calls it ready. Tells whether another process runs now.
    ///
    /// # Errors
    /// When it does not start within `limit`.
    pub async fn start(&self, restart: bool, limit: Duration) -> Result<bool> {
        let before = self.state().await?.active;
        self.unit.enable().await.map_err(service_error)?;
        let result = match restart {
            true => self.unit.restart(limit).await,
            false => self.unit.start(limit).await,
        };
        result.map_err(service_error)?;
        Ok(restart || before != ActiveState::Active)
    }

    /// Waits until the server answers. systemd has called it ready already; its
    /// socket and its accounts are what is probed here.
    ///
    /// # Errors
    /// When it ends, or does not answer until `limit` after `started`.
    pub async fn wait_healthy(
        &self,
        server: &dyn Probe,
        started: Instant,
        limit: Duration,
    ) -> Result<()> {
        let wanted = self.patience.healthy_counts.clamp(1, GOOD_PROBES);
        let pause = PROBE_PAUSE.min(self.patience.poll);
        let mut good = 0;
        loop {
            match server.probe().await {
                Ok(()) => {
                    good += 1;
                    if good >= wanted {
                        let elapsed_ms = started.elapsed().as_millis();
                        info!(unit = self.unit.name(), elapsed_ms, "Server is healthy.");
                        return Ok(());
                    }
                }
                Err(error) => {
                    good = 0;
                    self.check_alive(started, limit, &error).await?;
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn check_alive(&self, started: Instant, limit: Duration, error: &str) -> Result<()> {
        let state = self.state().await?;
        let died = matches!(state.active, ActiveState::Failed | ActiveState::Inactive)
            || state.sub.starts_with("auto-restart");
        let (kind, what) = match died {
            true => (
                ErrorKind::Failed,
                format!("ended after its start ({})", state.result),
            ),
            false if started.elapsed() >= limit => (
                ErrorKind::Timeout,
                format!("does not answer after {} s ({error})", limit.as_secs()),
            ),
            false => return Ok(()),
        };
        let journal = self.journal_tail(JOURNAL_LINES).await;
        let text = format!("{} {what}: {journal}", self.unit.name());
        Err(Error::new(kind, text))
    }

    /// Stops the server and keeps it down over a reboot.
    ///
    /// # Errors
    /// When systemd refuses.
    pub async fn stop_for_good(&self, patience: Duration) -> Result<StopOutcome> {
        self.unit.disable().await.map_err(service_error)?;
        self.unit.stop_no_block().await.map_err(service_error)?;
        match self.is_down_within(patience).await? {
            true => Ok(StopOutcome::Stopped),
            false => Ok(StopOutcome::Stopping),
        }
    }

    /// Waits until the server's process is gone.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn wait_down(&self) -> Result<()> {
        let limit = self.patience.limit;
        match self.is_down_within(limit).await? {
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

    async fn is_down_within(&self, limit: Duration) -> Result<bool> {
        self.unit.wait_inactive(limit).await.map_err(service_error)
    }

    /// Leaves the server as it is, and does not start it at the next boot.
    ///
    /// # Errors
    /// When systemd refuses.
    pub async fn not_at_boot(&self) -> Result<()> {
        self.unit.disable().await.map_err(service_error)
    }

    /// Stops the server for the moment, whether it runs or not.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn take_down(&self) -> Result<()> {
        self.unit
            .stop(self.patience.limit)
            .await
            .map_err(service_error)
    }

    /// Stops the server, and keeps it down over a reboot.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn keep_down(&self) -> Result<()> {
        self.unit.disable().await.map_err(service_error)?;
        self.take_down().await
    }
}

/// The errors of `guest` name the unit, its result and its last words.
fn service_error(error: ServiceError) -> Error {
    match error {
        ServiceError::Timeout { .. } => {
            let text = error.to_string();
            Error::with_source(ErrorKind::Timeout, text, error)
        }
        error => os_error(error),
    }
}
