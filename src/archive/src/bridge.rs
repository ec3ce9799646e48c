//! From an asynchronous stream to the blocking work on files.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::{Format, Owner, check as checks, tarball, xbstream};

/// Whose fault it is that an archive could not be read.
#[derive(Debug)]
pub enum UnpackError {
    /// The stream's: reading it failed.
    Source(io::Error),
    /// The archive's, or that of the directory.
    Archive(io::Error),
}

/// Unpacks the whole stream into the directory `dir`, which exists, and reads
/// to the stream's end. Dropping the future ends it.
///
/// # Errors
/// [`UnpackError`]; what was unpacked until then stays.
pub async fn unpack(
    format: Format,
    stream: impl AsyncRead + Unpin + Send + 'static,
    dir: PathBuf,
    owner: Owner,
) -> Result<(), UnpackError> {
    blocking(stream, move |reader| {
        let directory = Directory::new(dir, owner);
        match format {
            Format::Xbstream => xbstream::unpack(&mut *reader, &directory)?,
            Format::Tar => tarball::unpack(&mut *reader, &directory)?,
        }
        // Whether the bytes were right is known only at their end.
        io::copy(reader, &mut io::sink()).map(drop)
    })
    .await
}

/// What was found in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Files in it.
    pub files: u64,
    /// Bytes of the whole stream.
    pub bytes: u64,
}

/// Reads the whole stream and checks its structure.
///
/// # Errors
/// [`UnpackError`].
pub async fn check(
    format: Format,
    stream: impl AsyncRead + Unpin + Send + 'static,
) -> Result<Checked, UnpackError> {
    blocking(stream, move |reader| {
        let files = match format {
            Format::Xbstream => checks::xbstream(&mut *reader)?,
            Format::Tar => checks::tar(reader)?,
        };
        let bytes = reader.bytes;
        Ok(Checked { files, bytes })
    })
    .await
}

async fn blocking<R, T: Send + 'static>(
    stream: R,
    work: impl FnOnce(&mut Bridge<R>) -> io::Result<T> + Send + 'static,
) -> Result<T, UnpackError>
where
    R: AsyncRead + Unpin + Send + 'static,
{
    let cancel = CancellationToken::new();
    let failure = Arc::new(Mutex::new(None));
    let mut bridge = Bridge {
        stream,
        bytes: 0,
        handle: Handle::current(),
        cancel: cancel.clone(),
        failure: failure.clone(),
    };
    let _ended = cancel.drop_guard();
    let done = spawn_blocking(move || work(&mut bridge)).await;
    let failure = failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match (failure, done) {
        (Some(error), _) => Err(UnpackError::Source(error)),
        (None, Ok(done)) => done.map_err(UnpackError::Archive),
        (None, Err(error)) => Err(UnpackError::Archive(io::Error::other(error))),
    }
}

/// The stream, for a thread that may block. Why it failed is kept beside it: on
/// its way through a decoder an error may lose its words.
struct Bridge<R> {
    stream: R,
    bytes: u64,
    handle: Handle,
    cancel: CancellationToken,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl<R: AsyncRead + Unpin> Read for Bridge<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (stream, cancel) = (&mut self.stream, &self.cancel);
        let read = self.handle.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(io::Error::other("given up")),
                read = stream.read(buffer) => read,
            }
        });
        read.inspect(|read| self.bytes += *read as u64)
            .map_err(|error| {
                let kind = error.kind();
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                match kind {
                    // Readers would try again.
                    io::ErrorKind::Interrupted => io::ErrorKind::Other.into(),
                    kind => kind.into(),
                }
            })
    }
}
