//! What crosses the broker: envelope, requests, replies, failures, compression.

mod compression;
mod envelope;
mod failure;
mod message;
mod version;

pub use compression::{Compression, MAX_BODY};
pub use envelope::{DecodeError, decode_body, encode_body};
pub use failure::RemoteError;
pub use message::{Request, encode_request, reply, unique_id};
pub use version::check_version;

/// A JSON object.
pub type Map = serde_json::Map<String, serde_json::Value>;
