//! Where logs are published.

use std::time::Duration;

use async_trait::async_trait;
use datastore::Result;
use object_store::{ErrorKind, Metadata, ObjectName, ObjectStore as _, Swift};

use crate::backups::store_error;

/// A container for published logs.
#[async_trait]
pub trait LogStore: Send + Sync {
    /// Makes the container if there is none.
    async fn ensure(&self) -> Result<()>;

    /// The bytes of a small object, if it is there.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Size and MD5 of an object, if it is there.
    async fn look(&self, name: &str) -> Result<Option<(u64, String)>>;

    /// Stores an object, and how many lines are in it.
    async fn put(&self, name: &str, body: Vec<u8>, lines: Option<u64>) -> Result<()>;

    /// Names and sizes of the objects whose names begin with `prefix`.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>>;

    /// Removes an object; none is success.
    async fn delete(&self, name: &str) -> Result<()>;
}

/// Logs in Swift.
#[derive(Debug)]
pub struct SwiftLogs {
    /// The account of the request's project.
    pub swift: Swift,
    /// Container.
    pub container: String,
    /// How long objects live.
    pub lifetime: Duration,
}

impl SwiftLogs {
    fn object(&self, name: &str) -> ObjectName {
        ObjectName {
            container: self.container.clone(),
            name: name.to_owned(),
        }
    }
}

#[async_trait]
impl LogStore for SwiftLogs {
    async fn ensure(&self) -> Result<()> {
        self.swift
            .ensure_expiring_container(&self.container, self.lifetime)
            .await
            .map_err(store_error)
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let found = found(self.swift.get(&self.object(name)).await)?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    async fn look(&self, name: &str) -> Result<Option<(u64, String)>> {
        let info = found(self.swift.head(&self.object(name)).await)?;
        Ok(info.map(|info| (info.size, info.checksum)))
    }

    async fn put(&self, name: &str, body: Vec<u8>, lines: Option<u64>) -> Result<()> {
        let mut metadata = Metadata::new();
        if let Some(lines) = lines {
            metadata.insert("lines".into(), lines.to_string());
        }
        self.swift
            .put_expiring(&self.object(name), body.into(), &metadata, self.lifetime)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let listed = found(self.swift.list(&self.container, prefix).await)?;
        let listed = listed.unwrap_or_default().into_iter();
        Ok(listed.map(|object| (object.name, object.size)).collect())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.swift
            .delete(&self.object(name))
            .await
            .map_err(store_error)
    }
}

/// Nothing instead of the error for what does not exist.
fn found<T>(result: object_store::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(store_error(error)),
    }
}
