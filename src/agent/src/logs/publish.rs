//! From a log file to objects: their concatenation is the file, byte by byte.
//!
//! The metafile names an object before it is stored. Whoever comes after a
//! crash then knows whether its bytes count.

use datastore::{Error, Result};
use tokio::time::Instant;
use tracing::{info, warn};

use super::cut::next_object;
use super::file::{LogFile, digest};
use super::{Limits, Log, LogStore, Metafile, no_file, stand};

/// How often a publish begins anew because the file was, meanwhile.
const BEGINNINGS: usize = 3;

/// A publish of one log.
pub struct Publishing<'a> {
    /// The log.
    pub log: &'a Log,
    /// Where it goes.
    pub store: &'a dyn LogStore,
    /// How much at once.
    pub limits: Limits,
}

/// Stores what is not published yet, as long as there is time. A file that has
/// been begun anew takes the place of what was published.
///
/// # Errors
/// When there is no file, or the store refuses.
pub async fn publish(publishing: &Publishing<'_>) -> Result<()> {
    let Publishing { log, store, limits } = publishing;
    let Some(file) = LogFile::open(&log.log.path).await? else {
        return Err(no_file(log));
    };
    let until = Instant::now() + limits.time;
    store.ensure().await?;
    let mut meta = read(*store, log)
        .await?
        .unwrap_or_else(|| Metafile::new(log));
    settle(*store, &file, &mut meta).await?;
    for _ in 0..BEGINNINGS {
        let facts = file.facts(meta.log_size).await?;
        let drifted = meta.log_tail_digest.is_none() && drifted(*store, log, &meta).await?;
        if drifted || stand(true, false, Some(&facts), Some(&meta)).rotated {
            info!(
                log = log.log.name,
                "Log file is a new one; discarding what was published."
            );
            remove_objects(*store, log).await?;
            meta = meta.emptied(log);
        }
        meta.log_header_digest = Some(facts.first_line);
        if send(publishing, &file, &mut meta, facts.size, until).await? {
            return write(*store, log, &meta).await;
        }
    }
    warn!(
        log = log.log.name,
        "Log file changes too often to be published."
    );
    write(*store, log, &meta).await
}

/// Sends the file up to `end`; false when it was truncated meanwhile.
async fn send(
    publishing: &Publishing<'_>,
    file: &LogFile,
    meta: &mut Metafile,
    end: u64,
    until: Instant,
) -> Result<bool> {
    let Publishing { log, store, limits } = publishing;
    while meta.log_size < end {
        let rest = end - meta.log_size;
        let length = usize::try_from(rest).map_or(limits.object, |rest| rest.min(limits.object));
        let mut piece = file.piece(meta.log_size, length).await?;
        let known = meta.log_tail_digest.as_ref();
        let is_another = known.is_some_and(|known| *known != digest(&piece.before));
        if piece.bytes.len() < length || is_another {
            return Ok(false);
        }
        let (cut, lines) = next_object(&piece.bytes, length as u64 == rest);
        piece.bytes.truncate(cut);
        let tail = piece.tail();
        let name = meta.next_name(log);
        write(*store, log, meta).await?;
        store.put(&name, piece.bytes, Some(lines)).await?;
        meta.log_size += cut as u64;
        meta.log_tail_digest = Some(tail);
        meta.log_pending_object = None;
        if Instant::now() >= until {
            info!(
                log = log.log.name,
                published = meta.log_size,
                size = end,
                "Publishing takes long; the next publish goes on."
            );
            break;
        }
    }
    Ok(true)
}

/// Decides about an object that a publish was cut off with.
async fn settle(store: &dyn LogStore, file: &LogFile, meta: &mut Metafile) -> Result<()> {
    let Some(name) = meta.log_pending_object.take() else {
        return Ok(());
    };
    let Some((size, checksum)) = store.look(&name).await? else {
        return Ok(());
    };
    let place = meta.log_size;
    let same = file.checksum(place, size).await?.as_ref() == Some(&checksum);
    let continues = file.facts(place).await?.before == meta.log_tail_digest;
    if same && continues {
        info!(object = name, "Object of an interrupted publish counted.");
        meta.log_size += size;
        meta.log_tail_digest = file.facts(meta.log_size).await?.before;
        return Ok(());
    }
    info!(object = name, "Object of an interrupted publish removed.");
    store.delete(&name).await
}

/// Upstream counts characters and ends every piece with a line of its own: what
/// it has published goes on only if it is as long as it says.
async fn drifted(store: &dyn LogStore, log: &Log, meta: &Metafile) -> Result<bool> {
    let objects = store.list(&log.prefix).await?;
    let stored: u64 = objects.iter().map(|(_, size)| size).sum();
    Ok(meta.log_size > 0 && stored != meta.log_size)
}

/// Removes what is published of a log.
///
/// # Errors
/// When the store refuses.
pub async fn discard(store: &dyn LogStore, log: &Log) -> Result<()> {
    // Last what tells that there is something.
    remove_objects(store, log).await?;
    store.delete(&log.metafile()).await?;
    info!(log = log.log.name, "Published log discarded.");
    Ok(())
}

async fn remove_objects(store: &dyn LogStore, log: &Log) -> Result<()> {
    for (name, _) in store.list(&log.prefix).await? {
        store.delete(&name).await?;
    }
    Ok(())
}

/// What is published of a log, if anything.
///
/// # Errors
/// When the store refuses or the metafile makes no sense.
pub async fn read(store: &dyn LogStore, log: &Log) -> Result<Option<Metafile>> {
    let name = log.metafile();
    let Some(text) = store.get(&name).await? else {
        return Ok(None);
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::failed(format!(
            "Metafile {name} of log {:?} cannot be read ({error}): discard the log and publish it \
             again",
            log.log.name
        ))
    })
}

async fn write(store: &dyn LogStore, log: &Log, meta: &Metafile) -> Result<()> {
    let text = serde_json::to_vec(meta)
        .map_err(|error| Error::failed(format!("write metafile: {error}")))?;
    store.put(&log.metafile(), text, None).await
}
