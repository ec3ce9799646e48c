//! The journal of the one operation that must not get lost.
//!
//! Requests are acknowledged before they run, so an agent that dies in the
//! middle of `prepare` would leave the instance in BUILD until the control
//! plane's own timeout. The record on disk lets the next start tell the truth.

use std::path::PathBuf;

use guest::{Attributes, FileError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::error;

/// How far a recorded operation got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was running when the record was written.
    Running,
    /// It failed, for this reason. Kept, so that a restart repeats the status.
    Failed(String),
}

/// A long operation on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// RPC method.
    pub method: String,
    /// Request id of the API call behind it.
    pub request_id: Option<String>,
    /// The notification to complete when it ends.
    pub notification: Option<Map<String, Value>>,
    /// Who asked, as the conductor is told (without token and catalogue).
    #[serde(default)]
    pub context: Value,
    /// How far it got.
    pub state: State,
}

/// The record file; at most one long operation exists at a time.
#[derive(Debug, Clone)]
pub struct Journal(PathBuf);

impl Journal {
    /// The journal at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Writes `record` durably before the work it describes.
    ///
    /// # Errors
    /// When the file cannot be written: the work must not start.
    pub fn write(&self, record: &Record) -> Result<(), FileError> {
        let text = serde_json::to_string_pretty(record).unwrap_or_default();
        guest::write_atomic(
            &self.0,
            text.as_bytes(),
            &Attributes {
                mode: 0o600,
                owner: None,
            },
        )
    }

    /// The record an earlier agent left, if any. An unreadable one is
    /// reported as a failed operation: saying nothing would hide it.
    pub fn read(&self) -> Option<Record> {
        let text = match guest::read_optional(&self.0) {
            Ok(text) => text?,
            Err(error) => {
                error!(%error, "Journal unreadable.");
                return Some(Self::unreadable());
            }
        };
        Some(serde_json::from_str(&text).unwrap_or_else(|error| {
            error!(%error, path = %self.0.display(), "Journal damaged.");
            Self::unreadable()
        }))
    }

    fn unreadable() -> Record {
        Record {
            method: "unknown operation".into(),
            request_id: None,
            notification: None,
            context: Value::Null,
            state: State::Running,
        }
    }

    /// Removes the record: the operation has ended and was reported.
    pub fn clear(&self) {
        if let Err(error) = guest::remove_if_exists(&self.0) {
            error!(%error, "Journal not removed; the next start will report its operation again.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_and_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().join("operation.json"));
        assert_eq!(journal.read(), None);
        let record = Record {
            method: "prepare".into(),
            request_id: Some("req-1".into()),
            notification: Some(Map::new()),
            context: Value::Null,
            state: State::Failed("no device".into()),
        };
        journal.write(&record).unwrap();
        assert_eq!(journal.read(), Some(record));
        journal.clear();
        assert_eq!(journal.read(), None);
    }

    #[test]
    fn a_damaged_record_is_an_interrupted_operation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operation.json");
        std::fs::write(&path, "{\"method\"").unwrap();
        assert_eq!(Journal::new(path).read().unwrap().state, State::Running);
    }
}
