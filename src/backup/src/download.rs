//! From the store back to the tool's stream.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use md5::{Digest as _, Md5};
use object_store::{ErrorKind, ObjectName, ObjectStore, ReadPart, RetryPolicy};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::decode::{self, Decoded, Fetched, Keys, hex};
use crate::name::Coding;
use crate::pool::Pool;
use crate::{Error, Progress, Result};

/// Bytes of one request: parts may be gigabytes.
const RANGE: u64 = 4 << 20;
/// Parts up to this size are fetched whole, so that one that comes damaged can
/// be fetched again before anybody has seen it.
const WHOLE: u64 = 16 << 20;
/// Decoded megabytes that wait for the reader.
const AHEAD: usize = 4;

/// One object to be read.
pub struct Download {
    /// From where.
    pub store: Arc<dyn ObjectStore>,
    /// Which.
    pub object: ObjectName,
    /// How it is coded, see [`coding_of`](crate::coding_of).
    pub coding: Coding,
    /// The checksum it must have, when somebody has recorded it.
    pub checksum: Option<String>,
    /// Keys, if it is encrypted.
    pub keys: Keys,
    /// Ranges fetched at once, from 1.
    pub fetches: usize,
    /// How often a range is asked for that does not come.
    pub retry: RetryPolicy,
    /// Counts what has passed.
    pub progress: Progress,
}

/// Opens an object as the stream its tool once wrote. The reader fails on
/// whatever does not verify, at the latest where it would otherwise end.
///
/// # Errors
/// When the object is not there or has another checksum.
pub async fn open(download: Download) -> Result<Pin<Box<dyn AsyncRead + Send>>> {
    let info = download.store.head(&download.object).await?;
    let name = &download.object.name;
    if let Some(expected) = &download.checksum
        && *expected != info.checksum
    {
        return Err(Error::Unreadable(format!(
            "{name} has checksum {}, not {expected} as recorded: it is another or damaged",
            info.checksum
        )));
    }
    let parts = download.store.parts(&download.object, u64::MAX).await?;
    check_parts(name, &info.checksum, info.size, &parts)?;
    download.progress.expect(info.size);
    let (fetched, input) = mpsc::channel(1);
    let (out, decoded) = mpsc::channel(AHEAD);
    let Download {
        store,
        coding,
        keys,
        fetches,
        retry,
        progress,
        ..
    } = download;
    let counted = progress.clone();
    // Ends when the decoder does not listen any more.
    tokio::spawn(async move {
        if let Err(error) = fetch_all(store, parts, (fetches, retry), &progress, &fetched).await {
            let _gone = fetched.send(Err(io::Error::other(error))).await;
        }
    });
    spawn_blocking(move || decode::run(input, coding, &keys, &counted, &out));
    Ok(Box::pin(StreamReader::new(Box::pin(chunks(decoded)))))
}

/// The stream's chunks. A channel that closes without an end is an error: a
/// thread that died must not look like the end of the data.
fn chunks(
    decoded: mpsc::Receiver<io::Result<Decoded>>,
) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(decoded), |decoded| async move {
        let mut decoded = decoded?;
        match decoded.recv().await {
            Some(Ok(Decoded::Data(bytes))) => Some((Ok(bytes), Some(decoded))),
            Some(Ok(Decoded::End)) => None,
            Some(Err(error)) => Some((Err(error), None)),
            None => Some((Err(io::Error::other("the decoder stopped")), None)),
        }
    })
}

/// The parts must be the object: their sizes add up to its size, and their
/// checksums make its checksum.
fn check_parts(name: &str, checksum: &str, size: u64, parts: &[ReadPart]) -> Result<()> {
    let total: u64 = parts.iter().map(|p| p.range.end - p.range.start).sum();
    if total != size {
        return Err(Error::Unreadable(format!(
            "{name} has {size} bytes and its parts {total}: it is incomplete"
        )));
    }
    let mut digest = Md5::new();
    for part in parts {
        match &part.md5 {
            Some(md5) => digest.update(md5),
            None => return Ok(()),
        }
    }
    let joined = hex(&digest.finalize());
    let single = match parts {
        [part] => part.md5.as_deref() == Some(checksum),
        _ => false,
    };
    match single || joined == checksum {
        true => Ok(()),
        false => Err(Error::Unreadable(format!(
            "{name} has checksum {checksum}, but its parts make {joined}: it is damaged"
        ))),
    }
}

struct Piece {
    object: ObjectName,
    range: Range<u64>,
    /// MD5 of exactly these bytes.
    md5: Option<String>,
    /// Set for the last of several pieces of a part.
    end: Option<Fetched>,
}

