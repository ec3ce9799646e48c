//! What is known of a backup, and how its metadata says it.
//!
//! Keys and values are those of upstream's program
//! (`backup/drivers/postgres.py`), which reads them of the server's backup
//! history file.

use datastore::{BackupMetadata, Error, Result};
use serde::Deserialize;

use crate::place::{Cut, Lsn};

/// The file of a backup that tells where it begins.
pub(crate) const LABEL_FILE: &str = "backup_label";
/// The list of a backup's files, which also tells where it ends.
pub(crate) const MANIFEST_FILE: &str = "backup_manifest";
/// Key of the metadata that tells what an increment consists of. Upstream has
/// no such key, and one kind of increments.
pub(crate) const KIND_KEY: &str = "increment";

/// Where a backup begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    /// Text of the place.
    pub(crate) start: String,
    /// The file that holds it.
    pub(crate) start_file: String,
    /// Text of the place of the checkpoint.
    pub(crate) checkpoint: String,
    /// The name it was given.
    pub(crate) name: String,
}

impl Label {
    /// Reads a `backup_label`, or what `pg_backup_stop` returns as one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(found.strip_prefix(": ")?.trim_end().to_owned())
        };
        let start = field("START WAL LOCATION")?;
        let (place, file) = start.split_once(" (file ")?;
        Some(Self {
            start: place.to_owned(),
            start_file: file.strip_suffix(')')?.to_owned(),
            checkpoint: field("CHECKPOINT LOCATION")?,
            name: field("LABEL")?,
        })
    }

    /// Where the WAL that a restore needs begins: timeline and number.
    pub(crate) fn first_file(&self, cut: Cut) -> Option<(u32, u64)> {
        cut.parse(&self.start_file)
    }

    /// The metadata of a backup that ends at `end`.
    pub(crate) fn metadata(&self, end: &End, cut: Cut) -> BackupMetadata {
        let stop_file = cut.name(end.timeline, cut.ending(end.place));
        [
            ("start_segment", &self.start),
            ("start_wal_file", &self.start_file),
            ("stop_segment", &end.place.to_string()),
            ("stop_wal_file", &stop_file),
            ("checkpoint_location", &self.checkpoint),
            ("label", &self.name),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
    }
}

/// Where a backup ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Its timeline.
    pub(crate) timeline: u32,
    /// All before is in the backup.
    pub(crate) place: Lsn,
}

impl End {
    /// Of metadata; `None` when it does not say, which backups that upstream
    /// has made of replicas don't.
    pub(crate) fn of(metadata: &BackupMetadata) -> Result<Option<Self>> {
        let (Some(place), Some(file)) =
            (metadata.get("stop_segment"), metadata.get("stop_wal_file"))
        else {
            return Ok(None);
        };
        let bad = || {
            Error::bad_request(format!(
                "the metadata of the backup names no place in the WAL: {place:?}, {file:?}"
            ))
        };
        let timeline = file.get(..8).filter(|_| file.len() == 24);
        let timeline = timeline.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        Ok(Some(Self {
            timeline: timeline.ok_or_else(bad)?,
            place: Lsn::parse(place).ok_or_else(bad)?,
        }))
    }

    /// Of a manifest or its last part.
    pub(crate) fn of_manifest(manifest: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(manifest);
        let (_, rest) = text.rsplit_once("\"WAL-Ranges\":")?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Vec<Range>>();
        let ranges = values.next()?.ok()?;
        let last = ranges.into_iter().max_by_key(|range| range.timeline)?;
        Some(Self {
            timeline: last.timeline,
            place: Lsn::parse(&last.end)?,
        })
    }
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "End-LSN")]
    end: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000098\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-22 08:05:49 UTC\nLABEL: b-1\nSTART TIMELINE: 1\n";
    const MANIFEST: &str = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n\
        { \"Path\": \"x\", \"Size\": 1 } ],\n\"WAL-Ranges\": [\n\
        { \"Timeline\": 2, \"Start-LSN\": \"0/2000100\", \"End-LSN\": \"0/2000138\" },\n\
        { \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n],\n\
        \"Manifest-Checksum\": \"ab\"}\n";

    #[test]
    fn metadata_says_what_upstream_reads() {
        let label = Label::parse(LABEL).unwrap();
        let cut = Cut::of(16 << 20).unwrap();
        assert_eq!(label.first_file(cut), Some((1, 2)));
        for manifest in [MANIFEST, &MANIFEST[60..]] {
            let end = End::of_manifest(manifest.as_bytes()).unwrap();
            let metadata = label.metadata(&end, cut);
            let pairs: Vec<_> = metadata
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            assert_eq!(
                pairs,
                [
                    ("checkpoint_location", "0/2000098"),
                    ("label", "b-1"),
                    ("start_segment", "0/2000028"),
                    ("start_wal_file", "000000010000000000000002"),
                    ("stop_segment", "0/2000138"),
                    ("stop_wal_file", "000000020000000000000002"),
                ]
            );
            assert_eq!(End::of(&metadata).unwrap(), Some(end));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "LABEL: x",
            "START WAL LOCATION: 0/1\nCHECKPOINT LOCATION: 1\nLABEL: x",
        ] {
            assert_eq!(Label::parse(text), None, "{text}");
        }
        for text in [
            "",
            "{}",
            "\"WAL-Ranges\": []",
            "\"WAL-Ranges\": [{\"Timeline\": 1}]",
        ] {
            assert_eq!(End::of_manifest(text.as_bytes()), None, "{text}");
        }
        let of = |place: &str, file: &str| {
            End::of(&BackupMetadata::from([
                ("stop_segment".to_owned(), place.to_owned()),
                ("stop_wal_file".to_owned(), file.to_owned()),
            ]))
        };
        assert!(of("0-1", "000000010000000000000002").is_err());
        assert!(of("0/1", "00000001").is_err());
        assert!(of("0/1", "x0000001000000000000000\u{e4}").is_err());
        assert_eq!(End::of(&BackupMetadata::new()).unwrap(), None);
    }
}
