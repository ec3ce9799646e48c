//! What the agent and a datastore say to each other about backups.

use std::collections::BTreeMap;
use std::pin::Pin;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::io::AsyncRead;

use crate::Result;

/// Metadata of a backup, such as `lsn`; lower-case keys with underscores.
pub type BackupMetadata = BTreeMap<String, String>;

/// A stream of bytes.
pub type Bytestream = Pin<Box<dyn AsyncRead + Send>>;

/// What is in a backup's stream; also the suffix of its object's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// xbstream, of xtrabackup and mariadb-backup.
    Xbstream,
    /// A tar archive.
    Tar,
}

impl Archive {
    /// The suffix: `xbstream` or `tar`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Xbstream => "xbstream",
            Self::Tar => "tar",
        }
    }
}

/// A backup to make.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// Its id.
    pub id: String,
    /// Metadata of the backup it adds to; a full backup has none.
    pub parent: Option<BackupMetadata>,
}

/// A running backup: bytes first, then the tool's verdict.
#[async_trait]
pub trait BackupStream: Send {
    /// What the bytes are.
    fn archive(&self) -> Archive;

    /// How many bytes it may become, to plan with; 0 when nobody knows.
    fn estimate(&self) -> u64;

    /// The bytes, once.
    fn reader(&mut self) -> Bytestream;

    /// To be called after the last byte: waits for the tool's end and checks
    /// everything it says. Without this success there is no backup.
    async fn finish(self: Box<Self>) -> Result<BackupMetadata>;

    /// Ends the tool at once and removes what it has left on this machine.
    async fn abort(self: Box<Self>);
}

/// One backup of a chain that is to be restored.
#[derive(Debug, Clone)]
pub struct RestoreLink {
    /// Where it is, for messages.
    pub location: String,
    /// What its bytes are.
    pub archive: Archive,
    /// Its metadata.
    pub metadata: BackupMetadata,
}

impl RestoreLink {
    /// Its name, for messages that must be short: Trove keeps 255 characters.
    pub fn name(&self) -> &str {
        self.location.rsplit('/').next().unwrap_or_default()
    }
}

/// A chain of backups: a full one and what was added to it.
#[async_trait]
pub trait RestoreSource: Send + Sync {
    /// Oldest first.
    fn links(&self) -> &[RestoreLink];

    /// The bytes of one link, as the tool once wrote them. Whatever is wrong
    /// with them is an error of the reader, and its end comes only after all
    /// is verified.
    async fn open(&self, index: usize) -> Result<Bytestream>;
}

/// What a restore has found in the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Whether the tenant's administrator may log in.
    pub root_enabled: bool,
}

/// A server that writes nothing, until it is released. Dropping it releases it.
#[async_trait]
pub trait ReadLock: Send + Sync {
    /// Where its binary log stands, in the keys of Trove's replication
    /// snapshots (`log_file`, `log_position`, `log_executed_gtid_set`).
    fn position(&self) -> &Map<String, Value>;

    /// Lets it write again.
    async fn release(self: Box<Self>) -> Result<()>;
}
