//! Directories on the data volume that live as long as one backup or restore.

use std::path::Path;

use datastore::Result;
pub(crate) use managed::{Scratch, io_failed};

/// What the names of these directories begin with.
const PREFIXES: [&str; 3] = [BACKUP, CLONE, INCREMENT];
/// Of a backup tool: its option file and temporary files.
pub(crate) const BACKUP: &str = ".backup-";
/// Of a clone of the data.
pub(crate) const CLONE: &str = ".clone-";
/// Of an increment that is being added to a full backup.
pub(crate) const INCREMENT: &str = ".increment-";

/// Removes what crashed backups and restores have left on the volume.
pub(crate) fn sweep(volume: &Path) -> Result<()> {
    Scratch::sweep(volume, &PREFIXES)
}
