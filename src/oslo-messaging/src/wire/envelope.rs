//! The 2.0 envelope: `{"oslo.version": "2.0", "oslo.message": "<JSON text>"}`
//! (`oslo_messaging/_drivers/common.py`).

use serde_json::{Value, json};

use super::{Compression, MAX_BODY, Map};

const VERSION: &str = "2.0";
const VERSION_KEY: &str = "oslo.version";
const MESSAGE_KEY: &str = "oslo.message";

/// Why a delivery could not be read. Such messages are rejected, never requeued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The header `compression` names something unknown.
    #[error("unknown compression {0:?}")]
    UnknownCompression(String),
    /// The compressed body is damaged.
    #[error("compressed body: {0}")]
    Compression(String),
    /// The body is longer than accepted.
    #[error("body is larger than {limit} bytes")]
    TooLarge {
        /// Bytes accepted.
        limit: usize,
    },
    /// Neither UTF-8 nor ASCII.
    #[error("content encoding {0:?} is not utf-8")]
    Encoding(String),
    /// Not JSON.
    #[error("body is not JSON: {0}")]
    Json(String),
    /// JSON of another shape.
    #[error("{0}")]
    Shape(&'static str),
    /// An envelope of another major version.
    #[error("envelope version {0:?} is not supported")]
    EnvelopeVersion(String),
}

/// Takes a message body apart, down to the payload.
///
/// `content_encoding` and `compression` come from the message's properties. A
/// body that lacks either key of the envelope is the payload itself.
///
/// # Errors
/// [`DecodeError`]; the texts never repeat the payload.
pub fn decode_body(
    body: &[u8],
    content_encoding: Option<&str>,
    compression: Option<&str>,
) -> Result<Map, DecodeError> {
    let plain;
    let body = match compression {
        None | Some("") => body,
        Some(name) => {
            let compression = Compression::from_name(name)
                .ok_or_else(|| DecodeError::UnknownCompression(name.to_owned()))?;
            plain = compression.decompress(body, MAX_BODY)?;
            &plain
        }
    };
    if body.len() > MAX_BODY {
        return Err(DecodeError::TooLarge { limit: MAX_BODY });
    }
    match content_encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "utf-8" | "utf8" | "ascii" | "us-ascii" | "binary") => {}
        Some(other) => return Err(DecodeError::Encoding(other.to_owned())),
    }
    let mut outer = object(parse(body)?)?;
    if !outer.contains_key(VERSION_KEY) || !outer.contains_key(MESSAGE_KEY) {
        return Ok(outer);
    }
    match outer.get(VERSION_KEY) {
        Some(Value::String(version)) if super::check_version(version, VERSION) => {}
        Some(version) => return Err(DecodeError::EnvelopeVersion(version.to_string())),
        None => return Err(DecodeError::Shape("the envelope has no version")),
    }
    match outer.remove(MESSAGE_KEY) {
        Some(Value::String(inner)) => object(parse(inner.as_bytes())?),
        _ => Err(DecodeError::Shape("oslo.message is not a string")),
    }
}

/// Puts `payload` into an envelope. The inner payload is a JSON *string*.
pub fn encode_body(payload: &Map) -> Vec<u8> {
    let inner = serde_json::to_string(payload).expect("JSON objects have string keys only");
    json!({ VERSION_KEY: VERSION, MESSAGE_KEY: inner })
        .to_string()
        .into_bytes()
}

fn parse(text: &[u8]) -> Result<Value, DecodeError> {
    // Only category and place: serde_json's text may quote the input.
    serde_json::from_slice(text).map_err(|error| {
        DecodeError::Json(format!(
            "{:?} error at line {} column {}",
            error.classify(),
            error.line(),
            error.column()
        ))
    })
}

fn object(value: Value) -> Result<Map, DecodeError> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(DecodeError::Shape("the message is not an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(value: Value) -> Map {
        object(value).unwrap()
    }

    #[test]
    fn a_body_without_envelope_is_the_payload() {
        let body = br#"{"method": "m", "oslo.version": "2.0"}"#;
        assert_eq!(decode_body(body, None, None).unwrap()["method"], "m");
    }

    #[test]
    fn versions() {
        for (version, ok) in [
            ("2.0", true),
            ("2.1", false),
            ("1.0", false),
            ("3.0", false),
            ("x", false),
        ] {
            let body = json!({ "oslo.version": version, "oslo.message": "{}" }).to_string();
            assert_eq!(
                decode_body(body.as_bytes(), None, None).is_ok(),
                ok,
                "{version}"
            );
        }
    }

    #[test]
    fn errors_do_not_quote_the_payload() {
        let body = br#"{"oslo.version": "2.0", "oslo.message": "{\"password\": hunter2}"}"#;
        let error = decode_body(body, Some("utf-8"), None).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(decode_body(b"[]", None, None).is_err());
        assert!(decode_body(b"{}", Some("utf-16"), None).is_err());
        assert!(decode_body(b"{}", None, Some("application/x-lzma")).is_err());
    }

    #[test]
    fn compressed_bodies_open() {
        let body = encode_body(&map(json!({ "method": "ping" })));
        for compression in [Compression::Gzip, Compression::Bz2] {
            let packed = compression.compress(&body).unwrap();
            let payload =
                decode_body(&packed, Some("utf-8"), Some(compression.content_type())).unwrap();
            assert_eq!(payload["method"], "ping");
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("\\PC{0,8}", inner, 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn round_trip(entries in proptest::collection::btree_map("\\PC{0,8}", json_value(), 0..6)) {
            let payload: Map = entries.into_iter().collect();
            prop_assert_eq!(decode_body(&encode_body(&payload), Some("utf-8"), None).unwrap(), payload);
        }

        #[test]
        fn noise_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_body(&body, None, None);
            let _ = decode_body(&body, None, Some("gzip"));
        }
    }
}
