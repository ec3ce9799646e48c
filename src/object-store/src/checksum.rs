//! MD5 as the stores use it: to find broken transfers, not enemies.

use bytes::Bytes;
use md5::{Digest, Md5};

use crate::{Error, ErrorKind, Result};

/// Up to this many bytes a checksum is made at once; more would keep other
/// work of the thread waiting.
const SMALL: usize = 256 * 1024;

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ok = write!(text, "{byte:02x}");
        text
    })
}

/// MD5 of bytes in memory.
pub(crate) fn md5_now(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// MD5 of a part, on a thread for such work when it is large.
pub(crate) async fn md5_of(bytes: &Bytes) -> Result<[u8; 16]> {
    if bytes.len() <= SMALL {
        return Ok(md5_now(bytes));
    }
    let bytes = bytes.clone();
    tokio::task::spawn_blocking(move || md5_now(&bytes))
        .await
        .map_err(|error| Error::new(ErrorKind::Unexpected, format!("checksum: {error}")))
}

/// The checksum of a large object: MD5 of its parts' hexadecimal MD5s.
pub(crate) fn of_parts<'a>(md5s: impl IntoIterator<Item = &'a str>) -> String {
    let mut whole = Md5::new();
    for md5 in md5s {
        whole.update(md5.as_bytes());
    }
    hex(&whole.finalize())
}

/// An ETag without quotes and without the mark of weak comparison.
pub(crate) fn unquoted(etag: &str) -> &str {
    let etag = etag.trim();
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    etag.trim_matches('"')
}

/// Whether a checksum is one MD5, not `<MD5>-<parts>` or something else.
pub(crate) fn is_md5(checksum: &str) -> bool {
    checksum.len() == 32 && checksum.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{SMALL, hex, is_md5, md5_now, md5_of, of_parts, unquoted};

    #[test]
    fn checksums_of_known_bytes() {
        assert_eq!(hex(&md5_now(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(&md5_now(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
        // printf '%s%s' <md5 of "a"> <md5 of "b"> | md5sum
        assert_eq!(
            of_parts([
                "0cc175b9c0f1b6a831c399e269772661",
                "92eb5ffee6ae2fec3ad71c777531578f"
            ]),
            "3bc22fb7aaebe9c8c5d7de312b876bb8"
        );
    }

    #[tokio::test]
    async fn large_parts_have_the_same_checksum() {
        let bytes = Bytes::from(vec![7; SMALL + 1]);
        assert_eq!(md5_of(&bytes).await.unwrap(), md5_now(&bytes));
    }

    #[test]
    fn multipart_etags_are_no_md5() {
        assert!(is_md5("d41d8cd98f00b204e9800998ecf8427e"));
        assert!(!is_md5("d41d8cd98f00b204e9800998ecf8427e-2"));
        assert!(!is_md5(""));
    }

    proptest! {
        #[test]
        fn etags_lose_their_quotes_only(etag in "[0-9a-f]{32}(-[0-9]{1,3})?") {
            prop_assert_eq!(unquoted(&etag), &etag);
            for written in [format!("\"{etag}\""), format!(" W/\"{etag}\" ")] {
                prop_assert_eq!(unquoted(&written), &etag);
            }
        }
    }
}
