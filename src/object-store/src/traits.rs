//! What every store can do.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Metadata of an object: lower-case keys with underscores, such as
/// `parent_location`. Swift carries them as `X-Object-Meta-Parent-Location`,
/// at most 256 bytes a value.
pub type Metadata = BTreeMap<String, String>;

/// An object by container (bucket, directory) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// Container, without `/`.
    pub container: String,
    /// Name, without `/`.
    pub name: String,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Bytes.
    pub size: u64,
    /// The store's checksum without quotes: MD5 of the bytes, or MD5 of the
    /// concatenated hexadecimal MD5s of the parts (Swift's static large
    /// objects; the other stores here follow it).
    pub checksum: String,
    /// Metadata.
    pub metadata: Metadata,
}

/// An element of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name of the object.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// Proof that a part is stored and has the checksum it was sent with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReceipt {
    /// Position of the part, from 0.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Hexadecimal MD5 of the part.
    pub md5: String,
    /// What the store wants to hear of the part again (S3: its ETag); may be
    /// empty.
    pub tag: String,
}

/// A complete object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// See [`ObjectInfo::checksum`]; already compared with the store's own.
    pub checksum: String,
    /// URL of the object: `<storage url>/<container>/<name>`.
    pub location: String,
    /// Bytes of the object.
    pub size: u64,
}

/// What an unfinished upload leaves in the store, enough to remove it after a
/// crash. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The object that was to be made.
    pub object: ObjectName,
    /// S3's upload id; empty elsewhere.
    #[serde(default)]
    pub upload_id: String,
}

/// A range of an object that can be read and verified on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPart {
    /// The object to read: the object itself or one of its segments.
    pub object: ObjectName,
    /// Bytes of it to read.
    pub range: Range<u64>,
    /// Hexadecimal MD5 of those bytes, when the store knows it.
    pub md5: Option<String>,
}

/// A place for objects. Requests are retried inside, with growing pauses,
/// where repeating can help.
#[async_trait]
pub trait ObjectStore: Send + Sync + Debug {
    /// Makes a container; one that exists is left as it is.
    async fn ensure_container(&self, container: &str) -> Result<()>;

    /// The object a location names. Only its last two path elements count, as
    /// for upstream: backups move between accounts and addresses.
    fn resolve(&self, location: &str) -> Result<ObjectName>;

    /// Looks at an object.
    async fn head(&self, object: &ObjectName) -> Result<ObjectInfo>;

    /// Objects of a container whose name begins with `prefix`, by name.
    async fn list(&self, container: &str, prefix: &str) -> Result<Vec<Listed>>;

    /// The parts that make an object up, in order. Large objects come in the
    /// parts they were stored in; others in ranges of about `range_size` bytes
    /// (then `md5` is absent, unless one range is all).
    async fn parts(&self, object: &ObjectName, range_size: u64) -> Result<Vec<ReadPart>>;

    /// The bytes of a part, as they come. One request, not retried: the caller
    /// knows how much it got and asks for the rest. The stream ends with an
    /// error when it is shorter than asked for.
    async fn read(
        &self,
        object: &ObjectName,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes>>>;

    /// Stores one object of known bytes at once, compares the checksum, and
    /// looks at it again.
    async fn put(&self, object: &ObjectName, body: Bytes, metadata: &Metadata) -> Result<Stored>;

    /// Begins a large object.
    async fn begin(&self, object: &ObjectName) -> Result<Box<dyn Upload>>;

    /// Removes an object with everything that belongs to it; none is success.
    async fn delete(&self, object: &ObjectName) -> Result<()>;

    /// Removes what an interrupted upload has left: its parts, not a complete
    /// object of that name.
    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()>;
}

/// A large object in the making. Parts may be sent at the same time.
#[async_trait]
pub trait Upload: Send + Sync + Debug {
    /// What to remember for the case of a crash.
    fn leftover(&self) -> Leftover;

    /// How many parts the object may have.
    fn max_parts(&self) -> u32;

    /// Sends a part, again if need be, and compares its checksum. `offset` is
    /// where its first byte is in the object; parts begin where the one before
    /// ended. All but the last have at least 5 MiB (S3's rule).
    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<PartReceipt>;

    /// Joins the parts (all of them, in order) and compares size and checksum
    /// with what the store has then.
    async fn finish(&self, parts: Vec<PartReceipt>, metadata: &Metadata) -> Result<Stored>;

    /// Removes the parts sent so far.
    async fn abort(&self) -> Result<()>;
}
