//! The configuration files that cloud-init wrote.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tracing::{info, warn};

/// What "other" users may do with a file.
const OTHERS: u32 = 0o007;

/// Takes access by others away from configuration files: Trove injects them
/// without a mode, so cloud-init leaves the RPC key and the broker's password
/// readable by every account of the guest. Owner and group keep theirs, so
/// upstream's agent could still read them.
pub fn close_to_others<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) {
    for file in files {
        let path = file.as_ref();
        match close(path) {
            Ok(true) => info!(path = %path.display(), "Configuration closed to other users."),
            Ok(false) => {}
            Err(error) => {
                warn!(%error, path = %path.display(), "Configuration is readable by other users.");
            }
        }
    }
}

fn close(path: &Path) -> std::io::Result<bool> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.mode() & OTHERS == 0 {
        return Ok(false);
    }
    file.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777 & !OTHERS))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_others_lose_access() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest_info.conf");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        close_to_others([&path]);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert!(!close(&path).unwrap());
    }
}
