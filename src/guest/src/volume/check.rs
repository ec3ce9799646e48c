//! Checking a file system before it is mounted.

use std::time::Duration;

use tracing::warn;

use super::{VolumeError, VolumeSpec, probe::Filesystem};
use crate::Command;

/// Replaying a journal takes seconds; a full check of a big volume, minutes.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// e2fsck(8), "Exit code": 1 errors corrected, 2 reboot (of no concern to a
/// volume that is not mounted yet). The other bits say that it is not sound.
const TOLERATED: i32 = 1 | 2;

/// Lets e2fsck replay the journal and repair what is safe to repair; `force`
/// checks in full even when the file system is marked clean, which resize2fs
/// asks for. xfs replays its journal when it is mounted, and has nothing else
/// that should run unattended.
pub(super) async fn check(
    spec: &VolumeSpec,
    filesystem: &Filesystem,
    force: bool,
) -> Result<(), VolumeError> {
    if !filesystem.kind.is_ext() {
        return Ok(());
    }
    let options: &[&str] = if force { &["-f", "-p"] } else { &["-p"] };
    let e2fsck = Command::new("e2fsck")
        .args(options)
        .arg(&spec.device)
        .timeout(LIMIT);
    let output = e2fsck.output().await?;
    let report = output.stdout_text();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) if code & !TOLERATED == 0 => {
            warn!(device = %spec.device.display(), report = report.trim(), "File system repaired.");
            Ok(())
        }
        // 4: errors left uncorrected. Others are e2fsck's own troubles.
        Some(code) if code & 4 != 0 => {
            let detail = crate::command::text_tail(report.as_bytes(), 1 << 10);
            Err(VolumeError::Damaged {
                device: spec.device.clone(),
                detail,
            })
        }
        _ => Err(output.into_error("e2fsck").into()),
    }
}
