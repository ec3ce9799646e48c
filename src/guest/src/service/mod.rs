//! systemd units, through `systemctl` and `journalctl`.

mod error;
mod process;
mod state;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

pub use error::ServiceError;
pub use state::{ActiveState, UnitState};

use crate::{Command, CommandError, Output, command::text_tail};

/// For requests that systemd answers at once.
const SHORT: Duration = Duration::from_secs(20);
/// `enable` and `disable` make systemd re-read all units.
const RELOAD: Duration = Duration::from_secs(60);
/// systemctl(1), "Exit status": the unit is not loaded.
const NOT_LOADED: i32 = 5;
/// For the journal to take in what it was sent.
const SYNC: Duration = Duration::from_secs(5);
/// How often the state is asked for while there is no process to wait for.
const POLL: Duration = Duration::from_millis(100);
/// How many journal lines go into an error, and how many bytes at most.
const ERROR_LINES: u32 = 15;
const JOURNAL_LIMIT: usize = 4 << 10;

/// A unit of the system's service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    name: String,
    systemctl: PathBuf,
}

impl Unit {
    /// `name` with its suffix, such as `mariadb.service`. Nothing is asked of
    /// systemd yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            systemctl: "systemctl".into(),
        }
    }

    /// The same unit of another service manager, for tests where systemd does
    /// not run: a program that is called, and answers, as `systemctl` is.
    #[must_use]
    pub fn managed_by(mut self, systemctl: impl Into<PathBuf>) -> Self {
        self.systemctl = systemctl.into();
        self
    }

    /// As given to [`new`](Self::new).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts the unit and waits until it is up (for `Type=notify` services:
    /// until they said so). Already running is success.
    pub async fn start(&self, timeout: Duration) -> Result<(), ServiceError> {
        self.forget_starts().await;
        self.job("start", timeout).await
    }

    /// Stops the unit and waits until it has ended. A unit that is not running
    /// or does not exist is success.
    pub async fn stop(&self, timeout: Duration) -> Result<(), ServiceError> {
        absent_is_done(self.job("stop", timeout).await)
    }

    /// Stops the unit if it runs, starts it, and waits until it is up.
    pub async fn restart(&self, timeout: Duration) -> Result<(), ServiceError> {
        self.forget_starts().await;
        self.job("restart", timeout).await
    }

    /// Keeps systemd from refusing a start that is asked for because there were
    /// others not long ago: its limit is against servers that keep failing.
    async fn forget_starts(&self) {
        let result = self.systemctl(&["reset-failed"], SHORT).await;
        let reset = absent_is_done(self.judge("reset-failed", result).await);
        if let Err(error) = reset {
            warn!(unit = %self.name, %error, "Count of recent starts not reset.");
        }
    }

    /// Asks for a stop without waiting for its end. A unit that is not running
    /// or does not exist is success.
    pub async fn stop_no_block(&self) -> Result<(), ServiceError> {
        let result = self.systemctl(&["stop", "--no-block"], SHORT).await;
        absent_is_done(self.judge("stop", result).await)
    }

    /// Waits until the unit is inactive, failed, or not known; `false` when
    /// the time is up first. Starts and stops nothing.
    pub async fn wait_inactive(&self, timeout: Duration) -> Result<bool, ServiceError> {
        let deadline = Instant::now() + timeout;
        loop {
            let state = self.state().await?;
            if matches!(state.active, ActiveState::Inactive | ActiveState::Failed) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            // The end of the main process is an event; what remains after it
            // (clean-up commands, systemd's own bookkeeping) is not.
            if let Some(pid) = state.main_pid {
                let _over = time::timeout_at(deadline, process::ended(pid)).await;
            }
            time::sleep_until(deadline.min(Instant::now() + POLL)).await;
        }
    }

    /// Starts the unit at every boot from now on.
    pub async fn enable(&self) -> Result<(), ServiceError> {
        // --force: the link may point at the distribution's unit file of the
        // same name, which ours hides.
        let result = self.systemctl(&["enable", "--force"], RELOAD).await;
        self.judge("enable", result).await
    }

    /// Does not start the unit at boot any more; a running one is left alone.
    /// A unit that does not exist is success.
    pub async fn disable(&self) -> Result<(), ServiceError> {
        let result = self.systemctl(&["disable"], RELOAD).await;
        absent_is_done(self.judge("disable", result).await)
    }

    /// What systemd knows of the unit, in one question.
    pub async fn state(&self) -> Result<UnitState, ServiceError> {
        let properties = format!("--property={}", state::PROPERTIES);
        let output = self.systemctl(&["show", &properties], SHORT).await?;
        if !output.status.success() {
            return Err(output.into_error("systemctl").into());
        }
        Ok(UnitState::parse(&output.stdout_text()))
    }

    /// The unit's last journal lines, at most 4 KiB of them, without times and
    /// prefixes. For error texts: when the journal cannot be read, it says so
    /// instead of failing.
    pub async fn journal_tail(&self, lines: u32) -> String {
        // What the unit said last may still be on its way into the journal.
        let sync = Command::new("journalctl").arg("--sync");
        let _best_effort = sync.timeout(SYNC).output().await;
        let command = Command::new("journalctl")
            .arg(format!("--unit={}", self.name))
            .arg(format!("--lines={lines}"))
            .args(["--output=cat", "--no-pager", "--quiet"])
            .timeout(SHORT);
        match command.run().await {
            Ok(output) => text_tail(&output.stdout, JOURNAL_LIMIT),
            Err(error) => format!("(journal not readable: {error})"),
        }
    }

    async fn job(&self, action: &'static str, timeout: Duration) -> Result<(), ServiceError> {
        let started = Instant::now();
        let result = self.systemctl(&[action], timeout).await;
        self.judge(action, result).await?;
        info!(unit = %self.name, action, elapsed_ms = started.elapsed().as_millis(), "Unit changed.");
        Ok(())
    }

    async fn systemctl(&self, verb: &[&str], timeout: Duration) -> Result<Output, CommandError> {
        Command::new(&self.systemctl)
            .args(verb)
            .args(["--no-ask-password", "--no-pager", "--"])
            .arg(&self.name)
            // An init script of the same name in /etc/init.d is not ours to switch.
            .env("SYSTEMCTL_SKIP_SYSV", "1")
            .timeout(timeout)
            .output()
            .await
    }

    /// Turns a failed request into an error that says why.
    async fn judge(
        &self,
        action: &'static str,
        result: Result<Output, CommandError>,
    ) -> Result<(), ServiceError> {
        let unit = self.name.clone();
        match result {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let state = self.state().await?;
                let absent = output.status.code() == Some(NOT_LOADED) || !state.exists;
                if absent && state.active == ActiveState::Inactive {
                    return Err(ServiceError::NotFound { unit });
                }
                let detail = output.stderr_tail();
                let journal = self.journal_tail(ERROR_LINES).await;
                Err(ServiceError::Failed {
                    unit,
                    action,
                    result: state.result,
                    detail,
                    journal,
                })
            }
            Err(CommandError::Timeout { after, .. }) => {
                let state = self.state().await?;
                let journal = self.journal_tail(ERROR_LINES).await;
                Err(ServiceError::Timeout {
                    unit,
                    action,
                    after,
                    sub: state.sub,
                    journal,
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn absent_is_done(result: Result<(), ServiceError>) -> Result<(), ServiceError> {
    match result {
        Err(ServiceError::NotFound { unit }) => {
            debug!(unit, "There is no such unit, nothing to do.");
            Ok(())
        }
        other => other,
    }
}
