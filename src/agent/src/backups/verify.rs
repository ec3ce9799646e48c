//! Reading a backup only to know that it can be read.

use std::fmt;

use datastore::{Archive, Error, RestoreSource as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Chain;

/// First bytes of every chunk of an xbstream (`xbstream.h` of XtraBackup).
const XBSTREAM_MAGIC: &[u8; 8] = b"XBSTCK01";
/// A payload larger than this is no chunk of a tool: they cut at 10 MiB.
const LARGEST_CHUNK: u64 = 1 << 30;
const LONGEST_PATH: u32 = 4096;
/// Bytes of a block of a tar archive.
const TAR_BLOCK: usize = 512;

/// What was found in an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// Files in it.
    files: u64,
    /// Bytes of the whole stream.
    bytes: u64,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ok, {} files, {} bytes", self.files, self.bytes)
    }
}

/// Reads one link of a chain to its end: the checksum of every part is
/// compared, and the archive is walked through.
///
/// # Errors
/// What is wrong with it.
pub async fn verify(chain: &Chain, index: usize) -> Result<Verified> {
    let link = &chain.links()[index];
    let wrong = |error: std::io::Error| Error::failed(format!("{}: {error}", link.location));
    let mut walk = Walk {
        reader: chain.open(index).await?,
        bytes: 0,
    };
    let walked = match link.archive {
        Archive::Xbstream => walk.xbstream().await,
        Archive::Tar => walk.tar().await,
    };
    let files = walked.map_err(wrong)?;
    Ok(Verified {
        files,
        bytes: walk.bytes,
    })
}

struct Walk<R> {
    reader: R,
    bytes: u64,
}

impl<R: AsyncRead + Unpin> Walk<R> {
    async fn exactly(&mut self, buffer: &mut [u8]) -> std::io::Result<()> {
        self.reader.read_exact(buffer).await?;
        self.bytes += buffer.len() as u64;
        Ok(())
    }

