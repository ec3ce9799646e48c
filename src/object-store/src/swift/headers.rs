//! Metadata and checksums in Swift's headers.

use hyper::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue};

use crate::checksum::unquoted;
use crate::http::header;
use crate::{Error, ErrorKind, Metadata, ObjectInfo, Result};

const META: &str = "x-object-meta-";

/// Metadata as headers: `parent_location` is `X-Object-Meta-Parent-Location`.
pub(super) fn to_headers(metadata: &Metadata) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (key, value) in metadata {
        let name = format!("{META}{}", key.replace('_', "-"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable(key))?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unusable(key))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn unusable(key: &str) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!("metadata {key:?} cannot be a header of an object: control characters are in it"),
    )
}

/// What the headers of a HEAD say of an object.
pub(super) fn info(what: &str, headers: &HeaderMap) -> Result<ObjectInfo> {
    let size = header(headers, CONTENT_LENGTH.as_str())
        .parse()
        .map_err(|_| {
            Error::new(
                ErrorKind::Unexpected,
                format!("{what}: the answer has no size"),
            )
        })?;
    let metadata = headers
        .iter()
        .filter_map(|(name, value)| {
            let key = name.as_str().strip_prefix(META)?.replace('-', "_");
            Some((key, String::from_utf8_lossy(value.as_bytes()).into_owned()))
        })
        .collect();
    Ok(ObjectInfo {
        size,
        checksum: unquoted(header(headers, ETAG.as_str())).to_owned(),
        metadata,
    })
}

/// Whether the object is a manifest of parts that are objects of their own.
pub(super) fn is_static_large(headers: &HeaderMap) -> bool {
    let value = header(headers, "x-static-large-object");
    !value.is_empty() && !value.eq_ignore_ascii_case("false")
}

/// Whether the object is made of whatever has a prefix now; its ETag is no MD5
/// of the bytes.
pub(super) fn is_dynamic_large(headers: &HeaderMap) -> bool {
    headers.contains_key("x-object-manifest")
}

#[cfg(test)]
mod tests {
    use hyper::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::{info, is_static_large, to_headers};
    use crate::{ErrorKind, Metadata};

    #[test]
    fn keys_have_dashes_in_headers() {
        let metadata = Metadata::from([("parent_location".to_owned(), "http://x/c/o".to_owned())]);
        let headers = to_headers(&metadata).unwrap();
        assert_eq!(headers["X-Object-Meta-Parent-Location"], "http://x/c/o");
    }

    #[test]
    fn control_characters_are_refused_without_the_value() {
        let metadata = Metadata::from([("label".to_owned(), "a\nb".to_owned())]);
        let error = to_headers(&metadata).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("\"label\""), "{error}");
    }

    #[test]
    fn an_answer_without_a_size_is_no_object() {
        let error = info("HEAD a/b", &HeaderMap::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
    }

    #[test]
    fn manifests_are_known_by_their_header() {
        let mut headers = HeaderMap::new();
        assert!(!is_static_large(&headers));
        headers.insert("x-static-large-object", HeaderValue::from_static("True"));
        assert!(is_static_large(&headers));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            metadata in prop::collection::btree_map("[a-z][a-z0-9_]{0,20}", "[ -~äöü€]{1,60}", 0..8),
            size in any::<u64>(),
            etag in "[0-9a-f]{32}",
        ) {
            let mut headers = to_headers(&metadata).unwrap();
            headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
            headers.insert(ETAG, HeaderValue::from_str(&format!("\"{etag}\"")).unwrap());
            let found = info("HEAD a/b", &headers).unwrap();
            prop_assert_eq!(found.size, size);
            prop_assert_eq!(found.checksum, etag);
            prop_assert_eq!(found.metadata, metadata);
        }
    }
}
