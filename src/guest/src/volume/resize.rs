//! Growing the file system after its device has grown.

use std::time::Duration;

use tracing::info;

use super::{
    VolumeError, VolumeSpec, check, device,
    probe::{self, Content, Filesystem},
};
use crate::Command;

/// Growing writes the new groups' metadata only, but a slow disk and a volume
/// of terabytes take their time.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// How often systemd may mount the volume again behind our back.
const TAKEOVERS: u32 = 3;

pub(super) async fn resize(spec: &VolumeSpec, online: bool) -> Result<(), VolumeError> {
    device::wait(&spec.device, spec.num_tries).await?;
    let filesystem = match probe::probe(spec).await? {
        Content::Filesystem(filesystem) => filesystem,
        Content::Blank => {
            return Err(VolumeError::NotFormatted {
                device: spec.device.clone(),
            });
        }
    };
    if online && spec.is_mounted()? {
        grow(spec, &filesystem).await?;
    } else {
        release(spec).await?;
        grow_unmounted(spec, &filesystem).await?;
    }
    info!(
        device = %spec.device.display(), device_bytes = device::size(&spec.device)?, online,
        "File system has the size of its device."
    );
    Ok(())
}

/// Unmounts the volume and makes sure it stays so: systemd mounts it by itself
/// when the device of an fstab line appears.
async fn release(spec: &VolumeSpec) -> Result<(), VolumeError> {
    for _ in 0..TAKEOVERS {
        spec.unmount().await?;
        if device::wait_free(spec).await? {
            return Ok(());
        }
    }
    Err(VolumeError::Layered {
        mount_point: spec.mount_point.clone(),
    })
}

async fn grow_unmounted(spec: &VolumeSpec, filesystem: &Filesystem) -> Result<(), VolumeError> {
    if filesystem.kind.is_ext() {
        check::check(spec, filesystem, true).await?;
        return grow(spec, filesystem).await;
    }
    // xfs grows while mounted and in no other way.
    spec.attach(filesystem).await?;
    let grown = grow(spec, filesystem).await;
    let unmounted = spec.unmount().await;
    grown.and(unmounted)
}

/// resize2fs takes the device, mounted or not; xfs_growfs the mount point.
async fn grow(spec: &VolumeSpec, filesystem: &Filesystem) -> Result<(), VolumeError> {
    let command = if filesystem.kind.is_ext() {
        Command::new("resize2fs").arg(&spec.device)
    } else {
        Command::new("xfs_growfs").arg(&spec.mount_point)
    };
    command.timeout(LIMIT).run().await?;
    Ok(())
}