    async fn number<const N: usize>(&mut self) -> std::io::Result<u64> {
        let mut bytes = [0; N];
        self.exactly(&mut bytes).await?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    /// Fills the buffer, or finds the end right at its start.
    async fn or_end(&mut self, buffer: &mut [u8]) -> std::io::Result<bool> {
        if self.reader.read(&mut buffer[..1]).await? == 0 {
            return Ok(false);
        }
        self.bytes += 1;
        self.exactly(&mut buffer[1..]).await?;
        Ok(true)
    }

    async fn skip(&mut self, mut bytes: u64) -> std::io::Result<()> {
        let mut buffer = vec![0; 256 << 10];
        while bytes > 0 {
            let take = buffer
                .len()
                .min(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.exactly(&mut buffer[..take]).await?;
            bytes -= take as u64;
        }
        Ok(())
    }

    /// Magic, flags, type, path; and for a payload its size, offset, CRC-32
    /// and bytes. A sparse one has a map of holes in between.
    async fn xbstream(&mut self) -> std::io::Result<u64> {
        let (mut files, mut open) = (0, std::collections::BTreeSet::new());
        let mut magic = [0; 8];
        while self.or_end(&mut magic).await? {
            if magic != *XBSTREAM_MAGIC {
                return Err(bad("it is no xbstream, or a chunk of it is damaged"));
            }
            let _flags = self.number::<1>().await?;
            let kind = self.number::<1>().await?;
            let length = self.number::<4>().await?;
            if length > u64::from(LONGEST_PATH) {
                return Err(bad("a chunk of the xbstream has no sensible path"));
            }
            let mut path = vec![0; length as usize];
            self.exactly(&mut path).await?;
            match kind as u8 {
                b'E' => {
                    // A file without any bytes has only its end.
                    open.remove(&path);
                    files += 1;
                }
                kind @ (b'P' | b'S') => {
                    open.insert(path);
                    let holes = match kind {
                        b'S' => self.number::<4>().await?,
                        _ => 0,
                    };
                    let size = self.number::<8>().await?;
                    let _offset = self.number::<8>().await?;
                    let expected = self.number::<4>().await? as u32;
                    if size > LARGEST_CHUNK {
                        return Err(bad("a chunk of the xbstream has no sensible size"));
                    }
                    let mut payload = vec![0; (holes * 8 + size) as usize];
                    self.exactly(&mut payload).await?;
                    if kind == b'P' && backup::crc32(&payload) != expected {
                        return Err(bad("a chunk of the xbstream has another checksum"));
                    }
                }
                _ => return Err(bad("the xbstream has a chunk of an unknown kind")),
            }
        }
        match open.first() {
            None if files > 0 => Ok(files),
            None => Err(bad("the xbstream is empty")),
            Some(path) => {
                let path = String::from_utf8_lossy(path);
                Err(bad(&format!("the xbstream has no end of {path}")))
            }
        }
    }

    async fn tar(&mut self) -> std::io::Result<u64> {
        let mut files = 0;
        let mut block = [0; TAR_BLOCK];
        let mut ended = false;
        while self.or_end(&mut block).await? {
            if block.iter().all(|&byte| byte == 0) {
                ended = true;
                continue;
            }
            if ended {
                return Err(bad("something follows the end of the tar archive"));
            }
            let size = tar_header(&block)?;
            if matches!(block[156], b'0' | 0) {
                files += 1;
            }
            self.skip(size.next_multiple_of(TAR_BLOCK as u64)).await?;
        }
        match ended {
            true => Ok(files),
            false => Err(bad("the tar archive has no end")),
        }
    }
}

/// Checks a header's checksum; the size of what follows.
fn tar_header(block: &[u8; TAR_BLOCK]) -> std::io::Result<u64> {
    let sum: u64 = block
        .iter()
        .enumerate()
        // The field itself counts as blanks.
        .map(|(at, &byte)| u64::from(if (148..156).contains(&at) { b' ' } else { byte }))
        .sum();
    if octal(&block[148..156]) != Some(sum) {
        return Err(bad("a header of the tar archive is damaged"));
    }
    octal(&block[124..136]).ok_or_else(|| bad("a header of the tar archive has no size"))
}

/// An octal field, or GNU's binary one.
fn octal(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let rest = &field[field.len() - 8..];
        return Some(u64::from_be_bytes(rest.try_into().ok()?));
    }
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

fn bad(text: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: u8, path: &str, payload: &[u8]) -> Vec<u8> {
        let mut out = XBSTREAM_MAGIC.to_vec();
        out.extend([0, kind]);
        out.extend((path.len() as u32).to_le_bytes());
        out.extend(path.as_bytes());
        if kind == b'P' {
            out.extend((payload.len() as u64).to_le_bytes());
            out.extend(0u64.to_le_bytes());
            out.extend(backup::crc32(payload).to_le_bytes());
            out.extend(payload);
        }
        out
    }

    fn xbstream(bytes: &[u8]) -> std::io::Result<u64> {
        let mut walk = Walk {
            reader: bytes,
            bytes: 0,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(walk.xbstream())
    }

    #[test]
    fn a_stream_of_two_files() {
        let stream = [
            chunk(b'P', "ibdata1", b"pages"),
            chunk(b'P', "db/t.ibd", b"more"),
            chunk(b'E', "ibdata1", b""),
            chunk(b'E', "db/t.ibd", b""),
        ]
        .concat();
        assert_eq!(xbstream(&stream).unwrap(), 2);
        for cut in 1..stream.len() {
            assert!(xbstream(&stream[..cut]).is_err(), "{cut}");
        }
        let payload = 8 + 2 + 4 + 7 + 8 + 8 + 4;
        let mut damaged = stream;
        damaged[payload] ^= 1;
        assert!(xbstream(&damaged).is_err());
    }
}
