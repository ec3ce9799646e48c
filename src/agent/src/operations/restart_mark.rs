//! A server that has to be restarted before a setting holds. The mark names the
//! process, so that it ends with it, whoever restarts it and whether an agent
//! sees it or not.

use std::path::PathBuf;

use datastore::Result;
use guest::Attributes;
use tracing::{info, warn};

use super::Operations;
use super::lifecycle::ANNOUNCE;

const FILE: &str = "restart-required";
/// Fields of /proc/<pid>/stat after the name of the program: the start time is
/// the 22nd of all (proc(5)).
const START_TIME: usize = 19;

impl Operations {
    /// Tells the user to restart the server, until somebody does.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub(super) async fn require_restart(&self) -> Result<Option<u32>> {
        // One that does not run begins with everything.
        let Some(pid) = self.datastore.main_pid().await else {
            return Ok(None);
        };
        let path = self.restart_mark();
        if let Some(directory) = path.parent() {
            let attributes = Attributes {
                mode: 0o700,
                owner: None,
            };
            guest::ensure_directory(directory, &attributes).map_err(failed)?;
        }
        let attributes = Attributes {
            mode: 0o600,
            owner: None,
        };
        let text = format!("{pid} {}\n", start_time(pid).unwrap_or_default());
        guest::write_atomic(&path, text.as_bytes(), &attributes).map_err(failed)?;
        info!(pid, "A setting waits for a restart of the server.");
        self.status.require_restart(Some(pid));
        self.status.announce(ANNOUNCE).await;
        Ok(Some(pid))
    }

    /// What waited for a restart no longer does.
    pub(super) fn forget_restart(&self) {
        self.status.require_restart(None);
        if let Err(error) = guest::remove_if_exists(&self.restart_mark()) {
            warn!(%error, "Mark of a required restart not removed.");
        }
    }

    /// Goes on with what an earlier agent has marked.
    pub fn recover_restart_mark(&self) {
        let text = guest::read_optional(&self.restart_mark()).ok().flatten();
        let text = text.unwrap_or_default();
        let mut words = text.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(pid)), Some(Ok(started))) = (words.next(), words.next()) else {
            return;
        };
        let pid = u32::try_from(pid).unwrap_or_default();
        if start_time(pid) == Some(started) {
            self.status.require_restart(Some(pid));
        } else {
            self.forget_restart();
        }
    }

    fn restart_mark(&self) -> PathBuf {
        self.backups.settings.state_path.join(FILE)
    }
}

/// When a process has started, in ticks since the machine did.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(START_TIME)?.parse().ok()
}

fn failed(error: guest::FileError) -> datastore::Error {
    datastore::Error::failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_start_time() {
        let own = start_time(std::process::id());
        assert!(own.is_some_and(|ticks| ticks > 0));
        assert_eq!(own, start_time(std::process::id()));
        assert_eq!(start_time(u32::MAX), None);
    }
}
