//! A log file as it is on the disk. Others write to it, truncate it and rename
//! it at any time.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use datastore::{Error, Result};
use md5::{Digest as _, Md5};
use nix::libc;
use tokio::task::spawn_blocking;

/// How many bytes before a place are remembered to know it again: entries have
/// times, so that no other file has the same there.
const WINDOW: u64 = 4096;
/// More of a first line is not looked at.
const FIRST_LINE: u64 = 1 << 20;

/// An open log file: the same one, whatever its name becomes.
#[derive(Debug, Clone)]
pub struct LogFile {
    file: Arc<File>,
    name: Arc<str>,
}

/// What a file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Bytes.
    pub size: u64,
    /// MD5 of the first line, in hexadecimal.
    pub first_line: String,
    /// MD5 of what stands before the place that was asked for; absent when the
    /// file is shorter.
    pub before: Option<String>,
}

/// Bytes of the file from some place on.
#[derive(Debug)]
pub struct Piece {
    /// What stands before them, as far as it is looked at.
    pub before: Vec<u8>,
    /// The bytes; fewer than asked for at the end of the file.
    pub bytes: Vec<u8>,
}

impl Piece {
    /// MD5 of what will stand before the rest.
    pub fn tail(&self) -> String {
        let bytes = [&self.before[..], &self.bytes].concat();
        let window = usize::try_from(WINDOW).unwrap_or(usize::MAX);
        digest(&bytes[bytes.len().saturating_sub(window)..])
    }
}

impl LogFile {
    /// Opens a log, if it is there. Links are not followed: the directories of
    /// logs belong to the server's account, and everything is read as root.
    pub async fn open(path: &Path) -> Result<Option<Self>> {
        let name: Arc<str> = path.to_string_lossy().into();
        let path = path.to_owned();
        let opened = blocking(&name, move || {
            let file = OpenOptions::new()
                .read(true)
                // A pipe in its place would keep us waiting.
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path);
            match file {
                Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
                Ok(_) => Err(io::Error::other("it is no regular file")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await?;
        Ok(opened.map(|file| Self {
            file: Arc::new(file),
            name,
        }))
    }

    /// Looks at the file and at what stands before `place`.
    pub async fn facts(&self, place: u64) -> Result<Facts> {
        self.with(move |file| {
            let size = file.metadata()?.len();
            let mut start = BufReader::new(At { file, offset: 0 }).take(FIRST_LINE);
            let mut line = Vec::new();
            start.read_until(b'\n', &mut line)?;
            let before = window(file, place)?;
            Ok(Facts {
                size,
                first_line: digest(&line),
                before: (size >= place).then(|| digest(&before)),
            })
        })
        .await
    }

    /// At most `length` bytes from `place` on, with what stands before them.
    pub async fn piece(&self, place: u64, length: usize) -> Result<Piece> {
        self.with(move |file| {
            let before = window(file, place)?;
            let mut bytes = Vec::with_capacity(length);
            let rest = At {
                file,
                offset: place,
            };
            rest.take(length as u64).read_to_end(&mut bytes)?;
            Ok(Piece { before, bytes })
        })
        .await
    }

    /// MD5 of the bytes from `place` on; absent when there are fewer.
    pub async fn checksum(&self, place: u64, length: u64) -> Result<Option<String>> {
        self.with(move |file| {
            let mut rest = At {
                file,
                offset: place,
            }
            .take(length);
            let mut md5 = Md5::new();
            let mut buffer = vec![0; 1 << 16];
            let mut seen = 0;
            loop {
                match rest.read(&mut buffer)? {
                    0 => break,
                    n => {
                        md5.update(&buffer[..n]);
                        seen += n as u64;
                    }
                }
            }
            Ok((seen == length).then(|| hex(&md5.finalize())))
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = self.file.clone();
        blocking(&self.name, move || work(&file)).await
    }
}

/// The last bytes before `place`.
fn window(file: &File, place: u64) -> io::Result<Vec<u8>> {
    let offset = place.saturating_sub(WINDOW);
    let mut bytes = Vec::new();
    let rest = At { file, offset };
    rest.take(place - offset).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(work).await;
    let result = done.unwrap_or_else(|error| Err(io::Error::other(error)));
    result.map_err(|error| Error::failed(format!("Read log file {name}: {error}")))
}

/// Reads a file from some place on, whoever else reads it.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl io::Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// MD5 in hexadecimal; what upstream's metafiles have.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
