//! age, version 1, with a passphrase (the specification is C2SP's `age.md`):
//! ChaCha20-Poly1305 in chunks of 64 KiB, so that a stream can be checked
//! while it is read, and its end cannot be cut off. `age -d` opens it, too.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{hkdf, hmac};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

const VERSION: &str = "age-encryption.org/v1";
const SALT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
/// Plain bytes of a chunk.
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;
/// scrypt's work factor as a power of two: 16 MiB of memory. The passphrase is
/// an operator's random key, not somebody's word.
const LOG_N: u8 = 14;
/// What a file may ask of us: 1 GiB.
const LOG_N_LIMIT: u8 = 20;
/// A header of one recipient is a quarter of this.
const HEADER_LIMIT: usize = 1024;

fn bad(text: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("encrypted backup: {text}"),
    )
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the kernel gives no random bytes"))?;
    Ok(bytes)
}

/// HKDF-SHA-256 to 32 bytes.
fn derive(secret: &[u8], salt: &[u8], label: &[u8]) -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret)
        .expand(&[label], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut *key))
        .map_err(|_| io::Error::other("derive an encryption key"))?;
    Ok(key)
}

fn aead(key: &[u8; 32]) -> io::Result<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key)
        .map(LessSafeKey::new)
        .map_err(|_| io::Error::other("use an encryption key"))
}

fn wrapping_key(passphrase: &SecretString, salt: &[u8], log_n: u8) -> io::Result<LessSafeKey> {
    let salt = [SALT_LABEL, salt].concat();
    let parameters =
        scrypt::Params::new(log_n, 8, 1).map_err(|_| bad("its work factor is out of range"))?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(
        passphrase.expose_secret().as_bytes(),
        &salt,
        &parameters,
        &mut *key,
    )
    .map_err(|_| io::Error::other("derive an encryption key"))?;
    aead(&key)
}

fn no_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Chunk numbers and the mark of the last one, as the nonce of each chunk.
struct Chunks {
    key: LessSafeKey,
    next: u64,
}

impl Chunks {
    fn nonce(&mut self, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = last.into();
        self.next += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Encrypts a stream.
pub(crate) struct Encryptor {
    chunks: Chunks,
    pending: Vec<u8>,
    /// Header and nonce, until the first bytes are asked for.
    start: Vec<u8>,
}

impl Encryptor {
    /// A new file under `passphrase`.
    pub(crate) fn new(passphrase: &SecretString) -> io::Result<Self> {
        let file_key = Zeroizing::new(random::<16>()?);
        let salt = random::<16>()?;
        let mut wrapped = file_key.to_vec();
        wrapping_key(passphrase, &salt, LOG_N)?
            .seal_in_place_append_tag(no_nonce(), Aad::empty(), &mut wrapped)
            .map_err(|_| io::Error::other("wrap an encryption key"))?;
        let header = format!(
            "{VERSION}\n-> scrypt {} {LOG_N}\n{}\n---",
            BASE64.encode(salt),
            BASE64.encode(&wrapped)
        );
        let mac_key = derive(&*file_key, &[], b"header")?;
        let mac = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &*mac_key),
            header.as_bytes(),
        );
        let nonce = random::<16>()?;
        let mut start = format!("{header} {}\n", BASE64.encode(mac.as_ref())).into_bytes();
        start.extend_from_slice(&nonce);
        let key = derive(&*file_key, &nonce, b"payload")?;
        Ok(Self {
            chunks: Chunks {
                key: aead(&key)?,
                next: 0,
            },
            pending: Vec::with_capacity(CHUNK),
            start,
        })
    }

    /// Takes plain bytes; what may be written meanwhile.
    pub(crate) fn update(&mut self, mut plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = std::mem::take(&mut self.start);
        while !plain.is_empty() {
            // A full chunk waits for more: it may be the last.
            if self.pending.len() == CHUNK {
                self.seal(false, &mut out)?;
            }
            let take = plain.len().min(CHUNK - self.pending.len());
            self.pending.extend_from_slice(&plain[..take]);
            plain = &plain[take..];
        }
        Ok(out)
    }

    /// The end.
    pub(crate) fn finish(&mut self) -> io::Result<Vec<u8>> {
        let mut out = std::mem::take(&mut self.start);
        self.seal(true, &mut out)?;
        Ok(out)
    }

    fn seal(&mut self, last: bool, out: &mut Vec<u8>) -> io::Result<()> {
        let nonce = self.chunks.nonce(last);
        let tag = self
            .chunks
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut self.pending)
            .map_err(|_| io::Error::other("encrypt"))?;
        out.extend_from_slice(&self.pending);
        out.extend_from_slice(tag.as_ref());
        self.pending.clear();
        Ok(())
    }
}

/// Decrypts a stream.
pub(crate) struct Decryptor<R> {
    inner: R,
    chunks: Chunks,
    chunk: Vec<u8>,
    at: usize,
    plain: usize,
    ended: bool,
}

