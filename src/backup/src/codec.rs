//! Compression of one block.

use std::io;

use bytes::Bytes;

use crate::gzip;

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
            Self::Gzip(level) => gzip::member(&block, level).map(Bytes::from),
            Self::Zstd(level) => zstd::bulk::compress(&block, level.into()).map(Bytes::from),
            Self::None => Ok(block),
        }
    }
}
