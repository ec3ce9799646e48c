//! gzip members that tell their own size, so that several can be decompressed
//! at once (RFC 1952).
//!
//! The size is in an extra field of the header, which every other program skips:
//! the same idea as BGZF of SAM tools and `pigz`'s independent blocks.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read};
use std::thread::{self, ScopedJoinHandle};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor, Decompressor};

use crate::pool::{Buffer, Pool};

/// The fixed part of a header with an extra field (`FEXTRA`), no time, and an
/// unknown system.
const FIXED: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// Length of the extra field; the subfield's id "TG" and length.
const FIELD: [u8; 6] = [8, 0, b'T', b'G', 4, 0];
/// Bytes before the compressed data: fixed part, extra field, size.
const HEADER: usize = FIXED.len() + FIELD.len() + 4;
/// CRC-32 and size of the contents.
const TRAILER: usize = 8;
/// What a member of ours may have, compressed or not. Whoever claims more is
/// read in the ordinary way.
const LARGEST: usize = 16 << 20;

/// Bytes handed on at once of a stream without sizes.
const CHUNK: usize = 1 << 20;

/// Makes members.
pub(crate) struct Packer(Compressor);

impl Packer {
    /// Levels 1 to 12.
    ///
    /// # Errors
    /// When the level is out of range.
    pub(crate) fn new(level: u8) -> io::Result<Self> {
        let level = CompressionLvl::new(level.into())
            .map_err(|_| io::Error::other(format!("gzip has no level {level}")))?;
        Ok(Self(Compressor::new(level)))
    }

    /// Compresses a block into a member, which `out` then is.
    ///
    /// # Errors
    /// When the block is larger than a member can be.
    pub(crate) fn pack(&mut self, block: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let bound = self.0.deflate_compress_bound(block.len());
        out.resize(HEADER + bound + TRAILER, 0);
        let packed = self
            .0
            .deflate_compress(block, &mut out[HEADER..HEADER + bound])
            .map_err(|error| io::Error::other(error.to_string()))?;
        let size = HEADER + packed + TRAILER;
        out.truncate(size);
        let total = u32::try_from(size).map_err(io::Error::other)?;
        let length = u32::try_from(block.len()).map_err(io::Error::other)?;
        out[..FIXED.len()].copy_from_slice(&FIXED);
        out[FIXED.len()..HEADER - 4].copy_from_slice(&FIELD);
        out[HEADER - 4..HEADER].copy_from_slice(&total.to_le_bytes());
        out[size - 8..size - 4].copy_from_slice(&libdeflater::crc32(block).to_le_bytes());
        out[size - 4..].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

/// Size of the member that begins so, if it is one of ours.
fn size_of(header: &[u8]) -> Option<usize> {
    let (fixed, rest) = header.split_at_checked(FIXED.len())?;
    let (field, size) = rest.split_at_checked(FIELD.len())?;
    let size = u32::from_le_bytes(size.try_into().ok()?);
    let size = usize::try_from(size).ok()?;
    (fixed == FIXED && field == FIELD && (HEADER + TRAILER..=LARGEST).contains(&size))
        .then_some(size)
}

/// Decompresses a whole member of ours into `out`.
fn inflate(member: &[u8], mut out: Buffer) -> io::Result<Bytes> {
    let (data, trailer) = member[HEADER..].split_at(member.len() - HEADER - TRAILER);
    let number = |at: usize| {
        let bytes = &trailer[at..at + 4];
        bytes
            .iter()
            .rev()
            .fold(0u32, |n, &byte| n << 8 | u32::from(byte))
    };
    let (crc, length) = (number(0), number(4) as usize);
    if length > LARGEST {
        return Err(bad("a member of the gzip stream has no sensible size"));
    }
    out.resize(length, 0);
    let unpacked = Decompressor::new().deflate_decompress(data, &mut out);
    match unpacked {
        Ok(written) if written == length && libdeflater::crc32(&out) == crc => Ok(out.into()),
        _ => Err(bad("a member of the gzip stream is damaged")),
    }
}

/// Decompresses everything in `source`, and gives `sink` the pieces in their
/// order: members of ours on up to `threads` threads, and whatever comes after
/// the last of them as any other gzip stream.
///
/// # Errors
/// The source's, the sink's, or one of the kinds of damaged data.
pub(crate) fn decompress(
    source: &mut impl Read,
    threads: usize,
    pool: &Pool,
    mut sink: impl FnMut(Bytes) -> io::Result<()>,
) -> io::Result<()> {
    let mut members = 0u64;
    let header = thread::scope(|scope| {
        let mut running = VecDeque::new();
        loop {
            let mut member = pool.take();
            member.clear();
            up_to(source, HEADER, &mut member)?;
            let Some(size) = size_of(&member) else {
                while let Some(first) = running.pop_front() {
                    sink(finished(first)?)?;
                }
                return Ok::<_, io::Error>(member);
            };
            up_to(source, size, &mut member)?;
            if member.len() < size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            members += 1;
            if running.len() >= threads.max(1)
                && let Some(first) = running.pop_front()
            {
                sink(finished(first)?)?;
            }
            let out = pool.take();
            running.push_back(scope.spawn(move || inflate(&member, out)));
        }
    })?;
    if header.is_empty() && members > 0 {
        return Ok(());
    }
    let rest = BufReader::with_capacity(CHUNK, header.chain(source));
    let mut decoder = MultiGzDecoder::new(rest);
    loop {
        let mut chunk = pool.take();
        chunk.clear();
        up_to(&mut decoder, CHUNK, &mut chunk)?;
        if chunk.is_empty() {
            return Ok(());
        }
        sink(chunk.into())?;
    }
}

/// Adds to `bytes` until they are `size`, or all.
fn up_to(source: &mut impl Read, size: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let missing = size - bytes.len();
    bytes.reserve_exact(missing);
    source.take(missing as u64).read_to_end(bytes).map(drop)
}

fn finished(running: ScopedJoinHandle<'_, io::Result<Bytes>>) -> io::Result<Bytes> {
    running
        .join()
        .map_err(|_| io::Error::other("a decompressing thread panicked"))?
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(block: &[u8], level: u8) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Packer::new(level)?.pack(block, &mut out).map(|()| out)
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(&mut &*bytes, 2, &Pool::default(), |piece| {
            out.extend_from_slice(&piece);
            Ok(())
        })?;
        Ok(out)
    }

    fn foreign(block: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, block).unwrap();
        encoder.finish().unwrap()
    }

