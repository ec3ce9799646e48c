use std::{path::PathBuf, time::Duration};

use super::FsType;
use crate::{CommandError, FileError};

/// Why the volume is not as it should be. The device is never written to after
/// an error of its content.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The device did not appear, or has no size.
    #[error(
        "{}: no such device with a size after {} s; is the volume attached, and under this name?",
        device.display(), waited.as_secs()
    )]
    NoDevice {
        /// The configured device.
        device: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The path is a file, a directory, a terminal...
    #[error("{}: is not a block device", device.display())]
    NotABlockDevice {
        /// The configured device.
        device: PathBuf,
    },
    /// The device belongs to somebody else.
    #[error("{}: is in use ({by}); release it first", device.display())]
    InUse {
        /// The configured device.
        device: PathBuf,
        /// Mount point, device-mapper or RAID holder, as far as known.
        by: String,
    },
    /// There is something else on the device.
    #[error(
        "{device}: holds {found}, not {wanted}, and was left untouched; attach the right volume \
         or configure the right file system, or if nothing on it is needed, run \
         `wipefs --all {device}`", device = device.display()
    )]
    Foreign {
        /// The configured device.
        device: PathBuf,
        /// The signature, in blkid's words.
        found: String,
        /// The file system asked for.
        wanted: FsType,
    },
    /// There are several signatures, or contradicting ones.
    #[error(
        "{device}: holds contradicting signatures and was left untouched ({detail}); see them \
         with `wipefs {device}` and erase those that are wrong", device = device.display()
    )]
    Ambiguous {
        /// The configured device.
        device: PathBuf,
        /// blkid's words.
        detail: String,
    },
    /// No signature, but data: a damaged file system, an encrypted volume, an
    /// interrupted mkfs, or another program's raw data.
    #[error(
        "{device}: has no known file system but is not blank (data at byte {offset}), and was \
         left untouched; if nothing on it is needed, run `blkdiscard --zeroout {device}`",
        device = device.display()
    )]
    NotBlank {
        /// The configured device.
        device: PathBuf,
        /// Where the first byte is that is not zero.
        offset: u64,
    },
    /// The device is blank where a file system is needed.
    #[error("{}: has no file system", device.display())]
    NotFormatted {
        /// The configured device.
        device: PathBuf,
    },
    /// The file system has errors that e2fsck does not repair unattended.
    #[error(
        "{device}: the file system is damaged; run `e2fsck {device}` by hand ({detail})",
        device = device.display()
    )]
    Damaged {
        /// The configured device.
        device: PathBuf,
        /// The end of e2fsck's report.
        detail: String,
    },
    /// Another file system is mounted where the volume belongs.
    #[error(
        "{}: {source_device} is mounted there, not {}; unmount it and remove its line from fstab",
        mount_point.display(), device.display()
    )]
    Occupied {
        /// The configured mount point.
        mount_point: PathBuf,
        /// What is mounted there.
        source_device: String,
        /// The configured device.
        device: PathBuf,
    },
    /// The volume cannot be unmounted because processes use it.
    #[error("{}: is in use by {holders}", mount_point.display())]
    Busy {
        /// The configured mount point.
        mount_point: PathBuf,
        /// Names and numbers of processes.
        holders: String,
    },
    /// Unmounting succeeds again and again, and the volume is still there.
    #[error("{}: is mounted many times over", mount_point.display())]
    Layered {
        /// The configured mount point.
        mount_point: PathBuf,
    },
    /// mount(8) reported success, but nothing is mounted.
    #[error("{}: was unmounted as soon as it was mounted", mount_point.display())]
    Vanished {
        /// The configured mount point.
        mount_point: PathBuf,
    },
    /// A tool failed or is missing.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file or the device itself could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl VolumeError {
    /// Whether trying again cannot help before somebody changes the guest or
    /// its volume.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NotABlockDevice { .. }
            | Self::Foreign { .. }
            | Self::Ambiguous { .. }
            | Self::NotBlank { .. }
            | Self::Damaged { .. }
            | Self::Occupied { .. } => true,
            Self::Command(error) => error.is_permanent(),
            Self::NoDevice { .. }
            | Self::InUse { .. }
            | Self::NotFormatted { .. }
            | Self::Busy { .. }
            | Self::Layered { .. }
            | Self::Vanished { .. }
            | Self::File(_) => false,
        }
    }
}
