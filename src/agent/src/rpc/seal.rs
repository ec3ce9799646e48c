//! Sealed strings: the payload encryption of Trove's secure RPC.
//!
//! A JSON text is encrypted with AES-256-CBC under the hex digest of the MD5
//! of the instance's key, with a random IV in front, as base64
//! (`trove/common/crypto_utils.py`, `trove/common/stream_codecs.py`). The
//! scheme has no MAC; unlike upstream, padding is checked on opening, so what
//! does not open is refused instead of being passed on as it is.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

const BLOCK: usize = 16;

/// Why a sealed string did not open. It never holds the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not standard, padded base64.
    #[error("it is not base64")]
    Base64,
    /// Shorter than an IV and one block, or not a whole number of blocks.
    #[error("its length is not a whole number of cipher blocks")]
    Length,
    /// Wrong padding or not JSON after decryption: sealed with another key.
    #[error("it was sealed with another key")]
    Key,
}

/// The AES key derived from an instance's `instance_rpc_encr_key`.
pub struct SealKey([u8; 32]);

impl SealKey {
    /// Derives the key: the 32 lower-case hex digits of the MD5 are the key
    /// bytes themselves.
    pub fn derive(key: &SecretString) -> Self {
        let mut digest = Md5::digest(key.expose_secret().as_bytes());
        let mut bytes = [0u8; 32];
        for (index, byte) in digest.iter().enumerate() {
            bytes[2 * index] = hex_digit(byte >> 4);
            bytes[2 * index + 1] = hex_digit(byte & 0x0f);
        }
        digest.as_mut_slice().zeroize();
        Self(bytes)
    }

    /// Seals `value` under a fresh random IV.
    pub fn seal(&self, value: &Value) -> String {
        self.seal_with_iv(value, rand::random())
    }

    fn seal_with_iv(&self, value: &Value, iv: [u8; BLOCK]) -> String {
        let plain = Zeroizing::new(value.to_string().into_bytes());
        let cipher = cbc::Encryptor::<Aes256>::new(&self.0.into(), &iv.into())
            .encrypt_padded_vec::<Pkcs7>(&plain);
        let mut sealed = Vec::with_capacity(BLOCK + cipher.len());
        sealed.extend_from_slice(&iv);
        sealed.extend_from_slice(&cipher);
        STANDARD.encode(sealed)
    }

    /// Opens a sealed string.
    ///
    /// # Errors
    /// [`OpenError`] tells what is wrong with it.
    pub fn open(&self, sealed: &str) -> Result<Value, OpenError> {
        let bytes = STANDARD.decode(sealed).map_err(|_| OpenError::Base64)?;
        if bytes.len() < 2 * BLOCK || bytes.len() % BLOCK != 0 {
            return Err(OpenError::Length);
        }
        let (iv, cipher) = bytes.split_at(BLOCK);
        let iv: [u8; BLOCK] = iv.try_into().map_err(|_| OpenError::Length)?;
        let plain = cbc::Decryptor::<Aes256>::new(&self.0.into(), &iv.into())
            .decrypt_padded_vec::<Pkcs7>(cipher)
            .map_err(|_| OpenError::Key)?;
        let plain = Zeroizing::new(plain);
        serde_json::from_slice(&plain).map_err(|_| OpenError::Key)
    }
}

impl Drop for SealKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(***)")
    }
}

fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const IV: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn key(text: &str) -> SealKey {
        SealKey::derive(&SecretString::from(text.to_owned()))
    }

    /// Computed with `crypto_utils` of Trove 26.0.0.
    #[test]
    fn vectors_of_the_reference_implementation() {
        let key = key("R9JsSzRhBmQdkKBnpZnYlgxVdd1Vb1Mq");
        assert_eq!(&key.0, b"7e418a6315de60bec9bbe24dc67209d4");
        for (value, sealed) in [
            (json!(null), "AAECAwQFBgcICQoLDA0OD8khzGFM9qzE2kI+skFpPRY="),
            (json!(true), "AAECAwQFBgcICQoLDA0OD8Z/xh5imilMWVTQXLl67wY="),
            (
                json!("mysql"),
                "AAECAwQFBgcICQoLDA0ODyJo8rjqIRJVBX2UF0mLA2E=",
            ),
        ] {
            assert_eq!(key.seal_with_iv(&value, IV), sealed);
            assert_eq!(key.open(sealed), Ok(value));
        }
        // These hold a space after the colon, as Python writes JSON; only opening must agree.
        for (value, sealed) in [
            (
                json!({"used": 0.19}),
                "AAECAwQFBgcICQoLDA0ODwPfhS+0Efxjg5r3UGYhytE=",
            ),
            (
                json!({"a": 1}),
                "AAECAwQFBgcICQoLDA0ODxldAAJOocjIMh1tZpbxs7M=",
            ),
            (
                json!({"service_status": "healthy"}),
                "AAECAwQFBgcICQoLDA0OD/UhRwcpyibijYtyA72h0/FPzVUqfHjjJ8udCPs5hFcz",
            ),
        ] {
            assert_eq!(key.open(sealed), Ok(value));
        }
    }

    #[test]
    fn another_key_does_not_open() {
        let sealed = key("one").seal(&json!({"password": "x"}));
        assert_eq!(key("two").open(&sealed), Err(OpenError::Key));
    }

    #[test]
    fn clear_text_does_not_open() {
        let key = key("one");
        assert_eq!(key.open("plain"), Err(OpenError::Base64));
        assert_eq!(key.open("AAAA"), Err(OpenError::Length));
        assert_eq!(key.open(""), Err(OpenError::Length));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(text in ".*", number in any::<i64>()) {
            let key = key("k");
            let value = json!({"text": text, "number": number, "list": [null, true]});
            prop_assert_eq!(key.open(&key.seal(&value)), Ok(value));
        }

        #[test]
        fn opening_never_panics(text in ".*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let key = key("k");
            let _ = key.open(&text);
            let _ = key.open(&STANDARD.encode(bytes));
        }
    }
}
