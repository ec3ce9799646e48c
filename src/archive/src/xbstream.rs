//! xbstream, the format of mariadb-backup and xtrabackup.
//!
//! A stream of chunks, each for one file, of several files at a time. Layout:
//! "xbstream file format" in Percona's documentation of XtraBackup, and
//! `extra/mariabackup/xbstream_write.cc` of MariaDB, whose newer versions add
//! chunks of their own.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use libdeflater::Crc;

use crate::directory::{Directory, write_back};
use crate::{CHUNK, bad};

/// What every chunk begins with.
pub(crate) const MAGIC: &[u8; 8] = b"XBSTCK01";
/// A chunk of an unknown kind may be skipped. None with contents ever was.
const IGNORABLE: u8 = 1;
/// MariaDB: the file has come before, and is written over.
const REWRITE: u8 = 2;
/// `FN_REFLEN`, and what a file system takes.
const LONGEST_PATH: u64 = 4096;
/// Tools cut at 10 MiB, or at what they were given to write at once.
const LARGEST_PAYLOAD: u64 = 1 << 30;
/// Holes in one chunk.
const LARGEST_MAP: u64 = 1 << 20;

/// A chunk, up to its payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// Bytes of a file follow.
    Data(Data),
    /// A file is complete.
    End(PathBuf),
    /// MariaDB: a file has another name from here on.
    Rename(PathBuf, PathBuf),
    /// MariaDB: a file is gone.
    Remove(PathBuf),
    /// Nothing to do: an unknown kind that may be skipped, or MariaDB telling
    /// where the next bytes go, which the chunk with them tells again.
    Nothing,
}

/// What is known of a payload before it comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Data {
    /// The file.
    pub(crate) path: PathBuf,
    /// Whether the file may have come before.
    pub(crate) rewrite: bool,
    /// Pairs of bytes left out and bytes written, from `offset` on; a file
    /// without holes has one.
    map: Vec<(u64, u64)>,
    offset: u64,
    /// CRC-32 of the map, if there is one, and the payload.
    expected: u32,
    /// CRC-32 of the map.
    begun: u32,
}

/// The chunks of a stream, one after the other.
pub(crate) struct Chunks<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The next chunk's magic has been read.
    begun: bool,
}

