//! `backup_info` of a request (`trove/backup/models.py`,
//! `trove/taskmanager/models.py`). Its keys differ between making a backup
//! and restoring one; what is absent has upstream's default.

use serde::Deserialize;

/// The backup an incremental one adds to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Parent {
    /// URL of its object.
    pub location: String,
    /// Its checksum.
    #[serde(default)]
    pub checksum: Option<String>,
}

/// What the control plane says about a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct BackupInfo {
    /// Id of the backup; absent when a remote one is restored.
    #[serde(default)]
    pub id: Option<String>,
    /// `full` or `incremental`, when making one.
    #[serde(default)]
    pub backup_type: Option<String>,
    /// What an incremental one adds to.
    #[serde(default)]
    pub parent: Option<Parent>,
    /// Name of the datastore, for the object's metadata.
    #[serde(default)]
    pub datastore: Option<String>,
    /// Name of its version, for the object's metadata.
    #[serde(default)]
    pub datastore_version: Option<String>,
    /// `swift`, `cinder`, ...; absent before 2025.1.
    #[serde(default)]
    pub storage_driver: Option<String>,
    /// Container chosen by the user.
    #[serde(default)]
    pub swift_container: Option<String>,
    /// URL of the project's account; absent before 26.0.
    #[serde(default)]
    pub swift_url: Option<String>,
    /// URL of the object to restore.
    #[serde(default)]
    pub location: Option<String>,
    /// Checksum of the object to restore.
    #[serde(default)]
    pub checksum: Option<String>,
}

impl BackupInfo {
    /// Whether volume snapshots are meant, which the control plane makes.
    pub fn is_snapshot(&self, default_driver: &str) -> bool {
        self.storage_driver.as_deref().unwrap_or(default_driver) == "cinder"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_keys_of_making_and_of_restoring() {
        let making: BackupInfo = serde_json::from_value(json!({
            "id": "b1", "name": "n", "description": null, "instance_id": "i",
            "backup_type": "incremental", "checksum": null, "swift_container": null,
            "parent": {"location": "http://s/c/p.xbstream.gz", "checksum": "abc"},
            "datastore": "mysql", "datastore_version": "8.0", "storage_driver": "swift",
            "swift_url": "http://s"
        }))
        .unwrap();
        assert_eq!(making.parent.unwrap().checksum.as_deref(), Some("abc"));
        let restoring: BackupInfo = serde_json::from_value(json!({
            "id": "b1", "instance_id": "i", "location": "http://s/c/b1.xbstream.gz",
            "type": "mariabackup", "checksum": "abc"
        }))
        .unwrap();
        assert!(!restoring.is_snapshot("swift"));
        assert!(restoring.is_snapshot("cinder"));
    }
}
