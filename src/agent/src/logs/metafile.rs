//! The object beside a log's others that tells how far the log is published
//! (`trove/guestagent/guest_log.py`, GuestLog.MF_LABEL_*).

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Log;
use super::file::digest;

/// What is published of a log. Upstream's agent reads and writes the first
/// five; it ignores the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metafile {
    pub(super) log_name: String,
    pub(super) log_type: String,
    pub(super) log_file: String,
    /// Bytes.
    pub log_size: u64,
    /// MD5 of the file's first line.
    #[serde(default)]
    pub log_header_digest: Option<String>,
    /// MD5 of the last bytes that are published: the first line of a file that
    /// a server has begun anew is often the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_tail_digest: Option<String>,
    /// When the newest object was named, in microseconds.
    #[serde(default)]
    pub(super) log_last_time: u64,
    /// Name of an object that is being stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_pending_object: Option<String>,
}

impl Metafile {
    /// That of a log of which nothing is published.
    pub fn new(log: &Log) -> Self {
        Self {
            log_name: log.log.name.to_owned(),
            log_type: log.kind().to_owned(),
            log_file: log.log.path.display().to_string(),
            log_size: 0,
            log_header_digest: None,
            log_tail_digest: Some(digest(b"")),
            log_last_time: 0,
            log_pending_object: None,
        }
    }

    /// The same when everything is discarded: later objects still have later
    /// names.
    pub fn emptied(&self, log: &Log) -> Self {
        Self {
            log_last_time: self.log_last_time,
            ..Self::new(log)
        }
    }

    /// Names the next object; each name is greater than all before, whatever
    /// the clock does.
    pub fn next_name(&mut self, log: &Log) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        self.log_last_time = now.max(self.log_last_time.saturating_add(1));
        let name = format!("{}log-{}", log.prefix, iso(self.log_last_time));
        self.log_pending_object = Some(name.clone());
        name
    }
}

/// As Python prints a time.
fn iso(microseconds: u64) -> String {
    let nanoseconds = i128::from(microseconds) * 1000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, micro) = time.to_hms_micro();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::log;
    use super::*;

    #[test]
    fn upstreams_is_understood_and_ours_has_its_keys() {
        let text = r#"{"log_name": "general", "log_type": "USER", "log_file": "/x",
                       "log_size": 12, "log_header_digest": "abc"}"#;
        let meta: Metafile = serde_json::from_str(text).unwrap();
        assert_eq!((meta.log_size, meta.log_tail_digest.as_deref()), (12, None));
        let ours = serde_json::to_value(Metafile::new(&log())).unwrap();
        for key in [
            "log_name",
            "log_type",
            "log_file",
            "log_size",
            "log_header_digest",
        ] {
            assert!(ours.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn names_grow_whatever_the_clock_does() {
        assert_eq!(iso(1_795_355_519_357_967), "2026-11-22T13:51:59.357967");
        let mut meta = Metafile::new(&log());
        let first = meta.next_name(&log());
        assert!(first.starts_with("guest-1/mysql-general/log-20"), "{first}");
        meta.log_last_time += 3_600_000_000;
        let second = meta.next_name(&log());
        let third = meta.emptied(&log()).next_name(&log());
        assert!(first < second && second < third, "{first} {second} {third}");
    }
}
