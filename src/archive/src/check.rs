//! Reading an archive only to know that it can be read.

use std::collections::BTreeSet;
use std::io::{self, Read};

use crate::xbstream::{Chunk, Chunks, all_ended};
use crate::{CHUNK, bad};

/// Bytes of a block of a tar archive.
const TAR_BLOCK: usize = 512;

/// Checks every chunk; how many files are in it.
pub(crate) fn xbstream(reader: impl Read) -> io::Result<u64> {
    let (mut files, mut open) = (0, BTreeSet::new());
    let mut chunks = Chunks::new(reader);
    while let Some(chunk) = chunks.next()? {
        match chunk {
            Chunk::Data(data) => {
                chunks.payload(&data, |_offset, _bytes| Ok(()))?;
                open.insert(data.path);
            }
            Chunk::End(path) => {
                open.remove(&path);
                files += 1;
            }
            Chunk::Rename(from, to) => {
                if open.remove(&from) {
                    open.insert(to);
                }
            }
            Chunk::Remove(path) => {
                open.remove(&path);
            }
            Chunk::Nothing => {}
        }
    }
    all_ended(open.first())?;
    match files {
        0 => Err(bad("the xbstream is empty")),
        files => Ok(files),
    }
}

/// Checks every header, and that there is an end; how many files are in it.
pub(crate) fn tar(reader: &mut impl Read) -> io::Result<u64> {
    let (mut files, mut ended) = (0, false);
    let mut block = [0; TAR_BLOCK];
    let mut buffer = vec![0; CHUNK];
    while or_end(reader, &mut block)? {
        if block.iter().all(|&byte| byte == 0) {
            ended = true;
            continue;
        }
        if ended {
            return Err(bad("something follows the end of the tar archive"));
        }
        let mut left = tar_header(&block)?.next_multiple_of(TAR_BLOCK as u64);
        if matches!(block[156], b'0' | 0) {
            files += 1;
        }
        while left > 0 {
            let take = left.min(CHUNK as u64) as usize;
            reader.read_exact(&mut buffer[..take])?;
            left -= take as u64;
        }
    }
    match ended {
        true => Ok(files),
        false => Err(bad("the tar archive has no end")),
    }
}

/// Fills the block, or finds the end right at its start.
fn or_end(reader: &mut impl Read, block: &mut [u8]) -> io::Result<bool> {
    if reader.read(&mut block[..1])? == 0 {
        return Ok(false);
    }
    reader.read_exact(&mut block[1..]).map(|()| true)
}

/// Checks a header's checksum; the size of what follows.
fn tar_header(block: &[u8; TAR_BLOCK]) -> io::Result<u64> {
    let sum: u64 = block
        .iter()
        .enumerate()
        // The field itself counts as blanks.
        .map(|(at, &byte)| u64::from(if (148..156).contains(&at) { b' ' } else { byte }))
        .sum();
    if octal(&block[148..156]) != Some(sum) {
        return Err(bad("a header of the tar archive is damaged"));
    }
    octal(&block[124..136])
        .filter(|size| *size < i64::MAX as u64)
        .ok_or_else(|| bad("a header of the tar archive has no size"))
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
