//! The archive of WAL on the volume: what incremental backups are made of.

mod clean;
mod segment;

use std::io;
use std::path::Path;
use std::sync::Arc;

use datastore::{Error, Result};
use serde_json::{Map, Value};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::{Layout, Server};

/// Who is reading the archive: as long as anybody is, nothing is removed.
#[derive(Debug, Default)]
pub(crate) struct Archive(Arc<RwLock<()>>);

impl Archive {
    /// Keeps everything that is in the archive now there until the result is
    /// dropped.
    pub(crate) async fn hold(&self) -> OwnedRwLockReadGuard<()> {
        self.0.clone().read_owned().await
    }
}

/// The command that archives a segment. It is the shell's and the system's own
/// tools', because the agent's binary may just be in replacement.
///
/// A segment appears under its name only when it is whole and on disk. One that
/// is there already is never overwritten: after a crash the server repeats
/// itself, which is fine when the contents are the same and an error when not.
pub(crate) fn archive_command(layout: &Layout) -> String {
    let dir = layout.wal_archive();
    let dir = shell_word(&dir);
    format!(
        "if test -e {dir}/%f; then cmp -s %p {dir}/%f; else \
         cp %p {dir}/.%f.tmp && sync {dir}/.%f.tmp && mv {dir}/.%f.tmp {dir}/%f && sync {dir}; fi"
    )
}

/// The command that takes a segment out of the archive.
pub(crate) fn restore_command(layout: &Layout) -> String {
    let dir = layout.wal_archive();
    format!("cp {}/%f %p", shell_word(&dir))
}

/// A path as one word of a shell command in which the server replaces `%`.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("'{}'", text.replace('\'', r"'\''").replace('%', "%%"))
}

impl Server {
    /// Bytes of WAL, of the server and in the archive.
    pub(crate) async fn wal_sizes(&self) -> Result<Map<String, Value>> {
        let wal = self.settings.layout.data_dir().join("pg_wal");
        let archive = self.settings.layout.wal_archive();
        let sizes = tokio::task::spawn_blocking(move || [size_of(&wal), size_of(&archive)]);
        let [wal, archive] = sizes
            .await
            .map_err(|error| Error::failed(format!("Sizes of WAL not known: {error}")))?;
        let value = |size: io::Result<u64>| size.map_or(Value::Null, Value::from);
        Ok(Map::from_iter([
            ("wal_size".to_owned(), value(wal)),
            ("wal_archive_size".to_owned(), value(archive)),
        ]))
    }
}

/// Bytes of the files in a directory and below. Files come and go meanwhile.
pub(crate) fn size_of(dir: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let part = match entry.metadata() {
            Ok(file) if file.is_dir() => size_of(&entry.path()),
            other => other.map(|file| file.len()),
        };
        size += match part {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            part => part?,
        };
    }
    Ok(size)
}
