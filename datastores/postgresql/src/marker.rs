//! Marks on the volume: what the data directory holds is not ready for use, or
//! not for every use.

use std::time::SystemTime;

use datastore::{Error, Result};
use managed::Mark;

use crate::Layout;

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
    fn mark(self, layout: &Layout) -> Mark {
        let name = match self {
            Self::Initialising => ".initialising",
            Self::Restoring => ".restoring",
            Self::TakingOver => ".taking-over",
            Self::Rewinding => ".rewinding",
            Self::ReadOnly => ".read-only",
            Self::Detached => ".detached",
            Self::Nursery => ".new-replicas",
            Self::Upgrading => ".upgrading",
            Self::Unanalysed => ".not-analysed",
        };
        Mark::new(&layout.mount_point, name)
    }

    pub(crate) fn is_set(self, layout: &Layout) -> bool {
        self.mark(layout).is_set()
    }

    /// When it was set, if it is.
    pub(crate) fn since(self, layout: &Layout) -> std::io::Result<Option<SystemTime>> {
        self.mark(layout).since()
    }

    pub(crate) fn set(self, layout: &Layout) -> Result<()> {
        self.mark(layout).set()
    }

    pub(crate) fn remove(self, layout: &Layout) -> Result<()> {
        self.mark(layout).remove()
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
            Marker::Rewinding.mark(layout).path().display()
        )));
    }
    let marks = [Marker::Restoring, Marker::TakingOver].map(|marker| marker.mark(layout));
    managed::ensure_restored(&layout.data_dir(), &marks)
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
