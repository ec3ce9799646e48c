//! Logs that users may look at: which there are, how they stand, and their way
//! into the object store, byte by byte.

mod cut;
mod file;
mod metafile;
mod publish;
mod standing;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Duration;

use datastore::{Error, LogKind, ServerLog};
use tokio::sync::Mutex;

use crate::config::Settings;

pub use file::{Facts, LogFile, digest};
pub use metafile::Metafile;
pub use publish::{Publishing, discard, publish, read};
pub use standing::{Standing, stand};
pub use store::{LogStore, SwiftLogs};

/// The agent's own log, in the API.
const GUEST: &str = "guest";
/// Where it is when the configuration does not say (`trove/guestagent/datastore/manager.py`).
const GUEST_PATH: &str = "/var/log/trove/trove-guestagent.log";

/// What is remembered of logs between requests.
#[derive(Debug, Default)]
pub struct Logs {
    /// One at a time changes what is published.
    pub publishing: Mutex<()>,
    /// Logs whose switch waits for a restart of the server with this process id.
    waiting: StdMutex<BTreeMap<&'static str, u32>>,
}

impl Logs {
    /// Notes that a log waits for the server `pid` to be restarted, or that it
    /// no longer does.
    pub fn wait_for_restart(&self, log: &'static str, pid: Option<u32>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match pid {
            Some(pid) => waiting.insert(log, pid),
            None => waiting.remove(log),
        };
    }

    /// Whether a log waits for a restart of the server, which now has `pid`.
    pub fn waits(&self, log: &str, pid: Option<u32>) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .get(log)
            .is_some_and(|old| pid.is_none_or(|pid| pid == *old))
    }
}

/// A log with its place in the object store.
#[derive(Debug, Clone)]
pub struct Log {
    /// Name, kind and file.
    pub log: ServerLog,
    /// Whether the tenant may see it.
    pub exposed: bool,
    /// What the names of its objects begin with.
    pub prefix: String,
}

impl Log {
    /// All logs of a guest: the datastore's and the agent's.
    pub fn all(mut logs: Vec<ServerLog>, settings: &Settings) -> Vec<Self> {
        logs.push(ServerLog {
            name: GUEST,
            kind: LogKind::System,
            path: settings.log.path().unwrap_or(PathBuf::from(GUEST_PATH)),
        });
        let exposed = &settings.guest_log.exposed_logs;
        let is_exposed = |name: &str| exposed.iter().any(|known| known == "all" || known == name);
        logs.into_iter()
            .map(|log| Self {
                exposed: is_exposed(log.name),
                prefix: format!(
                    "{}/{}-{}/",
                    settings.guest_id, settings.datastore_manager, log.name
                ),
                log,
            })
            .collect()
    }

    /// The object that tells how far the log is published.
    pub fn metafile(&self) -> String {
        format!("{}_metafile", self.prefix.trim_end_matches('/'))
    }

    /// The kind by its name in the API.
    pub fn kind(&self) -> &'static str {
        match self.log.kind {
            LogKind::User => "USER",
            LogKind::System => "SYS",
        }
    }
}

/// How logs are published.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest object in bytes.
    pub object: usize,
    /// How long a publish goes on; what is left is for the next.
    pub time: Duration,
}

/// The caller waits 180 s (`agent_call_high_timeout`).
const TIME: Duration = Duration::from_secs(150);
/// When a publish is given up that a store keeps waiting.
pub const LAST_MOMENT: Duration = Duration::from_secs(170);
/// Each object is in memory until the store has it.
const LARGEST: usize = 16 << 20;

impl Limits {
    /// From the configuration.
    pub fn new(settings: &Settings) -> Self {
        let limit = usize::try_from(settings.guest_log.limit).unwrap_or(LARGEST);
        Self {
            object: limit.clamp(1, LARGEST),
            time: TIME,
        }
    }
}

fn no_file(log: &Log) -> Error {
    Error::failed(format!(
        "Log {:?} cannot be published: its file {} does not exist (yet)",
        log.log.name,
        log.log.path.display()
    ))
}
