//! The data volume: a whole block device with one file system, mounted at one
//! place.
//!
//! The rule above all others: a device is formatted only when it is blank, and
//! blank means that blkid(8) knows no signature on it *and* that its beginning
//! and its end read as zeros. Everything else is either the file system that is
//! wanted, or an error that says what was found.

mod check;
mod device;
mod error;
mod format;
mod fstab;
mod holders;
mod mountinfo;
mod probe;
mod resize;
mod stats;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use tracing::{debug, info};

pub use error::VolumeError;
pub use stats::{FilesystemStats, filesystem_stats};

use crate::{Attributes, Command, FileError, ensure_directory};
use mountinfo::Occupant;
use probe::{Content, Filesystem};

const FSTAB: &str = "/etc/fstab";
/// A mount point can be covered more than once, by systemd and by us.
const MOUNT_LAYERS: u32 = 8;

/// Which device is to be mounted where, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// The block device, such as `/dev/vdb`.
    pub device: PathBuf,
    /// The directory it is mounted at.
    pub mount_point: PathBuf,
    /// The file system a blank device gets. A device with ext3 is accepted
    /// where ext4 is wanted and the other way round, as what it is.
    pub fstype: FsType,
    /// Options of mkfs, already split into words.
    pub format_options: Vec<String>,
    /// Comma-separated options as for `mount -o`.
    pub mount_options: String,
    /// Limit for mkfs.
    pub format_timeout: Duration,
    /// Limit for every other short command.
    pub command_timeout: Duration,
    /// For how many spans of 10 s the device is waited for, at least one.
    pub num_tries: u32,
}

/// File systems a data volume can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsType {
    /// Trove's default until 2025.1.
    Ext3,
    /// Trove's default since.
    Ext4,
    /// The one that can also grow while mounted without resize2fs.
    Xfs,
}

impl FsType {
    /// The name mount(8) and blkid(8) use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    fn is_ext(self) -> bool {
        matches!(self, Self::Ext3 | Self::Ext4)
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FsType {
    type Err = UnknownFsType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Ext3, Self::Ext4, Self::Xfs]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or(UnknownFsType)
    }
}

/// The name is none of those of [`FsType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown file system; use ext3, ext4 or xfs")]
pub struct UnknownFsType;

/// What [`VolumeSpec::ensure_mounted`] found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountState {
    /// It was mounted already.
    AlreadyMounted,
    /// It had its file system, and was mounted.
    Mounted,
    /// It was blank, got a file system, and was mounted.
    Formatted,
}

/// Files of the system that belong to a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFiles {
    /// fstab(5), where the volume's line is kept, so that it is mounted at boot.
    pub fstab: PathBuf,
    /// Exists while the volume is being formatted; on the root disk, in the
    /// agent's own directory.
    pub formatting: PathBuf,
}

impl Default for VolumeFiles {
    /// `/etc/fstab`, and a file in the agent's `StateDirectory=`.
    fn default() -> Self {
        Self {
            fstab: FSTAB.into(),
            formatting: "/var/lib/trove-guestagent/formatting".into(),
        }
    }
}

impl VolumeSpec {
    /// Waits for the device, formats it if (and only if) it is blank, checks
    /// the file system, mounts it, and makes `/etc/fstab` mount it at boot.
    /// Idempotent, also after a crash at any point.
    pub async fn ensure_mounted(&self) -> Result<MountState, VolumeError> {
        self.ensure_mounted_with(&VolumeFiles::default()).await
    }

    /// As [`ensure_mounted`](Self::ensure_mounted), with other files in the
    /// place of the system's.
    pub async fn ensure_mounted_with(
        &self,
        files: &VolumeFiles,
    ) -> Result<MountState, VolumeError> {
        let state = self.bring_up(Some(&files.formatting)).await?;
        self.record(&files.fstab).await?;
        Ok(state)
    }

    /// Mounts the volume, which must have its file system already; `/etc/fstab`
    /// is left alone. Already mounted is success.
    pub async fn mount(&self) -> Result<(), VolumeError> {
        self.bring_up(None).await.map(drop)
    }

    /// Unmounts the volume; not mounted is success. When it is in use, the
    /// error names the processes.
    pub async fn unmount(&self) -> Result<(), VolumeError> {
        for _ in 0..MOUNT_LAYERS {
            if !self.is_mounted()? {
                return Ok(());
            }
            let umount = Command::new("umount").arg("--").arg(&self.mount_point);
            let Err(error) = umount.timeout(self.command_timeout).run().await else {
                continue;
            };
            if !self.is_mounted()? {
                return Ok(());
            }
            let holders = holders::of(&self.mount_point);
            if holders.is_empty() {
                return Err(error.into());
            }
            return Err(VolumeError::Busy {
                mount_point: self.mount_point.clone(),
                holders,
            });
        }
        Err(VolumeError::Layered {
            mount_point: self.mount_point.clone(),
        })
    }

