//! Old and new data beside each other on the volume, and which is the good one.
//!
//! As long as the mark of the upgrade is set, the old data is the good one,
//! under its own name or moved aside; what is new is nobody's. Removing the
//! mark is the decision, after which the old data is only in the way.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use datastore::{Error, Result};
use guest::{Attributes, Command};
use tracing::info;

use crate::errors::{io_failed, os_error};
use crate::init::remove_dir;
use crate::marker::Marker;
use crate::wal::size_of;
use crate::{Layout, Server};

/// What a new server needs beside the tables: its catalogues and its WAL.
const MARGIN: u64 = 160 << 20;
/// `pg_upgrade` gives the old data's most important file another name before it
/// shares the others, so that nobody starts a server on them.
const CONTROL: &str = "global/pg_control";
const CONTROL_ASIDE: &str = "global/pg_control.old";

/// How tables come from the old data to the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transfer {
    /// As copies that share blocks until they are written: at once, and the old
    /// data stays whole. Where the file system can.
    Clone,
    /// As copies. Where there is room for them.
    Copy,
    /// As the same files. Without room there is no other way, and no way back
    /// once the new server has started.
    Link,
}

impl Transfer {
    /// The option of `pg_upgrade`.
    pub(super) fn option(self) -> Option<&'static str> {
        match self {
            Self::Clone => Some("--clone"),
            Self::Copy => None,
            Self::Link => Some("--link"),
        }
    }

    /// The rule, in bytes.
    fn choose(clones: bool, data: u64, free: u64) -> Option<Self> {
        match free {
            free if free < MARGIN => None,
            _ if clones => Some(Self::Clone),
            free if free >= data + data / 20 + MARGIN => Some(Self::Copy),
            _ => Some(Self::Link),
        }
    }
}

impl Layout {
    /// Data that is being made.
    pub(super) fn new_data(&self) -> PathBuf {
        self.volume_dir().join("pgdata.new")
    }

    /// Data that was moved aside, and its archive.
    fn old_data(&self) -> PathBuf {
        self.volume_dir().join("pgdata.old")
    }

    fn old_archive(&self) -> PathBuf {
        self.volume_dir().join("wal_archive.old")
    }

    /// Where `pg_upgrade` works.
    pub(super) fn upgrade_dir(&self) -> PathBuf {
        self.mount_point.join(".upgrade")
    }
}

impl Server {
    /// Chooses by what the volume allows.
    pub(super) async fn choose_transfer(&self) -> Result<Transfer> {
        let layout = &self.settings.layout;
        let data = layout.data_dir();
        let failed = |error| io_failed("examine", &layout.mount_point, error);
        let volume = guest::filesystem_stats(&layout.mount_point).map_err(failed)?;
        let free = volume.block_size.saturating_mul(volume.avail_blocks);
        let clones = self.clones_files().await?;
        let size = tokio::task::spawn_blocking(move || size_of(&data));
        let size = size.await.map_err(os_error)?.map_err(failed)?;
        Transfer::choose(clones, size, free).ok_or_else(|| {
            Error::failed(format!(
                "The upgrade needs at least {} MiB of free space on the volume, and there are {}: \
                 enlarge the volume",
                MARGIN >> 20,
                free >> 20
            ))
        })
    }

    /// Whether the file system can share blocks between files: tried.
    async fn clones_files(&self) -> Result<bool> {
        let layout = &self.settings.layout;
        let copy = layout.volume_dir().join(".clone");
        let tried = Command::new("cp")
            .arg("--reflink=always")
            .arg(layout.data_dir().join("PG_VERSION"))
            .arg(&copy)
            .output()
            .await;
        guest::remove_if_exists(&copy).map_err(os_error)?;
        Ok(tried.map_err(os_error)?.status.success())
    }

    /// Puts the new data in the place of the old, and an empty archive in the
    /// place of its. Whatever of it has happened can be undone.
    pub(super) fn swap_data(&self) -> Result<()> {
        let layout = &self.settings.layout;
        rename(&layout.wal_archive(), &layout.old_archive())?;
        let account = &self.settings.account;
        let private = Attributes {
            mode: 0o700,
            owner: Some((account.uid, account.gid)),
        };
        guest::ensure_directory(&layout.wal_archive(), &private).map_err(os_error)?;
        rename(&layout.data_dir(), &layout.old_data())?;
        rename(&layout.new_data(), &layout.data_dir())?;
        sync(&layout.volume_dir())
    }

    /// Decides for the new data, for good.
    pub(super) fn commit_upgrade(&self) -> Result<()> {
        let layout = &self.settings.layout;
        if Marker::Upgrading.is_set(layout) {
            Marker::Upgrading.remove(layout)?;
            sync(&layout.mount_point)?;
            info!("The new data is in use.");
        }
        Ok(())
    }

