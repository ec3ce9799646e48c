//! What the agent tells systemd and `trove-guestagent status` about itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oslo_messaging::{ServerState, Transport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::config::Settings;
use crate::host::Host;
use crate::operations::Operations;
use crate::run::describe;
use crate::state_file::{self, AgentState, Counters, StateFile};
use crate::status::Status;

/// Between two looks when nothing changes.
const LOOK: Duration = Duration::from_secs(10);

/// The parts that are watched.
pub struct Supervisor {
    /// For the names in the state file.
    pub settings: Settings,
    /// The broker connection.
    pub transport: Transport,
    /// The listener's sign of life.
    pub listener: oslo_messaging::Progress,
    /// For the running operation.
    pub operations: Arc<Operations>,
    /// For the reason why there is no database.
    pub host: Arc<Host>,
    /// For the reported status and its task's progress.
    pub status: Arc<Status>,
    /// Refused requests.
    pub counters: Arc<Counters>,
}

impl Supervisor {
    /// Runs until cancelled: the status line, the state file and the watchdog.
    pub async fn run(self, mut server: watch::Receiver<ServerState>, cancel: CancellationToken) {
        let mut file = StateFile::new(PathBuf::from(state_file::PATH));
        let mut connection = self.transport.state();
        let mut reported = self.status.reported();
        let mut running = self.operations.turns.running();
        let mut transfer = self.operations.backups.running();
        let watchdog = guest::notify::watchdog_interval();
        // Half the interval is what sd_watchdog_enabled(3) recommends.
        let look = watchdog.map_or(LOOK, |interval| (interval / 2).min(LOOK));
        let mut fed = Progress::default();
        let mut line = String::new();
        loop {
            let state = self.state(&server.borrow());
            let news = status_line(&state);
            if news != line {
                guest::notify::status(&news);
                line = news;
            }
            if let Err(error) = file.update(state) {
                warn!(%error, "State file not written.");
            }
            if watchdog.is_some() {
                self.feed(&mut fed);
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = connection.changed() => {}
                // Its end is no change.
                Ok(()) = server.changed() => {}
                _ = reported.changed() => {}
                _ = running.changed() => {}
                _ = transfer.changed() => {}
                () = self.counters.grown.notified() => {}
                () = tokio::time::sleep(look) => {}
            }
        }
    }

    /// Feeds the watchdog if everything that must go on has gone on. Standing
    /// still once is no hang yet: systemd waits for the whole interval.
    fn feed(&self, fed: &mut Progress) {
        let now = Progress {
            connection: self.transport.progress(),
            listener: self.listener.get(),
            status: self.status.rounds(),
        };
        let all_went_on = now.connection != fed.connection
            && now.listener != fed.listener
            && now.status != fed.status;
        if all_went_on {
            guest::notify::watchdog();
            *fed = now;
        }
    }

    fn state(&self, server: &ServerState) -> AgentState {
        let mut broker = describe(&self.transport.state().borrow());
        if let ServerState::Waiting {
            last_error: Some(error),
        } = server
        {
            broker = format!("{broker}; not listening: {error}");
        }
        AgentState {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            guest_id: self.settings.guest_id.clone(),
            datastore: self.settings.datastore_manager.to_string(),
            broker,
            listening: matches!(server, ServerState::Listening),
            reported: self
                .status
                .reported()
                .borrow()
                .map(|last| last.status.to_string()),
            operation: self.operations.turns.running().borrow().map(str::to_owned),
            transfer: self
                .operations
                .backups
                .running()
                .borrow()
                .as_ref()
                .map(ToString::to_string),
            host_refusal: self.host.refusal(),
            refused_requests: self.counters.refused_requests.load(Ordering::Relaxed),
        }
    }
}

#[derive(Default)]
struct Progress {
    connection: u64,
    listener: u64,
    status: u64,
}

/// One line for `systemctl status`: what is wrong first.
fn status_line(state: &AgentState) -> String {
    let mut parts = Vec::new();
    if let Some(refusal) = &state.host_refusal {
        parts.push(refusal.clone());
    }
    if let Some(operation) = &state.operation {
        parts.push(format!("{operation} is running"));
    }
    if let Some(transfer) = &state.transfer {
        parts.push(transfer.clone());
    }
    if let Some(reported) = &state.reported {
        parts.push(format!("database {reported}"));
    }
    parts.push(state.broker.clone());
    parts.join("; ")
}

/// A task that died takes the agent with it: systemd starts it anew.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        // The payload may hold data of a request: only the place is told.
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        error!(place, "Agent panicked and ends; systemd starts it again.");
        std::process::abort();
    }));
}