    proptest! {
        #[test]
        fn members_come_back_in_order(blocks: Vec<Vec<u8>>, tail: Option<Vec<u8>>) {
            let mut stream: Vec<u8> = blocks.iter().flat_map(|b| member(b, 1).unwrap()).collect();
            let mut all = blocks.concat();
            if let Some(tail) = &tail {
                stream.extend(foreign(tail));
                all.extend(tail);
            }
            prop_assume!(!stream.is_empty());
            prop_assert_eq!(unpacked(&stream).unwrap(), all.clone());
            // To everybody else it is plain gzip.
            let mut out = Vec::new();
            MultiGzDecoder::new(&*stream).read_to_end(&mut out).unwrap();
            prop_assert_eq!(out, all);
        }

        #[test]
        fn what_is_cut_or_changed_is_an_error(block: Vec<u8>, at: prop::sample::Index) {
            let whole = member(&block, 6).unwrap();
            let cut = at.index(whole.len());
            prop_assert!(unpacked(&whole[..cut]).is_err());
            // Neither the modification time nor the system is of any meaning.
            let at = HEADER + at.index(whole.len() - HEADER);
            let mut changed = whole;
            changed[at] ^= 0x10;
            prop_assert!(unpacked(&changed).is_err() || unpacked(&changed).unwrap() == block);
        }
    }

    #[test]
    fn a_member_that_claims_too_much_is_read_in_the_ordinary_way() {
        let mut stream = member(b"contents", 6).unwrap();
        stream[HEADER - 4..HEADER].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(unpacked(&stream).unwrap(), b"contents");
    }
}