fn pieces(parts: Vec<ReadPart>) -> impl Iterator<Item = Piece> + Send {
    parts.into_iter().flat_map(|part| {
        let ReadPart { object, range, md5 } = part;
        let (start, end) = (range.start, range.end);
        let size = match end - start {
            size if size <= WHOLE => size.max(1),
            _ => RANGE,
        };
        let count = (end - start).div_ceil(size).max(1);
        (0..count).map(move |number| {
            let from = start + number * size;
            Piece {
                object: object.clone(),
                range: from..(from + size).min(end),
                md5: md5.clone().filter(|_| count == 1),
                end: (count > 1 && number + 1 == count)
                    .then(|| Fetched::PartEnd(md5.clone(), object.name.clone())),
            }
        })
    })
}

async fn fetch_all(
    store: Arc<dyn ObjectStore>,
    parts: Vec<ReadPart>,
    (fetches, retry): (usize, RetryPolicy),
    progress: &Progress,
    out: &mpsc::Sender<io::Result<Fetched>>,
) -> object_store::Result<()> {
    let pool = Pool::default();
    let mut fetched = stream::iter(pieces(parts))
        .map(|piece| {
            let (store, pool) = (store.clone(), pool.clone());
            // It goes on while nobody asks for what it fetches.
            AbortOnDropHandle::new(tokio::spawn(async move {
                let bytes = fetch(store.as_ref(), &piece, retry, &pool).await?;
                let data = match piece.md5 {
                    Some(_) => Fetched::Checked(bytes),
                    None => Fetched::Data(bytes),
                };
                Ok((piece.range, data, piece.end))
            }))
        })
        .buffered(fetches.max(1));
    // Asked for room first: a piece that waited for it would be one more in memory.
    while let Ok(room) = out.reserve().await {
        let Some(next) = fetched.next().await else {
            room.send(Ok(Fetched::End));
            return Ok(());
        };
        let (range, data, end): (Range<u64>, Fetched, Option<Fetched>) = next
            .map_err(|died| object_store::Error::new(ErrorKind::Unexpected, died.to_string()))??;
        progress.add_stored(range.end - range.start);
        room.send(Ok(data));
        if let Some(end) = end
            && out.send(Ok(end)).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

/// Reads a piece, going on where it broke, and once more if it is damaged.
async fn fetch(
    store: &dyn ObjectStore,
    piece: &Piece,
    retry: RetryPolicy,
    pool: &Pool,
) -> object_store::Result<Bytes> {
    let Piece { object, range, .. } = piece;
    let size = usize::try_from(range.end - range.start).unwrap_or(0);
    let mut bytes = pool.take();
    bytes.clear();
    bytes.reserve_exact(size);
    let mut pause = retry.first_pause;
    let mut tries = 0;
    loop {
        let before = bytes.len();
        let filled = fill(store, object, range, &mut bytes).await;
        let complete = bytes.len() == size;
        let error = match filled {
            Err(error) => error,
            Ok(()) if !complete => continue,
            Ok(()) => match check(piece, bytes.into()).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => {
                    bytes = pool.take();
                    bytes.clear();
                    error
                }
            },
        };
        // Every bit of progress is worth all tries again.
        if bytes.len() > before && !complete {
            (pause, tries) = (retry.first_pause, 0);
        }
        tries += 1;
        if !error.is_transient() || tries >= retry.tries {
            return Err(error);
        }
        warn!(object = object.name, %error, tries, "Read is repeated.");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(retry.longest_pause);
    }
}

/// Compares a piece with its checksum, if it has one of its own.
async fn check(piece: &Piece, bytes: Bytes) -> object_store::Result<Bytes> {
    let Some(expected) = piece.md5.clone() else {
        return Ok(bytes);
    };
    let hashed = bytes.clone();
    let actual = spawn_blocking(move || hex(&Md5::digest(&hashed))).await;
    match actual {
        Ok(actual) if actual == expected => Ok(bytes),
        Ok(actual) => Err(object_store::Error::new(
            ErrorKind::Corrupt,
            format!(
                "{} came with MD5 {actual}, not {expected}: it is damaged",
                piece.object.name
            ),
        )),
        Err(error) => Err(object_store::Error::new(
            ErrorKind::Unexpected,
            error.to_string(),
        )),
    }
}

async fn fill(
    store: &dyn ObjectStore,
    object: &ObjectName,
    range: &Range<u64>,
    bytes: &mut Vec<u8>,
) -> object_store::Result<()> {
    let before = bytes.len();
    let from = range.start + before as u64;
    let mut body = store.read(object, from..range.end).await?;
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if (bytes.len() + chunk.len()) as u64 > range.end - range.start {
            return Err(object_store::Error::new(
                ErrorKind::Corrupt,
                format!("{} answered with more bytes than asked for", object.name),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    match bytes.len() == before && from < range.end {
        true => Err(object_store::Error::new(
            ErrorKind::Corrupt,
            format!("{} answered with no bytes", object.name),
        )),
        false => Ok(()),
    }
}
