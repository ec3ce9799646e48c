//! Backups kept in memory, and the way back from them.

use async_trait::async_trait;
use datastore::{
    Archive, BackupMetadata, BackupRequest, Bytestream, Datastore, Error, RestoreLink,
    RestoreSource, Restored, Result,
};
use tokio::io::AsyncReadExt;

use crate::harness::{Fixture, Site};

/// A chain of backups; also a source that can be spoilt.
#[derive(Default, Clone)]
pub(crate) struct Chain {
    pub(crate) links: Vec<RestoreLink>,
    pub(crate) bytes: Vec<Vec<u8>>,
    /// The source breaks at the end of the last link.
    pub(crate) breaks: bool,
}

impl Chain {
    pub(crate) fn push(&mut self, bytes: Vec<u8>, metadata: BackupMetadata) {
        let number = self.links.len();
        self.links.push(RestoreLink {
            location: format!("http://store/backups/link-{number}"),
            archive: Archive::Tar,
            metadata,
        });
        self.bytes.push(bytes);
    }

    /// Makes a backup, on top of the last one if there is one.
    pub(crate) async fn back_up(&mut self, datastore: &dyn Datastore) -> BackupMetadata {
        let request = self.request();
        let mut backup = datastore.start_backup(&request).await.unwrap();
        let mut bytes = Vec::new();
        backup.reader().read_to_end(&mut bytes).await.unwrap();
        assert_eq!(backup.archive(), Archive::Tar);
        assert!(backup.estimate() > 0);
        let metadata = backup.finish().await.unwrap();
        assert_eq!(metadata["label"], request.id);
        self.push(bytes, metadata.clone());
        metadata
    }

    pub(crate) fn request(&self) -> BackupRequest {
        BackupRequest {
            id: format!("backup-{}", self.links.len()),
            parent: self.links.last().map(|link| link.metadata.clone()),
        }
    }

    /// The first links of the chain.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self {
            links: self.links[..count].to_vec(),
            bytes: self.bytes[..count].to_vec(),
            breaks: false,
        }
    }

    /// A new server with the data of this chain.
    pub(crate) async fn restore(&self) -> (Fixture, Restored) {
        self.restore_into(Site::new()).await
    }

    pub(crate) async fn restore_into(&self, site: Site) -> (Fixture, Restored) {
        let request = site.request();
        let recovery = site.datastore.unpack_restore(&request, self).await.unwrap();
        Fixture::start_restored(site, &recovery).await
    }

    /// Why this chain cannot be restored.
    pub(crate) async fn refused(&self, site: &Site) -> String {
        let error = site.datastore.unpack_restore(&site.request(), self).await;
        let mark = site.settings().layout.mount_point.join(".restoring");
        assert!(mark.exists());
        error.unwrap_err().to_string()
    }
}

#[async_trait]
impl RestoreSource for Chain {
    fn links(&self) -> &[RestoreLink] {
        &self.links
    }

    async fn open(&self, index: usize) -> Result<Bytestream> {
        let bytes = self.bytes.get(index).cloned();
        let bytes = bytes.ok_or_else(|| Error::failed("no such link"))?;
        let reader = std::io::Cursor::new(bytes);
        match self.breaks && index + 1 == self.links.len() {
            false => Ok(Box::pin(reader)),
            true => Ok(Box::pin(reader.chain(Broken))),
        }
    }
}

/// Nothing but an error.
struct Broken;

impl tokio::io::AsyncRead for Broken {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
        _buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Err(std::io::Error::other("checksum differs")))
    }
}

/// A place in the WAL as a number: places are not ordered as texts.
pub(crate) fn place(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    let half = |text| u64::from_str_radix(text, 16).unwrap();
    half(high) << 32 | half(low)
}

/// Names in a directory, sorted.
pub(crate) fn names_in(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
