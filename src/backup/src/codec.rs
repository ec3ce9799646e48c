//! Compression of one block.

use std::io;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};

/// Bytes of a block before compression. Large enough that starting afresh in
/// each costs less than a hundredth of the ratio, small enough that several
/// are in memory at once.
pub(crate) const BLOCK: usize = 2 << 20;

/// How the stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip, which every Trove guest can restore. Levels 1 (fast) to 12.
    Gzip(u8),
    /// Zstandard, several times faster at the same size. Levels 1 to 19.
    Zstd(u8),
    /// None.
    None,
}

impl Compression {
    /// Compresses one block into something that may follow what other blocks
    /// have become.
    ///
    /// # Errors
    /// Only when the level is out of range or memory is exhausted.
    pub(crate) fn compress(self, block: Bytes) -> io::Result<Bytes> {
        match self {
            Self::Gzip(level) => gzip(&block, level).map(Bytes::from),
            Self::Zstd(level) => zstd::bulk::compress(&block, level.into()).map(Bytes::from),
            Self::None => Ok(block),
        }
    }
}

fn gzip(block: &[u8], level: u8) -> io::Result<Vec<u8>> {
    let level = CompressionLvl::new(level.into())
        .map_err(|_| io::Error::other(format!("gzip has no level {level}")))?;
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; compressor.gzip_compress_bound(block.len())];
    let size = compressor
        .gzip_compress(block, &mut out)
        .map_err(|error| io::Error::other(error.to_string()))?;
    out.truncate(size);
    Ok(out)
}
