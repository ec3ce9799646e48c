//! Manifests of backups, kept on the volume: an increment of changed blocks
//! begins at the one of its parent.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use datastore::Result;
use guest::Attributes;
use tracing::warn;

use crate::Server;
use crate::errors::{io_failed, os_error};
use crate::overrides::{Group, Overrides};

/// Backups that can be added to; the oldest make room for newer ones.
const KEPT: usize = 32;
/// The override by which the server remembers changed blocks.
const OVERRIDE: &str = "summaries";

impl Server {
    fn manifest_dir(&self) -> PathBuf {
        self.settings.layout.mount_point.join("backup-manifests")
    }

    /// The manifest of a backup, if it was kept.
    pub(crate) fn manifest_of(&self, label: &str) -> Option<PathBuf> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        let known = !label.is_empty() && !label.starts_with('.') && label.bytes().all(plain);
        let path = self.manifest_dir().join(label);
        (known && path.is_file()).then_some(path)
    }

    /// Forgets all backups: nothing can be added to them any more.
    pub(crate) fn forget_manifests(&self) -> Result<()> {
        let dir = self.manifest_dir();
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_failed("remove", &dir, error))
            }
            _ => Ok(()),
        }
    }

    /// Lets the server remember which blocks change, from now on.
    pub(crate) async fn switch_summaries_on(&self) -> Result<()> {
        let overrides = Overrides::new(&self.settings.layout.include_dir);
        let mut document = overrides.read(Group::SystemEarly, OVERRIDE)?;
        if document.get("summarize_wal") == Some("on") {
            return Ok(());
        }
        document.set("summarize_wal", "on");
        overrides.write(Group::SystemEarly, OVERRIDE, &document)?;
        self.reload(&BTreeMap::new()).await.map(drop)
    }
}

/// Where a finished backup leaves its manifest.
#[derive(Debug)]
pub(crate) struct Shelf {
    dir: PathBuf,
    id: String,
}

impl Shelf {
    pub(crate) fn of(server: &Server, id: &str) -> Self {
        Self {
            dir: server.manifest_dir(),
            id: id.to_owned(),
        }
    }

    /// Keeps it. Without it the next increment is made in another way.
    pub(crate) fn keep(&self, manifest: &[u8]) {
        if let Err(error) = self.write(manifest) {
            warn!(%error, "The manifest of the backup is not kept.");
        }
    }

    fn write(&self, manifest: &[u8]) -> Result<()> {
        let attributes = |mode| Attributes { mode, owner: None };
        guest::ensure_directory(&self.dir, &attributes(0o700)).map_err(os_error)?;
        guest::write_atomic(&self.dir.join(&self.id), manifest, &attributes(0o600))
            .map_err(os_error)?;
        remove_oldest(&self.dir).map_err(|error| io_failed("clean", &self.dir, error))
    }
}

fn remove_oldest(dir: &Path) -> io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let superfluous = files.len().saturating_sub(KEPT);
    for (_, path) in files.drain(..superfluous) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::server_in;

    #[test]
    fn manifests_are_kept_by_id_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        std::fs::create_dir_all(&server.settings.layout.mount_point).unwrap();
        assert_eq!(server.manifest_of("b-0"), None);
        for number in 0..KEPT + 3 {
            Shelf::of(&server, &format!("b-{number}")).keep(b"{}");
        }
        let path = server.manifest_of(&format!("b-{}", KEPT + 2)).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"{}");
        let left = std::fs::read_dir(server.manifest_dir()).unwrap().count();
        assert_eq!(left, KEPT);
        for label in ["", "..", "../volume", "a b"] {
            assert_eq!(server.manifest_of(label), None, "{label}");
        }
    }
}
