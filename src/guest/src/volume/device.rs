//! Waiting for the block device to be there and to be free.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

use nix::{errno::Errno, libc};
use tokio::time::{self, Instant};
use tracing::info;

use super::{VolumeError, VolumeSpec, mountinfo};
use crate::{FileError, Watch};

/// What one of `num_tries` is worth when a device is waited for.
pub(super) const WAIT_PER_TRY: Duration = Duration::from_secs(10);
/// A device's size has no event: a node that is there but empty is looked at
/// again this often.
const SIZE_POLL: Duration = Duration::from_millis(500);
/// How long systemd may check and mount the volume on its own before the
/// device counts as taken.
const SETTLE: Duration = Duration::from_secs(15);
const SETTLE_POLL: Duration = Duration::from_millis(200);

/// Waits until the device node is there and has a size.
pub(super) async fn wait(device: &Path, num_tries: u32) -> Result<(), VolumeError> {
    let limit = WAIT_PER_TRY * num_tries.max(1);
    let deadline = Instant::now() + limit;
    // The watch comes before the look, so that no appearance is missed.
    let mut nodes = Watch::new().map_err(FileError::new(device, "watch"))?;
    let mut told = false;
    loop {
        nodes.follow(device);
        if size(device)?.is_some_and(|bytes| bytes > 0) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(VolumeError::NoDevice {
                device: device.to_owned(),
                waited: limit,
            });
        }
        if !std::mem::replace(&mut told, true) {
            info!(device = %device.display(), limit_s = limit.as_secs(), "Waiting for the device.");
        }
        nodes
            .changed(deadline.min(Instant::now() + SIZE_POLL))
            .await;
    }
}

/// Size in bytes; `None` while there is no such device.
pub(super) fn size(device: &Path) -> Result<Option<u64>, VolumeError> {
    let metadata = match fs::metadata(device) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new(device, "look up")(error).into()),
    };
    if !metadata.file_type().is_block_device() {
        return Err(VolumeError::NotABlockDevice {
            device: device.to_owned(),
        });
    }
    match File::open(device).and_then(|mut file| file.seek(SeekFrom::End(0))) {
        Ok(bytes) => Ok(Some(bytes)),
        // The node is there before, and sometimes after, its device.
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(FileError::new(device, "open")(error).into()),
    }
}

fn is_absence(error: &io::Error) -> bool {
    const ABSENT: [i32; 4] = [libc::ENOENT, libc::ENXIO, libc::ENODEV, libc::ENOMEDIUM];
    error
        .raw_os_error()
        .is_some_and(|code| ABSENT.contains(&code))
}

/// Opens the device so that nobody else holds it: for block devices the kernel
/// refuses `O_EXCL` with `EBUSY` while it is mounted in any namespace, is swap,
/// belongs to device-mapper or RAID, or is being checked or formatted (open(2)).
pub(super) fn open_exclusive(device: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_EXCL)
        .open(device)
}

/// Waits until nobody holds the device. `false` when it gets mounted at its
/// mount point meanwhile: systemd does so by itself, after its own check, when
/// the device of an fstab line appears.
pub(super) async fn wait_free(spec: &VolumeSpec) -> Result<bool, VolumeError> {
    let deadline = Instant::now() + SETTLE;
    loop {
        if spec.is_mounted()? {
            return Ok(false);
        }
        match open_exclusive(&spec.device, false) {
            Ok(_) => return Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {}
            Err(error) => return Err(spec.io_error("open")(error)),
        }
        let owner = owner(&spec.device)?;
        if owner.is_some() || Instant::now() >= deadline {
            let by = owner.unwrap_or_else(|| "a check or another program".to_owned());
            // The mount may have been completed between the two looks.
            return if spec.is_mounted()? {
                Ok(false)
            } else {
                Err(VolumeError::InUse {
                    device: spec.device.clone(),
                    by,
                })
            };
        }
        // The end of another program's use has no event.
        time::sleep(SETTLE_POLL).await;
    }
}

/// Who holds the device for long, if the kernel tells.
fn owner(device: &Path) -> Result<Option<String>, VolumeError> {
    let Some(number) = mountinfo::number(device) else {
        return Ok(None);
    };
    let mounts = mountinfo::read()?;
    if let Some(mount) = mounts.iter().find(|mount| mount.device == number) {
        return Ok(Some(format!("mounted at {}", mount.mount_point.display())));
    }
    let sysfs = format!("/sys/dev/block/{}:{}", number.0, number.1);
    let sysfs = Path::new(&sysfs);
    if let Some(holder) = names(&sysfs.join("holders")).first() {
        return Ok(Some(format!("part of {holder}")));
    }
    let partition = names(sysfs)
        .into_iter()
        .find(|name| sysfs.join(name).join("partition").exists());
    Ok(partition.map(|name| format!("its partition {name}")))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_block_devices_count() {
        for other in ["/dev/null", "/etc/passwd", "/dev"] {
            let error = size(Path::new(other)).unwrap_err();
            assert!(
                matches!(error, VolumeError::NotABlockDevice { .. }),
                "{other}: {error}"
            );
        }
        assert_eq!(size(Path::new("/dev/no-such-device")).unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_device_is_waited_for_and_reported() {
        let started = Instant::now();
        let error = wait(Path::new("/dev/no-such/device"), 2).await.unwrap_err();
        assert!(error.to_string().contains("after 20 s"), "{error}");
        assert!(started.elapsed() >= WAIT_PER_TRY * 2);
    }
}
