//! File systems that stand still, for snapshots of their volume.

use std::path::Path;

use crate::{Command, CommandError};

/// Stops all writing to the file system mounted at `mount_point`, with what
/// was written on the disk. Whoever writes waits until [`thaw`].
pub async fn freeze(mount_point: &Path) -> Result<(), CommandError> {
    // util-linux; the ioctl itself (FIFREEZE) is unsafe code.
    let command = Command::new("fsfreeze").arg("--freeze");
    command.arg(mount_point).run().await.map(drop)
}

/// Lets a frozen file system go on.
pub async fn thaw(mount_point: &Path) -> Result<(), CommandError> {
    let command = Command::new("fsfreeze").arg("--unfreeze");
    command.arg(mount_point).run().await.map(drop)
}
