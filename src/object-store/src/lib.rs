//! Object stores as backups need them: one large object at a time, uploaded in
//! parts and verified, read back in parts and verified, with a few metadata
//! headers. Swift, S3 and a local directory behind one trait.
//!
//! Nothing here knows what is in the objects.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod checksum;
mod discover;
mod error;
mod http;
mod keystone;
mod local;
mod names;
mod parts;
mod ranges;
mod retry;
mod s3;
mod sidecar;
mod swift;
mod token;
mod traits;

pub use discover::{SwiftSearch, find_swift};
pub use error::{Error, ErrorKind, Result};
pub use http::ClientSettings;
pub use keystone::{EndpointFilter, Identity, Keystone, KeystoneAccess, Project, Session};
pub use local::Local;
pub use retry::RetryPolicy;
pub use s3::{S3, S3Access};
pub use swift::{Swift, SwiftAccess};
pub use token::{FixedToken, TokenSource};
pub use traits::{
    Leftover, Listed, Metadata, ObjectInfo, ObjectName, ObjectStore, PartReceipt, ReadPart, Stored,
    Upload,
};