impl<R: io::Read> Decryptor<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is no age file, or another passphrase's.
    pub(crate) fn new(mut inner: R, passphrase: &SecretString) -> io::Result<Self> {
        let header = read_header(&mut inner)?;
        let file_key = open_header(&header, passphrase)?;
        let mut nonce = [0; 16];
        inner.read_exact(&mut nonce)?;
        let key = derive(&*file_key, &nonce, b"payload")?;
        Ok(Self {
            inner,
            chunks: Chunks {
                key: aead(&key)?,
                next: 0,
            },
            chunk: Vec::with_capacity(CHUNK + TAG),
            at: 0,
            plain: 0,
            ended: false,
        })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        self.chunk.resize(CHUNK + TAG, 0);
        let mut filled = 0;
        while filled < self.chunk.len() {
            match self.inner.read(&mut self.chunk[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        self.chunk.truncate(filled);
        // A full chunk is the last one only if it opens as that.
        let short = filled < CHUNK + TAG;
        let counter = self.chunks.next;
        let mut copy = if short {
            Vec::new()
        } else {
            self.chunk.clone()
        };
        let nonce = self.chunks.nonce(short);
        let opened = self
            .chunks
            .key
            .open_in_place(nonce, Aad::empty(), &mut self.chunk);
        if let Ok(plain) = opened {
            self.plain = plain.len();
            self.ended = short;
        } else if !short {
            self.chunks.next = counter;
            let nonce = self.chunks.nonce(true);
            let plain = self
                .chunks
                .key
                .open_in_place(nonce, Aad::empty(), &mut copy)
                .map_err(|_| bad("it is damaged"))?;
            self.plain = plain.len();
            self.ended = true;
            self.chunk = copy;
        } else {
            return Err(bad("it is damaged or its end is missing"));
        }
        if self.ended {
            if self.plain == 0 && counter > 0 {
                return Err(bad("it ends with an empty chunk"));
            }
            if self.inner.read(&mut [0])? != 0 {
                return Err(bad("something follows its end"));
            }
        }
        self.at = 0;
        Ok(())
    }
}

impl<R: io::Read> io::Read for Decryptor<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain {
            if self.ended {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let take = out.len().min(self.plain - self.at);
        out[..take].copy_from_slice(&self.chunk[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}

/// Everything up to and with the line of the MAC.
fn read_header(inner: &mut impl io::Read) -> io::Result<String> {
    let mut header = Vec::new();
    let mut byte = [0];
    loop {
        inner.read_exact(&mut byte)?;
        header.push(byte[0]);
        if header.len() > HEADER_LIMIT {
            return Err(bad("its header is not one of age with a passphrase"));
        }
        let line = header.rsplit(|&b| b == b'\n').nth(1);
        if byte[0] == b'\n' && line.is_some_and(|line| line.starts_with(b"--- ")) {
            return String::from_utf8(header).map_err(|_| bad("its header is not text"));
        }
    }
}

fn open_header(header: &str, passphrase: &SecretString) -> io::Result<Zeroizing<[u8; 16]>> {
    let not_ours = || bad("its header is not one of age with a passphrase");
    let lines: Vec<&str> = header.lines().collect();
    let [version, recipient, body, mac] = lines[..] else {
        return Err(not_ours());
    };
    let fields: Vec<&str> = recipient.split(' ').collect();
    let ["->", "scrypt", salt, log_n] = fields[..] else {
        return Err(not_ours());
    };
    let decode = |text: &str| BASE64.decode(text).map_err(|_| not_ours());
    let log_n: u8 = log_n.parse().map_err(|_| not_ours())?;
    if version != VERSION || log_n == 0 || log_n > LOG_N_LIMIT {
        return Err(not_ours());
    }
    let mut wrapped = Zeroizing::new(decode(body)?);
    let salt = decode(salt)?;
    let mut file_key = Zeroizing::new([0; 16]);
    let opened = wrapping_key(passphrase, &salt, log_n)?
        .open_in_place(no_nonce(), Aad::empty(), &mut wrapped)
        .map(|opened| opened.to_vec())
        .map_err(|_| bad("backup_encryption_passphrase does not open it"))?;
    if opened.len() != file_key.len() {
        return Err(not_ours());
    }
    file_key.copy_from_slice(&Zeroizing::new(opened));
    let mac = decode(mac.strip_prefix("--- ").ok_or_else(not_ours)?)?;
    let mac_key = derive(&*file_key, &[], b"header")?;
    let signed = header.rfind("---").map_or("", |at| &header[..at + 3]);
    hmac::verify(
        &hmac::Key::new(hmac::HMAC_SHA256, &*mac_key),
        signed.as_bytes(),
        &mac,
    )
    .map_err(|_| bad("its header was changed"))?;
    Ok(file_key)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn sealed(plain: &[u8], passphrase: &str) -> Vec<u8> {
        let mut encryptor = Encryptor::new(&passphrase.into()).unwrap();
        let mut out = encryptor.update(plain).unwrap();
        out.extend(encryptor.finish().unwrap());
        out
    }

    fn opened(sealed: &[u8], passphrase: &str) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Decryptor::new(sealed, &passphrase.into())?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn sizes_around_the_chunk() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5] {
            let plain: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            assert_eq!(
                opened(&sealed(&plain, "pass"), "pass").unwrap(),
                plain,
                "{size}"
            );
        }
    }

    #[test]
    fn another_passphrase_is_named_as_the_cause() {
        let error = opened(&sealed(b"plain", "one"), "two").unwrap_err();
        assert!(error.to_string().contains("does not open"), "{error}");
    }

    #[test]
    fn a_cut_end_is_noticed() {
        let plain = vec![7; 3 * CHUNK];
        let whole = sealed(&plain, "pass");
        let header = whole.len() - (plain.len() + 3 * TAG);
        for keep in [
            whole.len() - 1,
            header + 2 * (CHUNK + TAG),
            header + CHUNK + TAG,
            header,
        ] {
            assert!(opened(&whole[..keep], "pass").is_err(), "{keep}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(opened(&longer, "pass").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_flipped_bit_is_noticed(at in 0usize..100_000, bit in 0u8..8) {
            let mut file = sealed(&[5; 100], "pass");
            let at = at % file.len();
            file[at] ^= 1 << bit;
            prop_assert!(opened(&file, "pass").is_err());
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(opened(&bytes, "pass").is_err());
        }
    }
}
