//! One backup, from the datastore's tool to a verified object.

use std::sync::Arc;

use backup::{Orphans, Progress, Remember, Upload, UploadSettings};
use datastore::{Archive, BackupRequest, BackupStream, Datastore, Error, Result};
use object_store::{Metadata, ObjectName, ObjectStore};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{BackupInfo, Parent, backup_error, store_error};

/// The longest metadata value that Swift takes (`max_meta_value_length`).
const META_LIMIT: usize = 256;

/// A finished backup.
#[derive(Debug)]
pub struct Made {
    /// URL of the object.
    pub location: String,
    /// Its checksum.
    pub checksum: String,
    /// Bytes in the store.
    pub stored: u64,
    /// Bytes of the tool's stream.
    pub plain: u64,
}

/// The object of a backup.
fn plan_name(container: &str, id: &str, archive: Archive, settings: &UploadSettings) -> ObjectName {
    ObjectName {
        container: container.to_owned(),
        name: backup::object_name(
            id,
            archive.suffix(),
            settings.compression,
            settings.passphrase.is_some(),
        ),
    }
}

/// What a backup is made of and with.
pub struct Making<'a> {
    /// The server.
    pub datastore: &'a dyn Datastore,
    /// Where the backup goes.
    pub store: Arc<dyn ObjectStore>,
    /// The same, by name.
    pub container: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Its parent, and what its metadata says.
    pub info: &'a BackupInfo,
    /// How it is stored.
    pub settings: UploadSettings,
    /// Counts what has passed.
    pub progress: Progress,
    /// Ends it.
    pub cancel: CancellationToken,
    /// Where it is noted what may stay in the store.
    pub orphans: Orphans,
}

/// Makes a backup. Whatever fails, nothing of it stays on this machine, and
/// what may stay in the store is noted in `orphans`.
///
/// # Errors
/// The reason, fit for the user.
pub async fn make(making: Making<'_>, remember: Remember<'_>) -> Result<Made> {
    let Making {
        datastore,
        store,
        container,
        id,
        info,
        settings,
        progress,
        cancel,
        orphans,
    } = making;
    let mut metadata = Metadata::new();
    for (key, value) in [
        ("datastore", &info.datastore),
        ("datastore_version", &info.datastore_version),
    ] {
        if let Some(value) = value {
            metadata.insert(key.into(), value.clone());
        }
    }
    let parent = match &info.parent {
        Some(parent) => Some(look_at_parent(store.as_ref(), parent, &mut metadata).await?),
        None => None,
    };
    store
        .ensure_container(container)
        .await
        .map_err(store_error)?;
    let request = BackupRequest {
        id: id.to_owned(),
        parent,
    };
    let mut stream = datastore.start_backup(&request).await?;
    let object = plan_name(container, id, stream.archive(), &settings);
    info!(
        backup_id = id,
        object = object.name,
        container,
        estimate = stream.estimate(),
        "Backup begun."
    );
    let upload = Upload {
        store,
        object,
        settings,
        progress: progress.clone(),
        cancel,
        orphans,
    };
    let reader = stream.reader();
    let sent = match upload.send(reader, stream.estimate(), remember).await {
        Ok(sent) => sent,
        Err(error) => return Err(why(error, stream).await),
    };
    let found = match stream.finish().await {
        Ok(found) => found,
        Err(error) => {
            sent.abort().await;
            return Err(error);
        }
    };
    metadata.extend(found);
    let stored = sent.complete(&metadata).await.map_err(backup_error)?;
    Ok(Made {
        location: stored.location,
        checksum: stored.checksum,
        stored: stored.size,
        plain: progress.plain(),
    })
}

/// A stream that broke has a better reason than that: what the tool says.
async fn why(error: backup::Error, stream: Box<dyn BackupStream>) -> Error {
    if !matches!(error, backup::Error::Source(_)) {
        stream.abort().await;
    } else if let Err(verdict) = stream.finish().await {
        return verdict;
    }
    backup_error(error)
}

/// The parent must be there, and be what the control plane recorded.
async fn look_at_parent(
    store: &dyn ObjectStore,
    parent: &Parent,
    metadata: &mut Metadata,
) -> Result<Metadata> {
    let object = store.resolve(&parent.location).map_err(store_error)?;
    let info = store.head(&object).await.map_err(|error| {
        let text = format!("the parent backup {}: {error}", parent.location);
        Error::new(store_error(error).kind(), text)
    })?;
    if let Some(expected) = &parent.checksum
        && *expected != info.checksum
    {
        return Err(Error::failed(format!(
            "the parent backup {} has checksum {}, not {expected} as recorded: make a full backup",
            object.name, info.checksum
        )));
    }
    // Whoever restores reads the last two parts of the path only.
    let location = match parent.location.len() <= META_LIMIT {
        true => parent.location.clone(),
        false => format!("{}/{}", object.container, object.name),
    };
    metadata.insert("parent_location".into(), location);
    metadata.insert("parent_checksum".into(), info.checksum);
    Ok(info.metadata)
}
