//! What the running agent tells `trove-guestagent status` and `doctor`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use guest::Attributes;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Where the state is, on a filesystem that a reboot empties.
pub const PATH: &str = "/run/trove-guestagent/state.json";

/// State of a running agent. No secret is in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentState {
    /// Process id of the agent that wrote it.
    pub pid: u32,
    /// Version of that agent.
    pub version: String,
    /// This guest.
    pub guest_id: String,
    /// Datastore manager.
    pub datastore: String,
    /// Connection to the message broker, in words.
    pub broker: String,
    /// Whether requests are taken.
    #[serde(default)]
    pub listening: bool,
    /// Status that was reported last, if any.
    pub reported: Option<String>,
    /// Operation that changes the server's life now.
    pub operation: Option<String>,
    /// Backup or restore that runs now, and how far it is.
    #[serde(default)]
    pub transfer: Option<String>,
    /// Why the host is not ready for a database, if so.
    pub host_refusal: Option<String>,
    /// Requests refused because they did not open with this guest's key.
    pub refused_requests: u64,
}

/// Counts what the state file tells.
#[derive(Debug, Default)]
pub struct Counters {
    /// See [`AgentState::refused_requests`].
    pub refused_requests: AtomicU64,
    /// Woken when one of them has grown.
    pub grown: Notify,
}

impl Counters {
    /// Counts one refused request.
    pub fn refuse(&self) {
        self.refused_requests.fetch_add(1, Ordering::Relaxed);
        self.grown.notify_one();
    }
}

/// The state file, written when something in it changes.
pub struct StateFile {
    path: PathBuf,
    last: Option<AgentState>,
}

impl StateFile {
    /// A state file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, last: None }
    }

    /// Writes `state` if it is news.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn update(&mut self, state: AgentState) -> Result<(), guest::FileError> {
        if self.last.as_ref() == Some(&state) {
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            guest::ensure_directory(
                directory,
                &Attributes {
                    mode: 0o755,
                    owner: None,
                },
            )?;
        }
        let text = serde_json::to_string_pretty(&state).unwrap_or_default();
        guest::write_atomic(
            &self.path,
            text.as_bytes(),
            &Attributes {
                mode: 0o644,
                owner: None,
            },
        )?;
        self.last = Some(state);
        Ok(())
    }
}

/// Reads the state an agent left, and whether that agent still runs.
///
/// # Errors
/// When there is none or it cannot be read.
pub fn read(path: &std::path::Path) -> anyhow::Result<(AgentState, bool)> {
    use anyhow::Context as _;
    let text = guest::read_optional(path)?.with_context(|| {
        format!(
            "{} does not exist: the agent is not running",
            path.display()
        )
    })?;
    let state: AgentState =
        serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
    let alive = std::fs::read_link(format!("/proc/{}/exe", state.pid))
        .is_ok_and(|exe| exe.to_string_lossy().contains("guestagent"));
    Ok((state, alive))
}