    /// Grows the file system to the size of its device. With `online`, in place
    /// if it is mounted; otherwise it is unmounted, checked, grown, and left
    /// unmounted. Nothing to grow is success.
    pub async fn resize(&self, online: bool) -> Result<(), VolumeError> {
        resize::resize(self, online).await
    }

    /// Whether this device is mounted at the mount point. Something else there
    /// is an error.
    pub fn is_mounted(&self) -> Result<bool, VolumeError> {
        match mountinfo::occupant(&self.device, &self.mount_point)? {
            Occupant::Nothing => Ok(false),
            Occupant::Device => Ok(true),
            Occupant::Other { source } => Err(VolumeError::Occupied {
                mount_point: self.mount_point.clone(),
                source_device: source,
                device: self.device.clone(),
            }),
        }
    }

    /// Formats a blank device only with a `marker` to leave meanwhile.
    async fn bring_up(&self, marker: Option<&Path>) -> Result<MountState, VolumeError> {
        if self.is_mounted()? {
            return Ok(MountState::AlreadyMounted);
        }
        device::wait(&self.device, self.num_tries).await?;
        if !device::wait_free(self).await? {
            return Ok(MountState::AlreadyMounted);
        }
        if let Some(marker) = marker {
            format::undo_interrupted(self, marker)?;
        }
        let (filesystem, state) = match (probe::probe(self).await?, marker) {
            (Content::Filesystem(found), _) => {
                check::check(self, &found, false).await?;
                (found, MountState::Mounted)
            }
            (Content::Blank, Some(marker)) => {
                (format::format(self, marker).await?, MountState::Formatted)
            }
            (Content::Blank, None) => {
                return Err(VolumeError::NotFormatted {
                    device: self.device.clone(),
                });
            }
        };
        if self.attach(&filesystem).await? {
            Ok(state)
        } else {
            Ok(MountState::AlreadyMounted)
        }
    }

    /// Runs mount(8); `false` when somebody else (systemd, by `/etc/fstab`) was
    /// faster.
    async fn attach(&self, filesystem: &Filesystem) -> Result<bool, VolumeError> {
        if !self.mount_point.is_dir() {
            ensure_directory(
                &self.mount_point,
                &Attributes {
                    mode: 0o755,
                    owner: None,
                },
            )?;
        }
        let mount = Command::new("mount")
            .args(["-t", filesystem.kind.as_str(), "-o", self.options(), "--"])
            .args([&self.device, &self.mount_point])
            .timeout(self.command_timeout);
        let result = mount.run().await;
        let mounted = self.is_mounted()?;
        match result {
            Ok(_) if mounted => {
                info!(
                    device = %self.device.display(), mount_point = %self.mount_point.display(),
                    fstype = %filesystem.kind, uuid = filesystem.uuid, "Volume mounted."
                );
                Ok(true)
            }
            Ok(_) => Err(VolumeError::Vanished {
                mount_point: self.mount_point.clone(),
            }),
            Err(error) if mounted => {
                debug!(%error, "The volume was mounted by somebody else.");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn options(&self) -> &str {
        if self.mount_options.is_empty() {
            "defaults"
        } else {
            &self.mount_options
        }
    }

    /// Makes fstab(5) mount what is mounted now, by its UUID.
    async fn record(&self, fstab: &Path) -> Result<(), VolumeError> {
        let Content::Filesystem(filesystem) = probe::probe(self).await? else {
            // Only a device that was overwritten under a live mount gets here.
            return Err(VolumeError::NotFormatted {
                device: self.device.clone(),
            });
        };
        let entry = fstab::Entry::new(&filesystem, &self.mount_point, self.options());
        if !fstab::update(fstab, &entry)? {
            return Ok(());
        }
        info!(fstab = %fstab.display(), uuid = filesystem.uuid, "Volume recorded for the next boot.");
        // systemd knows the mount already; it reads the file at the next boot, or
        // with the reload that enabling a unit brings.
        Ok(())
    }

    fn io_error<'a>(
        &'a self,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> VolumeError + 'a {
        move |reason| FileError::new(&self.device, action)(reason).into()
    }
}
