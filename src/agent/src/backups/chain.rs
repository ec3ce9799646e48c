//! A backup with everything it adds to.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use backup::{Coding, Download, Keys, Progress, Sealing, coding_of};
use datastore::{Archive, Bytestream, Error, RestoreLink, RestoreSource, Result};
use object_store::{Metadata, ObjectName, ObjectStore, RetryPolicy};

use super::{backup_error, store_error};

/// More links than anybody makes: each costs a pass over the data.
const LONGEST: usize = 1000;
/// Ranges fetched at once, most of them whole parts.
const FETCHES: usize = 2;

/// The links of a chain, oldest first. All of them were looked at.
pub struct Chain {
    store: Arc<dyn ObjectStore>,
    keys: Keys,
    progress: Progress,
    retry: RetryPolicy,
    links: Vec<RestoreLink>,
    objects: Vec<Found>,
}

struct Found {
    object: ObjectName,
    coding: Coding,
    checksum: String,
}

impl Chain {
    /// Follows the parents of the object at `location` to a full backup.
    /// `checksum` is what was recorded of the last one, if anything was.
    ///
    /// # Errors
    /// When one is missing, is another than recorded, or is no backup.
    pub async fn find(
        store: Arc<dyn ObjectStore>,
        location: &str,
        checksum: Option<String>,
        keys: Keys,
        retry: RetryPolicy,
        progress: Progress,
    ) -> Result<Self> {
        let (mut links, mut objects) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        let mut next = Some((location.to_owned(), checksum));
        while let Some((location, expected)) = next {
            let object = store.resolve(&location).map_err(store_error)?;
            if !seen.insert(object.clone()) || seen.len() > LONGEST {
                return Err(Error::failed(format!(
                    "{location} is its own parent: the chain has no full backup"
                )));
            }
            let info = store.head(&object).await.map_err(|error| {
                let role = match links.is_empty() {
                    true => "backup",
                    false => "parent backup",
                };
                Error::new(
                    store_error_kind(&error),
                    format!("{role} {location}: {error}"),
                )
            })?;
            check(&location, expected.as_deref(), &info.checksum)?;
            let (suffix, coding) = coding_of(&object.name).map_err(backup_error)?;
            check_key(&object.name, coding.sealed, &keys)?;
            links.push(RestoreLink {
                archive: archive(suffix, &location)?,
                location,
                metadata: info.metadata.clone(),
            });
            objects.push(Found {
                object,
                coding,
                checksum: info.checksum,
            });
            next = parent(&info.metadata);
        }
        links.reverse();
        objects.reverse();
        Ok(Self {
            store,
            keys,
            progress,
            retry,
            links,
            objects,
        })
    }
}

fn store_error_kind(error: &object_store::Error) -> datastore::ErrorKind {
    store_error(object_store::Error::new(error.kind(), "")).kind()
}

fn check(location: &str, expected: Option<&str>, actual: &str) -> Result<()> {
    match expected {
        Some(expected) if !expected.is_empty() && expected != actual => {
            Err(Error::failed(format!(
                "{location} has checksum {actual}, not {expected} as recorded: it is another backup \
             or damaged"
            )))
        }
        _ => Ok(()),
    }
}

/// A key that is missing is told before anything is touched, and in few words:
/// Trove keeps 255 characters of a fault.
fn check_key(name: &str, sealed: Sealing, keys: &Keys) -> Result<()> {
    let (key, option) = match sealed {
        Sealing::Clear => return Ok(()),
        Sealing::Age => (
            &keys.passphrase,
            "[guest_agent] backup_encryption_passphrase",
        ),
        Sealing::Legacy => (&keys.legacy, "[DEFAULT] backup_aes_cbc_key"),
    };
    match key {
        Some(_) => Ok(()),
        None => Err(Error::bad_request(format!(
            "Decryption key not configured: set {option} on this guest to restore {name}"
        ))),
    }
}

fn archive(suffix: &str, location: &str) -> Result<Archive> {
    match suffix {
        "xbstream" => Ok(Archive::Xbstream),
        "tar" => Ok(Archive::Tar),
        _ => Err(Error::not_supported(format!(
            "Restoring {location}, an archive of kind {suffix:?},"
        ))),
    }
}

fn parent(metadata: &Metadata) -> Option<(String, Option<String>)> {
    let location = metadata.get("parent_location")?;
    Some((location.clone(), metadata.get("parent_checksum").cloned()))
}

#[async_trait]
impl RestoreSource for Chain {
    fn links(&self) -> &[RestoreLink] {
        &self.links
    }

    async fn open(&self, index: usize) -> Result<Bytestream> {
        let found = self
            .objects
            .get(index)
            .ok_or_else(|| Error::failed("the chain has no such link"))?;
        backup::open(Download {
            store: self.store.clone(),
            object: found.object.clone(),
            coding: found.coding,
            checksum: Some(found.checksum.clone()),
            keys: self.keys.clone(),
            fetches: FETCHES,
            retry: self.retry,
            progress: self.progress.clone(),
        })
        .await
        .map_err(backup_error)
    }
}