    /// Without a decision: the old data is put back, whatever has happened. The
    /// server must not run on the new.
    pub(crate) async fn put_old_data_back(&self) -> Result<()> {
        let layout = &self.settings.layout;
        if !Marker::Upgrading.is_set(layout) {
            return Ok(());
        }
        for (own, aside) in [
            (layout.data_dir(), layout.old_data()),
            (layout.wal_archive(), layout.old_archive()),
        ] {
            if aside.is_dir() {
                remove(&own).await?;
                rename(&aside, &own)?;
            }
        }
        let control = layout.data_dir().join(CONTROL);
        let aside = layout.data_dir().join(CONTROL_ASIDE);
        if !control.exists() && aside.exists() {
            rename(&aside, &control)?;
        }
        sync(&layout.volume_dir())?;
        Marker::Unanalysed.remove(layout)?;
        Marker::Upgrading.remove(layout)?;
        sync(&layout.mount_point)?;
        self.sweep_upgrade().await
    }

    /// Removes what an upgrade has left, after its decision.
    pub(super) async fn sweep_upgrade(&self) -> Result<()> {
        let layout = &self.settings.layout;
        for dir in [
            layout.old_data(),
            layout.old_archive(),
            layout.new_data(),
            layout.upgrade_dir(),
        ] {
            remove(&dir).await?;
        }
        Ok(())
    }
}

async fn remove(dir: &Path) -> Result<()> {
    let removed = remove_dir(dir).await;
    removed.map_err(|error| io_failed("remove", dir, error))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|error| io_failed("move", from, error))
}

fn sync(dir: &Path) -> Result<()> {
    let synced = || -> io::Result<()> { File::open(dir)?.sync_all() };
    synced().map_err(|error| io_failed("write", dir, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::server_in;

    #[test]
    fn the_way_back_is_given_up_only_without_room() {
        let gib = 1 << 30;
        for (clones, free, chosen) in [
            (true, gib / 2, Some(Transfer::Clone)),
            (false, 20 * gib, Some(Transfer::Copy)),
            (false, 10 * gib, Some(Transfer::Link)),
            (false, gib, Some(Transfer::Link)),
            (true, MARGIN - 1, None),
            (false, MARGIN - 1, None),
        ] {
            assert_eq!(Transfer::choose(clones, 10 * gib, free), chosen, "{free}");
        }
    }

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Wherever the power fails before the decision, the old data is there
    /// again; afterwards the new.
    #[tokio::test]
    async fn the_good_data_is_known_at_any_time() {
        for step in 0..=6 {
            let dir = tempfile::tempdir().unwrap();
            let server = server_in(dir.path());
            let layout = &server.settings.layout;
            let version = |dir: PathBuf| std::fs::read_to_string(dir.join("PG_VERSION")).unwrap();
            write(&layout.data_dir().join("PG_VERSION"), "15");
            write(&layout.data_dir().join(CONTROL), "old");
            write(&layout.wal_archive().join("segment"), "old");
            Marker::Upgrading.set(layout).unwrap();
            let steps: [&dyn Fn(); 6] = [
                &|| write(&layout.new_data().join("PG_VERSION"), "17"),
                &|| {
                    let control = layout.data_dir().join(CONTROL);
                    rename(&control, &layout.data_dir().join(CONTROL_ASIDE)).unwrap();
                },
                &|| rename(&layout.wal_archive(), &layout.old_archive()).unwrap(),
                &|| write(&layout.wal_archive().join("segment"), "new"),
                &|| rename(&layout.data_dir(), &layout.old_data()).unwrap(),
                &|| rename(&layout.new_data(), &layout.data_dir()).unwrap(),
            ];
            for step in &steps[..step] {
                step();
            }
            server.put_old_data_back().await.unwrap();
            assert_eq!(version(layout.data_dir()), "15", "{step}");
            let segment = std::fs::read_to_string(layout.wal_archive().join("segment"));
            assert_eq!(segment.unwrap(), "old", "{step}");
            assert!(layout.data_dir().join(CONTROL).exists(), "{step}");
            assert!(!layout.old_data().exists() && !layout.new_data().exists());
            assert!(!Marker::Upgrading.is_set(layout));
        }
        let dir = tempfile::tempdir().unwrap();
        let server = server_in(dir.path());
        let layout = &server.settings.layout;
        for (dir, text) in [(layout.data_dir(), "15"), (layout.new_data(), "17")] {
            write(&dir.join("PG_VERSION"), text);
        }
        std::fs::create_dir_all(layout.wal_archive()).unwrap();
        Marker::Upgrading.set(layout).unwrap();
        server.swap_data().unwrap();
        server.commit_upgrade().unwrap();
        server.put_old_data_back().await.unwrap();
        server.sweep_upgrade().await.unwrap();
        let found = std::fs::read_to_string(layout.data_dir().join("PG_VERSION"));
        assert_eq!(found.unwrap(), "17");
        assert!(!layout.old_data().exists());
    }
}
