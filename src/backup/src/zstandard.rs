//! Zstandard frames (RFC 8878).

use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, ParamSwitch, compress_bound};

/// Every so many blocks it is tried anew what packing literals saves.
const TRIAL: u32 = 32;
/// Packing literals is worth its time when it saves a part of so many.
const WORTH: usize = 200;

/// Makes frames.
///
/// At fast levels up to half of the time goes into packing literals, the bytes
/// that repeat nothing. Where those are dense themselves (encrypted, compressed,
/// random) nothing is saved by it; so it is left out until the next trial.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    /// The other result of a trial.
    other: Vec<u8>,
    /// Blocks until the next trial.
    left: u32,
}

impl Packer {
    /// Levels 1 to 19.
    ///
    /// # Errors
    /// When the level is out of range or memory is exhausted.
    pub(crate) fn new(level: u8) -> io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(level.into())?,
            other: Vec::new(),
            left: 0,
        })
    }

    /// Compresses a block into a frame, which `out`, empty before, then is.
    ///
    /// # Errors
    /// Only when memory is exhausted.
    pub(crate) fn pack(&mut self, block: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        out.reserve(compress_bound(block.len()));
        if self.left > 0 {
            self.left -= 1;
            return self.compressor.compress_to_buffer(block, out).map(drop);
        }
        self.left = TRIAL;
        self.other.clear();
        self.other.reserve(compress_bound(block.len()));
        self.literals(ParamSwitch::Disable)?;
        let bare = self.compressor.compress_to_buffer(block, &mut self.other)?;
        self.literals(ParamSwitch::Enable)?;
        let packed = self.compressor.compress_to_buffer(block, out)?;
        if bare <= packed + packed / WORTH {
            self.literals(ParamSwitch::Disable)?;
        }
        Ok(())
    }

    fn literals(&mut self, packed: ParamSwitch) -> io::Result<()> {
        let parameter = CParameter::LiteralCompressionMode(packed);
        self.compressor.set_parameter(parameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes below `limit` that hardly ever repeat one another.
    fn noise(limit: u32) -> Vec<u8> {
        let mut state = 1u32;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        (0..1 << 18).map(|_| (random() % limit) as u8).collect()
    }

    #[test]
    fn literals_are_packed_where_that_saves_something() {
        let mut packer = Packer::new(1).unwrap();
        let mut size = |block: &[u8]| {
            let mut out = Vec::new();
            packer.pack(block, &mut out).unwrap();
            assert_eq!(zstd::decode_all(&*out).unwrap(), block);
            out.len()
        };
        let (dense, text) = (noise(256), noise(16));
        let half = text.len() * 6 / 10;
        for _ in 0..=TRIAL {
            assert!(size(&text) < half);
        }
        // A trial, after which the data changes; the next trial finds that out.
        assert!(size(&dense) < dense.len() * 101 / 100);
        for _ in 0..TRIAL {
            assert!(size(&text) > half);
        }
        assert!(size(&text) < half);
        assert!(size(&text) < half);
    }
}
