//! Marks on the volume: what the data directory holds is not ready for use, or
//! not for every use.

use std::path::PathBuf;
use std::time::SystemTime;

use datastore::{Error, Result};
use guest::Attributes;

use crate::Layout;
use crate::errors::os_error;

/// What is being done to the data directory. The mark is set before anything
/// happens and removed when the server runs on the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    /// It is being initialised: what is in it is nobody's data.
    Initialising,
    /// A backup is being restored: what is in it is a part of a copy.
    Restoring,
    /// It came with a snapshot and still has its former owner's settings.
    /// Its data is the tenant's.
    TakingOver,
    /// It is being turned back to the history of a source: what is in it is
    /// neither the old nor the new.
    Rewinding,
    /// A source that nobody may write to.
    ReadOnly,
    /// A replica that follows nobody, until a failover has been decided.
    Detached,
    /// WAL is kept for replicas that are being made.
    Nursery,
    /// It is being taken to another release series: the old data is the good
    /// one as long as this is set.
    Upgrading,
    /// The server has no statistics about it yet.
    Unanalysed,
}

impl Marker {
    fn path(self, layout: &Layout) -> PathBuf {
        layout.mount_point.join(match self {
            Self::Initialising => ".initialising",
            Self::Restoring => ".restoring",
            Self::TakingOver => ".taking-over",
            Self::Rewinding => ".rewinding",
            Self::ReadOnly => ".read-only",
            Self::Detached => ".detached",
            Self::Nursery => ".new-replicas",
            Self::Upgrading => ".upgrading",
            Self::Unanalysed => ".not-analysed",
        })
    }

    pub(crate) fn is_set(self, layout: &Layout) -> bool {
        self.path(layout).exists()
    }

    /// When it was set, if it is.
    pub(crate) fn since(self, layout: &Layout) -> std::io::Result<Option<SystemTime>> {
        match std::fs::metadata(self.path(layout)) {
            Ok(file) => file.modified().map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
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

/// Refuses to start a server on data that a restore or a rewind has not
/// completed.
pub(crate) fn ensure_complete(layout: &Layout) -> Result<()> {
    if Marker::Rewinding.is_set(layout) {
        return Err(Error::failed(format!(
            "The data in {} is lost, because turning it back to that of its source failed or was \
             interrupted ({}): the server is not started. Delete this replica and make a new one",
            layout.data_dir().display(),
            Marker::Rewinding.path(layout).display()
        )));
    }
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
        ensure_complete(&layout).unwrap();
        for (marker, word) in [
            (Marker::Restoring, "incomplete"),
            (Marker::TakingOver, "incomplete"),
            (Marker::Rewinding, "lost"),
        ] {
            marker.set(&layout).unwrap();
            assert!(marker.since(&layout).unwrap().is_some());
            let text = ensure_complete(&layout).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
            marker.remove(&layout).unwrap();
            ensure_complete(&layout).unwrap();
        }
    }
}
