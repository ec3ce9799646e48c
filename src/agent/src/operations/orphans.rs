//! What failed backups may have left in a store: the token had expired, the
//! store was away, or a request that was cut off is carried out late. The next
//! backup to the same place, with rights of its own, removes it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use object_store::{Leftover, ObjectStore};
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::backups::{Driver, StoreAccess};

/// More than ever pile up unless nobody makes a backup that works.
const MOST: usize = 100;

/// Whether requests of the failed backup may still be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It failed just now: what is removed is looked for once more later.
    Possible,
    /// No more.
    Past,
}

/// One of them. No secret is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Orphan {
    driver: Driver,
    storage_url: String,
    leftover: Leftover,
}

/// The list on disk.
pub struct OrphanList {
    path: PathBuf,
    /// One change at a time.
    changing: Mutex<()>,
}

impl OrphanList {
    /// The list at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            changing: Mutex::default(),
        }
    }

    /// Notes what stays.
    pub fn keep(&self, access: &StoreAccess, leftovers: Vec<Leftover>) {
        if leftovers.is_empty() {
            return;
        }
        self.change(|orphans| {
            orphans.extend(leftovers.into_iter().map(|leftover| Orphan {
                driver: access.driver,
                storage_url: access.storage_url.clone(),
                leftover,
            }));
            orphans.drain(..orphans.len().saturating_sub(MOST));
        });
    }

    /// Removes what stays in a store that can be reached now.
    pub async fn sweep(&self, store: &dyn ObjectStore, access: &StoreAccess, late: Late) {
        let of_store = |orphan: &Orphan| {
            orphan.driver == access.driver && orphan.storage_url == access.storage_url
        };
        for orphan in self.read().into_iter().filter(of_store) {
            let object = &orphan.leftover.object;
            match remove(store, &orphan.leftover).await {
                Ok(()) => {
                    info!(%object, "What a failed backup may have left is removed.");
                    if late == Late::Past {
                        self.change(|orphans| orphans.retain(|other| *other != orphan));
                    }
                }
                Err(error) => {
                    warn!(%object, %error, "What a failed backup may have left is not removed.");
                    // What refuses one refuses the others, after as long a wait.
                    return;
                }
            }
        }
    }

    fn read(&self) -> Vec<Orphan> {
        match guest::read_optional(&self.path) {
            Ok(None) => Vec::new(),
            Ok(Some(text)) => serde_json::from_str(&text).unwrap_or_else(|error| {
                error!(path = %self.path.display(), %error, "List of orphans damaged.");
                Vec::new()
            }),
            Err(error) => {
                error!(%error, "List of orphans unreadable.");
                Vec::new()
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Orphan>)) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut orphans = self.read();
        change(&mut orphans);
        let written = match orphans.is_empty() {
            true => guest::remove_if_exists(&self.path).map(drop),
            false => guest::write_atomic(
                &self.path,
                serde_json::to_string_pretty(&orphans)
                    .unwrap_or_default()
                    .as_bytes(),
                &guest::Attributes {
                    mode: 0o600,
                    owner: None,
                },
            ),
        };
        if let Err(error) = written {
            error!(%error, "List of orphans not written.");
        }
    }
}

/// The whole object, too: a backup that was reported as failed has none.
async fn remove(store: &dyn ObjectStore, leftover: &Leftover) -> object_store::Result<()> {
    store.delete(&leftover.object).await?;
    store.remove_leftover(leftover).await
}
