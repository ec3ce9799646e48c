//! Incremental backups of archived WAL.
//!
//! An increment is every file of the WAL from the end of its parent, whichever
//! backup that is, to its own: all of them, or there is no backup. Until all
//! is sent nothing is removed from the archive.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datastore::{
    Archive, BackupMetadata, BackupRequest, BackupStream, Bytestream, Error, ErrorKind, Result,
};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::OwnedRwLockReadGuard;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::Server;
use crate::backup::Facts;
use crate::errors::{io_failed, os_error, sql_error};
use crate::label::{End, Label};
use crate::place::{Cut, Descent, Lsn, history_name, timeline_of_history};
use crate::session::{Session, SqlResult};
use crate::sql::Text;

/// A checkpoint writes all that has changed in memory.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(1800);
/// How long the archive may stand still before it is given up.
const STANDSTILL: Duration = Duration::from_secs(60);
/// Pause between two looks at the archive; the server tells nobody.
const LOOK: Duration = Duration::from_millis(100);

impl Server {
    /// Ends the WAL so far, waits until it is archived, and sends it from the
    /// end of the parent on.
    pub(crate) async fn wal_backup(
        &self,
        request: &BackupRequest,
        session: &Session,
        facts: Facts,
        parent: End,
    ) -> Result<WalBackup> {
        if facts.replica {
            return Err(Error::new(
                ErrorKind::NotSupported,
                "This server is a replica, which archives no WAL: make a full backup",
            ));
        }
        let hold = self.archive.hold().await;
        let archive = self.settings.layout.wal_archive();
        check_begin(&archive, parent, facts.cut)?;
        let failed = |error| sql_error("mark the end of the backup", error);
        check_archiving(session).await?;
        let (label, end) = mark(session, &request.id).await.map_err(failed)?;
        if end.place < parent.place {
            return Err(not_ours(parent));
        }
        let last = facts.cut.name(end.timeline, facts.cut.ending(end.place));
        wait_archived(session, &archive.join(last)).await?;
        let files = files_between(&archive, parent, end, facts.cut)?;
        let count = files.len();
        info!(files = count, begin = %parent.place, end = %end.place, "Backup of WAL started.");
        WalBackup::send(files, label.metadata(&end, facts.cut), facts.cut, hold)
    }
}

/// The file in which the parent ends is the first that is needed. If later ones
/// have been archived and it is not there, that is told before the server has
/// work.
fn check_begin(archive: &Path, parent: End, cut: Cut) -> Result<()> {
    let number = cut.holding(parent.place);
    let names = names_in(archive)?;
    let files = || names.iter().filter_map(|name| cut.parse(name));
    // A later timeline may have taken its place.
    let there = files().any(|file| file.1 == number && file.0 >= parent.timeline);
    match there || !files().any(|file| file.1 > number) {
        true => Ok(()),
        false => Err(missing(&cut.name(parent.timeline, number))),
    }
}

async fn check_archiving(session: &Session) -> Result<()> {
    let query = "SELECT 1 FROM pg_settings WHERE name = 'archive_mode' AND setting <> 'off'";
    let on = session.finds(query, &[]).await;
    match on.map_err(|error| sql_error("look for the WAL archive", error))? {
        true => Ok(()),
        false => Err(Error::failed(
            "archive_mode is off, so there is no WAL to make an incremental backup of: switch it \
             on in the configuration group, or make full backups",
        )),
    }
}

/// Begins and ends a backup in the server's eyes: that switches to a new file
/// of WAL and leaves a history file, by which upstream's agent goes on.
async fn mark(session: &Session, id: &str) -> SqlResult<(Label, End)> {
    let (start, stop) = match session.version().major >= 15 {
        true => (
            "SELECT pg_backup_start($1, true)::text",
            "SELECT lsn::text, labelfile FROM pg_backup_stop(false)",
        ),
        false => (
            "SELECT pg_start_backup($1, true, false)::text",
            "SELECT lsn::text, labelfile FROM pg_stop_backup(false, false)",
        ),
    };
    let limit = CHECKPOINT_LIMIT;
    session.first_within(limit, start, &[&id]).await?;
    let row = session.first_within(limit, stop, &[]).await?;
    let nonsense = || crate::session::SqlError::Nonsense("what it has backed up");
    let row = row.ok_or_else(nonsense)?;
    let (Text(place), Text(label)) = (row.try_get(0)?, row.try_get(1)?);
    let timeline = label.lines().find_map(|line| {
        let text = line.strip_prefix("START TIMELINE: ")?;
        text.trim().parse().ok()
    });
    let label = Label::parse(&label);
    let end = Lsn::parse(&place).zip(timeline);
    let end = end.map(|(place, timeline)| End { timeline, place });
    label.zip(end).ok_or_else(nonsense)
}

