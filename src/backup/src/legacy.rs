//! Reading what Trove encrypted before Victoria: `openssl enc -aes-256-cbc
//! -md sha512 -pbkdf2 -iter 10000 -salt` with `backup_aes_cbc_key` as password.
//! Nothing authenticates such a file; what is inside it (gzip) has checksums.

use std::io;
use std::num::NonZeroU32;

use aes::Aes256;
use cbc::Decryptor as Cbc;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use ring::pbkdf2;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"Salted__";
const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");
const AES_BLOCK: usize = 16;
/// Bytes decrypted at once.
const BUFFER: usize = 64 << 10;

/// Decrypts a stream of OpenSSL's `enc`.
pub(crate) struct Decryptor<R> {
    inner: R,
    /// Gone after the last block.
    cipher: Option<Cbc<Aes256>>,
    /// Decrypted bytes; the last block is kept back until the end is known.
    plain: Vec<u8>,
    at: usize,
    /// Encrypted blocks that were read ahead.
    held: Vec<u8>,
    ended: bool,
}

impl<R: io::Read> Decryptor<R> {
    /// Reads magic and salt.
    ///
    /// # Errors
    /// When it is no such file.
    pub(crate) fn new(mut inner: R, password: &SecretString) -> io::Result<Self> {
        let mut head = [0; 16];
        inner.read_exact(&mut head)?;
        let (magic, salt) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(bad("it is not a file of openssl enc"));
        }
        let mut material = Zeroizing::new([0; 48]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA512,
            ITERATIONS,
            salt,
            password.expose_secret().as_bytes(),
            &mut *material,
        );
        let (key, iv) = material.split_at(32);
        let cipher = Cbc::new_from_slices(key, iv).map_err(|_| bad("its key has no length"))?;
        Ok(Self {
            inner,
            cipher: Some(cipher),
            plain: Vec::new(),
            at: 0,
            held: Vec::new(),
            ended: false,
        })
    }

    fn refill(&mut self) -> io::Result<()> {
        let mut blocks = std::mem::take(&mut self.held);
        let start = blocks.len();
        blocks.resize(start + BUFFER, 0);
        let mut filled = start;
        while filled < blocks.len() {
            match self.inner.read(&mut blocks[filled..])? {
                0 => {
                    self.ended = true;
                    break;
                }
                n => filled += n,
            }
        }
        blocks.truncate(filled);
        if self.ended {
            if blocks.is_empty() || !blocks.len().is_multiple_of(AES_BLOCK) {
                return Err(bad("its end is missing"));
            }
        } else {
            self.held = blocks.split_off(blocks.len() - AES_BLOCK);
        }
        let mut cipher = self
            .cipher
            .take()
            .ok_or_else(|| bad("it was read on after its end"))?;
        let padded = match self.ended {
            true => blocks.len() - AES_BLOCK,
            false => blocks.len(),
        };
        for block in blocks[..padded].chunks_exact_mut(AES_BLOCK) {
            let block = block.try_into().map_err(|_| bad("its blocks are cut"))?;
            cipher.decrypt_block(block);
        }
        if self.ended {
            let mut last = blocks.split_off(padded);
            let end = cipher
                .decrypt_padded::<Pkcs7>(&mut last)
                .map_err(|_| bad("backup_aes_cbc_key does not open it, or it is damaged"))?;
            blocks.extend_from_slice(end);
        } else {
            self.cipher = Some(cipher);
        }
        self.plain = blocks;
        self.at = 0;
        Ok(())
    }
}

impl<R: io::Read> io::Read for Decryptor<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            if self.ended {
                return Ok(0);
            }
            self.refill()?;
        }
        let take = out.len().min(self.plain.len() - self.at);
        out[..take].copy_from_slice(&self.plain[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}

fn bad(text: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("encrypted backup: {text}"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// `printf 'the quick brown fox' | openssl enc -aes-256-cbc -md sha512
    /// -pbkdf2 -iter 10000 -S 0102030405060708 -pass pass:secret`
    const FOX: &str = "U2FsdGVkX18BAgMEBQYHCF0W+tjJJ1be/9WZIct17ZwSRMkDhAMoJven1eRgvYPY";

    fn read(file: &[u8], password: &str) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Decryptor::new(file, &password.into())?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn fox() -> Vec<u8> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD
            .decode(FOX)
            .unwrap()
    }

    #[test]
    fn what_openssl_wrote_is_read() {
        assert_eq!(read(&fox(), "secret").unwrap(), b"the quick brown fox");
    }

    #[test]
    fn wrong_keys_cut_ends_and_other_files_are_errors() {
        assert!(read(&fox(), "other").is_err());
        assert!(read(&fox()[..fox().len() - 1], "secret").is_err());
        assert!(read(&fox()[..16], "secret").is_err());
        assert!(read(b"\x1f\x8b not encrypted at all", "secret").is_err());
    }
}