impl<R: Read> Chunks<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; CHUNK],
            begun: false,
        }
    }

    /// The next chunk; the payload of the last one has been read. `None` at the
    /// end of the stream.
    pub(crate) fn next(&mut self) -> io::Result<Option<Chunk>> {
        if !std::mem::take(&mut self.begun) && !self.magic()? {
            return Ok(None);
        }
        let [flags, kind] = self.bytes()?;
        let path = self.path()?;
        let chunk = match kind {
            b'P' => {
                let [size, offset] = [self.number()?, self.number()?];
                let expected = u32::from_le_bytes(self.bytes()?);
                let map = vec![(0, size)];
                self.data(path, flags, map, (size, offset, expected), 0)?
            }
            b'S' => self.sparse_or_seek(path, flags)?,
            b'E' => Chunk::End(path),
            b'R' => Chunk::Rename(path, self.path()?),
            b'D' => Chunk::Remove(path),
            _ if flags & IGNORABLE != 0 => Chunk::Nothing,
            kind => {
                let kind = char::from(kind).escape_default();
                return Err(bad(format!(
                    "the xbstream has a chunk of the kind '{kind}'"
                )));
            }
        };
        Ok(Some(chunk))
    }

    /// The letter means two things. MariaDB's is only an offset, and another
    /// chunk follows it at once; XtraBackup's goes on with a size there, which
    /// is never what a magic would be as a number.
    fn sparse_or_seek(&mut self, path: PathBuf, flags: u8) -> io::Result<Chunk> {
        let head: [u8; 16] = self.bytes()?;
        if head[8..] == *MAGIC {
            self.begun = true;
            return Ok(Chunk::Nothing);
        }
        let rest: [u8; 8] = self.bytes()?;
        let all = [head.as_slice(), &rest].concat();
        let number = |from: usize, to: usize| little(&all[from..to]);
        let (holes, size, offset) = (number(0, 4), number(4, 12), number(12, 20));
        let expected = number(20, 24) as u32;
        if holes > LARGEST_MAP {
            return Err(bad("a chunk of the xbstream has no sensible map"));
        }
        let mut crc = Crc::new();
        let mut map = Vec::new();
        for _ in 0..holes {
            let pair: [u8; 8] = self.bytes()?;
            crc.update(&pair);
            map.push((little(&pair[..4]), little(&pair[4..])));
        }
        let mapped = map.iter().map(|(_, length)| length).sum::<u64>();
        if mapped != size {
            return Err(bad("a chunk of the xbstream has a map of another size"));
        }
        self.data(path, flags, map, (size, offset, expected), crc.sum())
    }

    fn data(
        &self,
        path: PathBuf,
        flags: u8,
        map: Vec<(u64, u64)>,
        (size, offset, expected): (u64, u64, u32),
        begun: u32,
    ) -> io::Result<Chunk> {
        if size > LARGEST_PAYLOAD || offset > i64::MAX as u64 - LARGEST_PAYLOAD {
            return Err(bad("a chunk of the xbstream has no sensible size"));
        }
        Ok(Chunk::Data(Data {
            path,
            rewrite: flags & REWRITE != 0,
            map,
            offset,
            expected,
            begun,
        }))
    }

    /// Reads the payload; `sink` gets the pieces with their offsets in the file.
    pub(crate) fn payload(
        &mut self,
        data: &Data,
        mut sink: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut crc = Crc::with_initial(data.begun);
        let mut offset = data.offset;
        for (skip, length) in &data.map {
            offset += skip;
            let mut left = *length;
            while left > 0 {
                let take = left.min(CHUNK as u64) as usize;
                let piece = &mut self.buffer[..take];
                self.reader.read_exact(piece)?;
                crc.update(piece);
                sink(offset, piece)?;
                offset += take as u64;
                left -= take as u64;
            }
        }
        match crc.sum() == data.expected {
            true => Ok(()),
            false => Err(bad(format!(
                "a chunk of {} in the xbstream is damaged",
                data.path.display()
            ))),
        }
    }

    /// Whether there is another chunk.
    fn magic(&mut self) -> io::Result<bool> {
        let mut magic = [0; MAGIC.len()];
        if self.reader.read(&mut magic[..1])? == 0 {
            return Ok(false);
        }
        self.reader.read_exact(&mut magic[1..])?;
        match magic == *MAGIC {
            true => Ok(true),
            false => Err(bad("it is no xbstream, or a chunk of it is damaged")),
        }
    }

    fn path(&mut self) -> io::Result<PathBuf> {
        let length = little(&self.bytes::<4>()?);
        if length == 0 || length > LONGEST_PATH {
            return Err(bad("a chunk of the xbstream has no sensible path"));
        }
        let mut path = vec![0; length as usize];
        self.reader.read_exact(&mut path)?;
        Ok(PathBuf::from(OsStr::from_bytes(&path)))
    }

    fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn little(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |n, &byte| n << 8 | u64::from(byte))
}

/// Unpacks a stream to its end.
pub(crate) fn unpack(reader: impl Read, directory: &Directory) -> io::Result<()> {
    let mut chunks = Chunks::new(reader);
    let mut open: HashMap<PathBuf, File> = HashMap::new();
    while let Some(chunk) = chunks.next()? {
        match chunk {
            Chunk::Data(data) => {
                let file = match open.get(&data.path) {
                    Some(file) => file,
                    None => {
                        let file = directory.open(&data.path, data.rewrite)?;
                        open.entry(data.path.clone()).or_insert(file)
                    }
                };
                chunks.payload(&data, |offset, bytes| {
                    file.write_all_at(bytes, offset)?;
                    write_back(file, offset, bytes.len() as u64);
                    Ok(())
                })?;
            }
            Chunk::End(path) => match open.remove(&path) {
                Some(_) => {}
                // A file without any bytes has only its end.
                None => drop(directory.open(&path, true)?),
            },
            Chunk::Rename(from, to) => {
                let (old, new) = (directory.below(&from)?, directory.below(&to)?);
                if let Some(parent) = to.parent() {
                    directory.make(parent)?;
                }
                std::fs::rename(old, new)?;
                if let Some(file) = open.remove(&from) {
                    open.insert(to, file);
                }
            }
            Chunk::Remove(path) => {
                open.remove(&path);
                std::fs::remove_file(directory.below(&path)?)?;
            }
            Chunk::Nothing => {}
        }
    }
    all_ended(open.keys().next())
}

/// Every file must have its end: a stream may stop between two chunks.
pub(crate) fn all_ended(open: Option<&PathBuf>) -> io::Result<()> {
    match open.map(|path| path.display()) {
        None => Ok(()),
        Some(path) => Err(bad(format!("the xbstream has no end of {path}"))),
    }
}

#[cfg(test)]
mod tests;