/// Waits as long as the archive gets on.
async fn wait_archived(session: &Session, file: &Path) -> Result<()> {
    let query = "SELECT coalesce(last_archived_wal, ''), \
         CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') \
         THEN last_failed_wal ELSE '' END FROM pg_stat_archiver";
    let mut since = Instant::now();
    let mut last = String::new();
    while !file.exists() {
        let row = session.first(query, &[]).await;
        let row = row.map_err(|error| sql_error("look at the WAL archive", error))?;
        let (mut archived, mut failing) = (String::new(), String::new());
        if let Some(row) = row {
            let read = |column| {
                row.try_get(column)
                    .map(|Text(text)| text)
                    .unwrap_or_default()
            };
            (archived, failing) = (read(0), read(1));
        }
        if archived != last {
            (last, since) = (archived, Instant::now());
        }
        if since.elapsed() > STANDSTILL {
            let why = match failing.is_empty() {
                true => String::new(),
                false => format!(", and archiving {failing} fails: see the server's log"),
            };
            let (seconds, file) = (STANDSTILL.as_secs(), file.display());
            let text = format!(
                "The server has archived nothing for {seconds} s while {file} was waited for{why}"
            );
            return Err(Error::new(ErrorKind::Timeout, text));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Files that together hold the WAL from one place to another, and the
/// histories of the timelines that begin between them.
fn files_between(archive: &Path, begin: End, end: End, cut: Cut) -> Result<Vec<(String, PathBuf)>> {
    let names = names_in(archive)?;
    let history = history_name(end.timeline);
    let history = guest::read_optional(&archive.join(history)).map_err(os_error)?;
    let descent = match (&history, end.timeline == begin.timeline) {
        (Some(text), _) => Descent::of(end.timeline, text),
        (None, true) => Descent::of(end.timeline, ""),
        (None, false) => return Err(missing(&history_name(end.timeline))),
    };
    let descent = descent.ok_or_else(|| {
        let name = history_name(end.timeline);
        Error::failed(format!(
            "{name} in the WAL archive is damaged: make a full backup"
        ))
    })?;
    if !descent.passes(begin.timeline, begin.place) {
        return Err(not_ours(begin));
    }
    let is_new = |timeline: &u32| (begin.timeline + 1..=end.timeline).contains(timeline);
    let mut wanted: Vec<String> = names
        .iter()
        .filter(|name| timeline_of_history(name).as_ref().is_some_and(is_new))
        .cloned()
        .collect();
    for number in cut.holding(begin.place)..=cut.ending(end.place) {
        let name = cut.name(descent.timeline_of(number, cut), number);
        let path = archive.join(&name);
        let size = std::fs::metadata(&path).map(|file| file.len());
        match size {
            Ok(size) if size == cut.size() => wanted.push(name),
            Ok(size) => {
                return Err(Error::failed(format!(
                    "{name} in the WAL archive is damaged, it has {size} bytes: make a full backup"
                )));
            }
            Err(_) => return Err(missing(&name)),
        }
    }
    let place = |name: String| {
        let path = archive.join(&name);
        (name, path)
    };
    Ok(wanted.into_iter().map(place).collect())
}

fn names_in(archive: &Path) -> Result<BTreeSet<String>> {
    let failed = |error| io_failed("read", archive, error);
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(archive).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.into_string().ok());
    }
    Ok(names)
}

fn missing(name: &str) -> Error {
    Error::failed(format!(
        "{name} is not in the WAL archive any more, and without it nothing can be added to the \
         parent backup: make a full backup"
    ))
}

fn not_ours(parent: End) -> Error {
    Error::failed(format!(
        "The parent backup ends at {} of timeline {}, which is not in the past of this server: \
         make a full backup",
        parent.place, parent.timeline
    ))
}

/// WAL that is being sent.
pub(crate) struct WalBackup {
    output: Option<Receiver>,
    packing: JoinHandle<std::io::Result<()>>,
    metadata: BackupMetadata,
    estimate: u64,
    hold: OwnedRwLockReadGuard<()>,
}

impl WalBackup {
    fn send(
        files: Vec<(String, PathBuf)>,
        metadata: BackupMetadata,
        cut: Cut,
        hold: OwnedRwLockReadGuard<()>,
    ) -> Result<Self> {
        let (reader, writer) = std::io::pipe().map_err(os_error)?;
        guest::enlarge_pipe(&reader);
        let output = Receiver::from_owned_fd(reader.into()).map_err(os_error)?;
        Ok(Self {
            output: Some(output),
            estimate: cut.size() * files.len() as u64,
            packing: tokio::task::spawn_blocking(move || archive::pack_files(&files, writer)),
            metadata,
            hold,
        })
    }
}

#[async_trait]
impl BackupStream for WalBackup {
    fn archive(&self) -> Archive {
        Archive::Tar
    }

    fn estimate(&self) -> u64 {
        self.estimate
    }

    fn reader(&mut self) -> Bytestream {
        match self.output.take() {
            Some(output) => Box::pin(output),
            None => Box::pin(tokio::io::empty()),
        }
    }

    async fn finish(self: Box<Self>) -> Result<BackupMetadata> {
        let this = *self;
        // Not read to its end: the packing must not wait for a reader.
        drop(this.output);
        let packed = this.packing.await;
        drop(this.hold);
        packed
            .map_err(os_error)?
            .map_err(|error| Error::failed(format!("Cannot send archived WAL: {error}")))?;
        info!("Backup of WAL completed.");
        Ok(this.metadata)
    }

    async fn abort(self: Box<Self>) {
        // Without its reader the packing ends by itself.
        drop(self);
        warn!("Backup aborted.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: &str = "1\t0/3000100\tno recovery target specified\n";

    fn at(timeline: u32, place: &str) -> End {
        let place = Lsn::parse(place).unwrap();
        End { timeline, place }
    }

    /// An archive with files of 1 MiB.
    fn archive(files: &[(u32, u64)]) -> (tempfile::TempDir, Cut) {
        let dir = tempfile::tempdir().unwrap();
        let cut = Cut::of(1 << 20).unwrap();
        for &(timeline, number) in files {
            let file = std::fs::File::create(dir.path().join(cut.name(timeline, number)));
            file.unwrap().set_len(cut.size()).unwrap();
        }
        (dir, cut)
    }

    #[test]
    fn an_increment_has_every_file_since_its_parent() {
        let files = [(1, 0x10), (1, 0x11), (1, 0x12), (1, 0x13)];
        let (dir, cut) = archive(&files);
        let (begin, end) = (at(1, "0/1100080"), at(1, "0/1300100"));
        let between = |begin, end| {
            let files = files_between(dir.path(), begin, end, cut)?;
            Ok::<_, Error>(files.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(
            between(begin, end).unwrap(),
            [cut.name(1, 0x11), cut.name(1, 0x12), cut.name(1, 0x13)]
        );
        check_begin(dir.path(), begin, cut).unwrap();
        // What ends with a file needs none of it; what has not been archived
        // may still come.
        let (whole, later) = (at(1, "0/1200000"), at(1, "0/1400001"));
        assert_eq!(
            between(whole, end).unwrap(),
            [cut.name(1, 0x12), cut.name(1, 0x13)]
        );
        check_begin(dir.path(), later, cut).unwrap();
        // A hole, wherever it is, and a file that was cut off.
        let path = dir.path().join(cut.name(1, 0x12));
        std::fs::write(&path, "cut").unwrap();
        let text = between(begin, end).unwrap_err().to_string();
        assert!(text.contains("is damaged"), "{text}");
        std::fs::remove_file(&path).unwrap();
        let text = between(begin, end).unwrap_err().to_string();
        assert!(
            text.contains(&cut.name(1, 0x12)) && text.contains("full backup"),
            "{text}"
        );
        std::fs::remove_file(dir.path().join(cut.name(1, 0x11))).unwrap();
        let text = check_begin(dir.path(), begin, cut).unwrap_err().to_string();
        assert!(text.contains(&cut.name(1, 0x11)), "{text}");
    }

    #[test]
    fn timelines_are_followed() {
        let (dir, cut) = archive(&[(1, 0x2f), (1, 0x30), (2, 0x30), (2, 0x31)]);
        let between = |begin, end| files_between(dir.path(), begin, end, cut);
        let (begin, end) = (at(1, "0/2f00100"), at(2, "0/3100100"));
        let text = between(begin, end).unwrap_err().to_string();
        assert!(text.contains("00000002.history"), "{text}");
        std::fs::write(dir.path().join("00000002.history"), HISTORY).unwrap();
        let names: Vec<_> = between(begin, end)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            names,
            [
                "00000002.history".to_owned(),
                cut.name(1, 0x2f),
                cut.name(2, 0x30),
                cut.name(2, 0x31)
            ]
        );
        // The parent is of a past that was given up.
        let text = between(at(1, "0/3000200"), end).unwrap_err().to_string();
        assert!(text.contains("not in the past"), "{text}");
    }
}
