//! One task owns the service status and is the only one that casts heartbeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use datastore::{Datastore, ServiceStatus};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::conductor::Conductor;

/// How often the server is probed; a change is reported at once, so it bounds
/// how long the control plane believes an old state.
const PROBE: Duration = Duration::from_secs(5);

/// After a start the control plane may overwrite the first heartbeat (it marks
/// a resized or rebuilt instance PAUSED once Nova is done and then waits for
/// the next one), so they come at every probe for this long.
const EAGER: Duration = Duration::from_secs(60);

/// Where the instance is in its life, which decides what may be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Never prepared: nothing may be reported, any bad state would fail the
    /// building instance.
    Uninstalled,
    /// `prepare` is at work.
    Installing,
    /// `prepare` failed; said again with every report until something better begins.
    Failed,
    /// The real state of the server counts.
    Installed,
}

/// What was reported last, for the state file and `status` on the command line.
#[derive(Debug, Clone, Copy)]
pub struct Reported {
    /// The status.
    pub status: ServiceStatus,
    /// When the broker confirmed it.
    pub at: Instant,
}

/// The handle by which operations steer the status task.
pub struct Status {
    phase: watch::Sender<Phase>,
    reported: watch::Sender<Option<Reported>>,
    wake: Notify,
    /// Announcements asked for so far, and answered so far.
    asked: AtomicU64,
    answered: watch::Sender<u64>,
    holds: AtomicUsize,
    /// Operations whose caller takes a healthy server for their end.
    mutes: AtomicUsize,
    /// Whether the user has yet to be told of a setting that waits for a restart.
    restart_owed: AtomicBool,
    /// Rounds done, for the watchdog.
    rounds: AtomicU64,
    report_interval: Option<Duration>,
}

/// While it lives, a server that is down is what the operation wants, and is
/// not reported as such.
pub struct Hold(Arc<Status>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::SeqCst);
        self.0.wake.notify_one();
    }
}

/// While it lives, nothing is reported.
pub struct Mute(Arc<Status>);

impl Drop for Mute {
    fn drop(&mut self) {
        self.0.mutes.fetch_sub(1, Ordering::SeqCst);
        self.0.wake.notify_one();
    }
}

impl Status {
    /// A status in `phase`; `report_interval` zero turns periodic reports off.
    pub fn new(phase: Phase, report_interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            phase: watch::Sender::new(phase),
            reported: watch::Sender::new(None),
            wake: Notify::new(),
            asked: AtomicU64::new(0),
            answered: watch::Sender::new(0),
            holds: AtomicUsize::new(0),
            mutes: AtomicUsize::new(0),
            restart_owed: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            report_interval: (!report_interval.is_zero()).then_some(report_interval),
        })
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Enters a phase; its status is reported at once.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// What was reported last.
    pub fn reported(&self) -> watch::Receiver<Option<Reported>> {
        self.reported.subscribe()
    }

    /// Rounds of the status task, growing while it makes progress.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Keeps shutdown and crash from being reported until dropped.
    pub fn hold(self: &Arc<Self>) -> Hold {
        self.holds.fetch_add(1, Ordering::SeqCst);
        Hold(self.clone())
    }

    /// Keeps everything from being reported until dropped, a healthy server too.
    pub fn mute(self: &Arc<Self>) -> Mute {
        self.mutes.fetch_add(1, Ordering::SeqCst);
        Mute(self.clone())
    }

    /// Tells once that the server has to be restarted, or takes that back. Once
    /// and no more: the conductor keeps this status until the control plane
    /// restarts the server, and one that comes after that would stay for ever.
    pub fn require_restart(&self, required: bool) {
        self.restart_owed.store(required, Ordering::SeqCst);
    }

    /// Probes and reports now; returns when the broker has it, or after
    /// `patience`.
    pub async fn announce(&self, patience: Duration) {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        let mut answered = self.answered.subscribe();
        let waited =
            tokio::time::timeout(patience, answered.wait_for(|done| *done >= ticket)).await;
        if waited.is_err() {
            warn!("Status not delivered in time; it follows when the broker is back.");
        }
    }

    /// Runs until cancelled.
    pub async fn run(
        self: Arc<Self>,
        datastore: Arc<dyn Datastore>,
        conductor: Arc<Conductor>,
        cancel: CancellationToken,
    ) {
        let eager_until = Instant::now() + EAGER;
        loop {
            let asked = self.asked.load(Ordering::SeqCst);
            if let Some(status) = self.observe(&*datastore).await {
                let owed = asked > *self.answered.borrow();
                if owed || self.due(status, eager_until) {
                    self.report(status, asked, &conductor).await;
                }
            } else {
                self.answered.send_replace(asked);
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(PROBE) => {}
            }
        }
    }

    /// What may be said now; `None` for nothing.
    async fn observe(&self, datastore: &dyn Datastore) -> Option<ServiceStatus> {
        match self.phase() {
            Phase::Uninstalled => None,
            Phase::Installing => Some(ServiceStatus::Building),
            Phase::Failed => Some(ServiceStatus::Failed),
            Phase::Installed => {
                let status = match datastore.status().await {
                    ServiceStatus::Healthy if self.restart_owed.load(Ordering::SeqCst) => {
                        ServiceStatus::RestartRequired
                    }
                    status => status,
                };
                let wanted_down = self.holds.load(Ordering::SeqCst) > 0;
                let up = matches!(
                    status,
                    ServiceStatus::Healthy | ServiceStatus::RestartRequired
                );
                // The phase may have changed during the probe: then look again.
                let muted = self.mutes.load(Ordering::SeqCst) > 0;
                let told = self.phase() == Phase::Installed && !muted && (up || !wanted_down);
                told.then_some(status)
            }
        }
    }

    fn due(&self, status: ServiceStatus, eager_until: Instant) -> bool {
        let Some(last) = *self.reported.borrow() else {
            return true;
        };
        let now = Instant::now();
        last.status != status
            || self.report_interval.is_some_and(|interval| {
                let eager = now < eager_until && self.phase() == Phase::Installed;
                // The probe's own period would else make every report late.
                now + PROBE / 2 >= last.at + interval || eager
            })
    }

    async fn report(&self, status: ServiceStatus, asked: u64, conductor: &Conductor) {
        match conductor.heartbeat(status).await {
            Ok(()) => {
                if status == ServiceStatus::RestartRequired {
                    self.require_restart(false);
                }
                let before = self.reported.send_replace(Some(Reported {
                    status,
                    at: Instant::now(),
                }));
                if before.map(|before| before.status) != Some(status) {
                    info!(name: "status_reported", %status, "Status reported.");
                }
                self.answered.send_replace(asked);
            }
            Err(error) => warn!(%error, %status, "Status not delivered; trying again."),
        }
    }
}
