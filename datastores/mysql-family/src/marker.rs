//! Marks on the volume: what the data directory holds is not ready for use, or
//! has something in it that is not to stay.

use std::path::PathBuf;

use datastore::{Error, Result};
use guest::Attributes;

use crate::Layout;
use crate::errors::os_error;

/// What is being done to the data directory. The mark is set before anything
/// happens and removed when it is undone or the server runs on the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    /// It is being initialised: what is in it is nobody's data.
    Initialising,
    /// A backup is being restored: what is in it is a part of a copy.
    Restoring,
    /// It came with a snapshot and still has its former owner's settings.
    /// Its data is the tenant's.
    TakingOver,
    /// Its accounts are not the agent's yet: the next start makes them so. Its
    /// data is the tenant's.
    Adopting,
    /// The server has the clone plugin for a backup only. It keeps plugins over
    /// a crash in the middle of one.
    ClonePlugin,
}

impl Marker {
    fn path(self, layout: &Layout) -> PathBuf {
        layout.mount_point.join(match self {
            Self::Initialising => ".initialising",
            Self::Restoring => ".restoring",
            Self::TakingOver => ".taking-over",
            Self::Adopting => ".adopting",
            Self::ClonePlugin => ".temporary-clone-plugin",
        })
    }

    pub(crate) fn is_set(self, layout: &Layout) -> bool {
        self.path(layout).exists()
    }

    pub(crate) fn set(self, layout: &Layout) -> Result<()> {
        let private = Attributes {
            mode: 0o600,
            owner: None,
        };
        guest::write_atomic(&self.path(layout), b"", &private).map_err(os_error)
    }

    pub(crate) fn remove(self, layout: &Layout) -> Result<()> {
        guest::remove_if_exists(&self.path(layout))
            .map(drop)
            .map_err(os_error)
    }
}

/// Refuses to start a server on data that a restore has not completed.
pub(crate) fn ensure_complete(layout: &Layout) -> Result<()> {
    let unfinished = [Marker::Restoring, Marker::TakingOver]
        .into_iter()
        .find(|marker| marker.is_set(layout));
    match unfinished {
        None => Ok(()),
        Some(marker) => Err(Error::failed(format!(
            "The data in {} is incomplete, because its restore failed or was interrupted ({}): \
             the server is not started. Delete the instance and restore the backup again",
            layout.data_dir().display(),
            marker.path(layout).display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_incomplete_is_not_started() {
        let volume = tempfile::tempdir().unwrap();
        let layout = Layout::new(volume.path());
        ensure_complete(&layout).unwrap();
        // An initialisation is caught by the first start itself.
        Marker::Initialising.set(&layout).unwrap();
        // And a takeover goes on with the next one.
        Marker::Adopting.set(&layout).unwrap();
        ensure_complete(&layout).unwrap();
        for marker in [Marker::Restoring, Marker::TakingOver] {
            marker.set(&layout).unwrap();
            assert!(marker.is_set(&layout));
            let text = ensure_complete(&layout).unwrap_err().to_string();
            assert!(text.contains("incomplete"), "{text}");
            marker.remove(&layout).unwrap();
            ensure_complete(&layout).unwrap();
        }
    }
}
