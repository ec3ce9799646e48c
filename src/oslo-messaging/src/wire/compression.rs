//! `kombu_compression`: bodies compressed by the sender, named in the header
//! `compression`; content type and encoding still describe the JSON inside
//! (kombu's `compression.py`).

use std::io::{Read, Write};

use bzip2::read::BzDecoder;
use bzip2::write::BzEncoder;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::ZlibEncoder;

use super::DecodeError;

/// Largest body accepted, compressed or not, in bytes. The largest messages of
/// OpenStack services stay below one MiB; the limit keeps a small compressed
/// message from exhausting the memory.
pub const MAX_BODY: usize = 64 << 20;

/// A compression kombu and this crate both know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// kombu's `gzip`, which is in fact a zlib stream (RFC 1950).
    Gzip,
    /// bzip2.
    Bz2,
}

impl Compression {
    /// From a value of `kombu_compression` or kombu's aliases of it.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "gzip" | "zlib" | "application/x-gzip" => Some(Self::Gzip),
            "bz2" | "bzip2" | "bzip" | "application/x-bz2" => Some(Self::Bz2),
            _ => None,
        }
    }

    /// The value of the header `compression`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/x-gzip",
            Self::Bz2 => "application/x-bz2",
        }
    }

    /// Compresses `body`.
    ///
    /// # Errors
    /// Only what the compressor itself reports; writing to memory cannot fail.
    pub fn compress(self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(body)?;
                encoder.finish()
            }
            Self::Bz2 => {
                let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::default());
                encoder.write_all(body)?;
                encoder.finish()
            }
        }
    }

    /// Decompresses `body` to at most `limit` bytes. A real gzip header is
    /// understood as well as kombu's zlib one.
    ///
    /// # Errors
    /// [`DecodeError::Compression`] for a damaged stream,
    /// [`DecodeError::TooLarge`] past the limit.
    pub fn decompress(self, body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
        match self {
            Self::Gzip if body.starts_with(&[0x1f, 0x8b]) => {
                read_limited(MultiGzDecoder::new(body), limit)
            }
            Self::Gzip => read_limited(ZlibDecoder::new(body), limit),
            Self::Bz2 => read_limited(BzDecoder::new(body), limit),
        }
    }
}

fn read_limited(reader: impl Read, limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mut plain = Vec::new();
    reader
        .take(limit as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| DecodeError::Compression(error.to_string()))?;
    if plain.len() > limit {
        return Err(DecodeError::TooLarge { limit });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_python_wrote() {
        // zlib.compress(b"{}"), bz2.compress(b"{}"), gzip.compress(b"{}", mtime=0)
        let zlib = [0x78, 0x9c, 0xab, 0xae, 0x05, 0x00, 0x01, 0x75, 0x00, 0xf9];
        let bz2 = include_bytes!("../../testdata/empty-object.bz2");
        let gzip = include_bytes!("../../testdata/empty-object.gz");
        assert_eq!(Compression::Gzip.decompress(&zlib, 2).unwrap(), b"{}");
        assert_eq!(Compression::Gzip.decompress(gzip, 2).unwrap(), b"{}");
        assert_eq!(Compression::Bz2.decompress(bz2, 2).unwrap(), b"{}");
    }

    #[test]
    fn a_bomb_is_refused() {
        for compression in [Compression::Gzip, Compression::Bz2] {
            let bomb = compression.compress(&vec![b' '; 1 << 20]).unwrap();
            assert!(bomb.len() < 4096);
            assert!(matches!(
                compression.decompress(&bomb, 4096),
                Err(DecodeError::TooLarge { limit: 4096 })
            ));
            assert!(matches!(
                compression.decompress(&bomb[..bomb.len() / 2], 1 << 21),
                Err(DecodeError::Compression(_))
            ));
        }
    }

    proptest! {
        #[test]
        fn round_trip(body in proptest::collection::vec(any::<u8>(), 0..2000), bz2: bool) {
            let compression = if bz2 { Compression::Bz2 } else { Compression::Gzip };
            prop_assert_eq!(
                Compression::from_name(compression.content_type()),
                Some(compression)
            );
            let packed = compression.compress(&body).unwrap();
            prop_assert_eq!(compression.decompress(&packed, 2000).unwrap(), body);
        }

        #[test]
        fn noise_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300), bz2: bool) {
            let compression = if bz2 { Compression::Bz2 } else { Compression::Gzip };
            let _ = compression.decompress(&body, 1000);
        }
    }
}
