//! Compression of one block.

use std::io;

use crate::{gzip, zstandard};

/// Bytes of a block before compression. Large enough that starting afresh in
/// each costs less than a hundredth of the ratio, small enough that several
/// are in memory at once.
pub(crate) const BLOCK: usize = 1 << 20;

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

/// One block on its way, with all the memory that takes. It is used again for
/// another one: new memory would cost about as much as fast compression does.
pub(crate) struct Bench {
    /// The block as the tool has written it.
    pub(crate) plain: Vec<u8>,
    packed: Vec<u8>,
    packer: Packer,
}

enum Packer {
    Gzip(gzip::Packer),
    Zstd(zstandard::Packer),
    None,
}

impl Bench {
    /// # Errors
    /// Only when the level is out of range or memory is exhausted.
    pub(crate) fn new(compression: Compression) -> io::Result<Self> {
        Ok(Self {
            plain: Vec::with_capacity(BLOCK),
            packed: Vec::new(),
            packer: match compression {
                Compression::Gzip(level) => Packer::Gzip(gzip::Packer::new(level)?),
                Compression::Zstd(level) => Packer::Zstd(zstandard::Packer::new(level)?),
                Compression::None => Packer::None,
            },
        })
    }

    /// Compresses the block into something that may follow what other blocks
    /// have become.
    ///
    /// # Errors
    /// Only when memory is exhausted.
    pub(crate) fn pack(&mut self) -> io::Result<()> {
        self.packed.clear();
        match &mut self.packer {
            Packer::Gzip(packer) => packer.pack(&self.plain, &mut self.packed),
            Packer::Zstd(packer) => packer.pack(&self.plain, &mut self.packed),
            Packer::None => Ok(()),
        }
    }

    /// What the block has become.
    pub(crate) fn packed(&self) -> &[u8] {
        match self.packer {
            Packer::None => &self.plain,
            _ => &self.packed,
        }
    }
}
