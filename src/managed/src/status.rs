//! What a server's state looks like from outside.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use datastore::ServiceStatus;
use guest::{ActiveState, UnitState};
use tokio::time::timeout;
use tracing::warn;

use crate::Service;

/// How long a probe for the status may take.
pub const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// How long systemd may take to answer.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(1);
/// How long a running server may be silent before it counts as crashed: a
/// start period of 10 s and three probes 10 s apart, as the health checks of
/// Trove's container images have it.
const PATIENCE: Duration = Duration::from_secs(40);

/// Since when the server has been running without an answer.
#[derive(Debug, Default)]
pub(crate) struct Silence(Mutex<Option<Instant>>);

impl Silence {
    /// The server answers, or is not supposed to.
    fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The server is silent; returns for how long now.
    fn go_on(&self) -> Duration {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now).elapsed()
    }
}

/// How a server reacts to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has run a query.
    Query,
    /// It speaks, but turns us away: too many connections, wrong password.
    Refusal,
    /// It says that it is starting, recovering or shutting down.
    NotNow,
    /// Nothing.
    Silence,
}

impl Service {
    /// The state of a server that reacts like this. Answers within a second.
    pub async fn status(&self, answer: Answer) -> ServiceStatus {
        if answer == Answer::Query {
            self.silence.end();
            return ServiceStatus::Healthy;
        }
        let state = match timeout(SYSTEMD_LIMIT, self.unit.state()).await {
            Ok(Ok(state)) => state,
            Ok(Err(error)) => {
                warn!(%error, "State of the server's unit not known.");
                return ServiceStatus::Unknown;
            }
            Err(_) => return ServiceStatus::Unknown,
        };
        let silent = match answer == Answer::Silence && is_up(&state) {
            true => self.silence.go_on(),
            false => {
                self.silence.end();
                Duration::ZERO
            }
        };
        status_of(answer, &state, silent, self.patience.limit)
    }
}

fn is_up(state: &UnitState) -> bool {
    matches!(
        state.active,
        ActiveState::Active
            | ActiveState::Reloading
            | ActiveState::Activating
            | ActiveState::Unknown
    )
}

/// The status of a server that has not answered a query for `silent`.
/// `start_limit` bounds a start: recovery after a crash may be long.
fn status_of(
    answer: Answer,
    state: &UnitState,
    silent: Duration,
    start_limit: Duration,
) -> ServiceStatus {
    let running = |limit: Duration| match answer == Answer::Silence && silent >= limit {
        true => ServiceStatus::Crashed,
        false => ServiceStatus::Running,
    };
    match state.active {
        // systemd is about to start it again: its process has died.
        ActiveState::Activating if state.sub.starts_with("auto-restart") => ServiceStatus::Crashed,
        ActiveState::Activating => running(start_limit.max(PATIENCE)),
        ActiveState::Active | ActiveState::Reloading => running(PATIENCE),
        ActiveState::Deactivating | ActiveState::Inactive => ServiceStatus::Shutdown,
        ActiveState::Failed => ServiceStatus::Crashed,
        ActiveState::Unknown => ServiceStatus::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(active: ActiveState, sub: &str) -> UnitState {
        UnitState {
            active,
            sub: sub.into(),
            result: "success".into(),
            main_pid: None,
            loaded: true,
            exists: true,
            enabled: true,
        }
    }

    #[test]
    fn what_a_server_that_does_not_run_queries_is() {
        use ActiveState::{Activating, Active, Deactivating, Inactive};
        use ServiceStatus::{Crashed, Running, Shutdown};
        let limit = Duration::from_secs(180);
        for (answer, active, sub, silent, expected) in [
            (Answer::Silence, Inactive, "dead", 0, Shutdown),
            (Answer::Silence, Deactivating, "stop-sigterm", 0, Shutdown),
            (Answer::Silence, ActiveState::Failed, "failed", 0, Crashed),
            (Answer::Silence, Activating, "auto-restart", 0, Crashed),
            (Answer::Silence, Activating, "start", 60, Running),
            (Answer::Silence, Activating, "start", 200, Crashed),
            (Answer::Silence, Active, "running", 3, Running),
            (Answer::Silence, Active, "running", 60, Crashed),
            (Answer::Refusal, Active, "running", 60, Running),
            (Answer::NotNow, Activating, "start", 600, Running),
            (Answer::NotNow, Active, "running", 60, Running),
            (Answer::NotNow, Deactivating, "stop-sigterm", 0, Shutdown),
        ] {
            let status = status_of(
                answer,
                &state(active, sub),
                Duration::from_secs(silent),
                limit,
            );
            assert_eq!(status, expected, "{answer:?} {active:?} {sub} {silent}");
        }
        let unknown = state(ActiveState::Unknown, "");
        assert_eq!(
            status_of(Answer::Silence, &unknown, Duration::ZERO, limit),
            ServiceStatus::Unknown
        );
    }

    #[test]
    fn silence_is_counted_from_its_start() {
        let silence = Silence::default();
        let first = silence.go_on();
        assert!(silence.go_on() >= first);
        silence.end();
        assert!(silence.0.lock().unwrap().is_none());
    }
}
