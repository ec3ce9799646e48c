//! The `sent` times of conductor casts.
//!
//! The conductor discards a cast whose `sent` is not later than the last one
//! it saw from this guest for the same method, for ever
//! (`trove/conductor/models.py`, `LastSeen`). So a clock that steps back, or
//! an agent that restarts, must not make it smaller.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use guest::Attributes;
use tracing::warn;

/// Hands out strictly increasing times per method, remembered on disk.
#[derive(Debug)]
pub struct SentClock {
    path: PathBuf,
    last: Mutex<BTreeMap<String, u64>>,
}

impl SentClock {
    /// Reads what an earlier agent sent last from `path`; an unreadable file
    /// is logged and counts as empty.
    pub fn load(path: PathBuf) -> Self {
        let last = guest::read_optional(&path)
            .map_err(|error| warn!(%error, "Last sent times unreadable."))
            .ok()
            .flatten()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        Self {
            path,
            last: Mutex::new(last),
        }
    }

    /// The time to send now with `method`, in seconds since the epoch with
    /// microseconds, greater than every earlier one.
    pub fn next(&self, method: &str) -> f64 {
        self.next_at(method, now_micros())
    }

    fn next_at(&self, method: &str, now: u64) -> f64 {
        let (micros, text) = {
            let mut last = self
                .last
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let entry = last.entry(method.to_owned()).or_default();
            *entry = now.max(*entry + 1);
            (*entry, serde_json::to_string(&*last).unwrap_or_default())
        };
        let attributes = Attributes {
            mode: 0o600,
            owner: None,
        };
        if let Err(error) = guest::write_atomic(&self.path, text.as_bytes(), &attributes) {
            // Only a restart together with a clock step would now be a problem.
            warn!(%error, "Last sent times not saved.");
        }
        micros as f64 / 1e6
    }
}

fn now_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_increase_over_clock_steps_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sent.json");
        let clock = SentClock::load(path.clone());
        let first = clock.next_at("heartbeat", 1_795_330_000_250_000);
        assert_eq!(first, 1_795_330_000.25);
        let stepped_back = clock.next_at("heartbeat", 1_000_000);
        assert!(stepped_back > first);
        let restarted = SentClock::load(path).next_at("heartbeat", 1_000_000);
        assert!(restarted > stepped_back);
    }

    #[test]
    fn methods_count_on_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let clock = SentClock::load(dir.path().join("sent.json"));
        clock.next_at("heartbeat", 2_000_000);
        assert_eq!(clock.next_at("update_backup", 1_000_000), 1.0);
    }

    #[test]
    fn a_damaged_file_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sent.json");
        std::fs::write(&path, "{").unwrap();
        assert!(SentClock::load(path).next("heartbeat") > 1.7e9);
    }
}
