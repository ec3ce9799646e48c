//! Marks on the volume: what the data directory holds is not ready for use, or
//! has something in it that is not to stay.

use std::time::Duration;

use datastore::Result;
use managed::Mark;

use crate::Layout;

/// What is being done to the data directory. The mark is set before anything
/// happens and removed when it is undone or the server runs on the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    /// It is being initialised: what is in it is nobody's data.
    Initialising,
    /// A backup is being restored: what is in it is a part of a copy.
    Restoring,
    /// It is being cloned from a server that runs: what is in it is a part of a
    /// copy until the server that runs on it says that it is whole.
    Cloning,
    /// It came with a snapshot and still has its former owner's settings.
    /// Its data is the tenant's.
    TakingOver,
    /// Its accounts are not the agent's yet: the next start makes them so. Its
    /// data is the tenant's.
    Adopting,
    /// The server has the clone plugin for a backup only. It keeps plugins over
    /// a crash in the middle of one.
    ClonePlugin,
    /// Replicas may clone this server for some hours from now on.
    Donor,
    /// A failover has begun: this replica does not follow its source any more,
    /// and who does what next is still to be told.
    Failover,
}

impl Marker {
    fn mark(self, layout: &Layout) -> Mark {
        let name = match self {
            Self::Initialising => ".initialising",
            Self::Restoring => ".restoring",
            Self::Cloning => ".cloning",
            Self::TakingOver => ".taking-over",
            Self::Adopting => ".adopting",
            Self::ClonePlugin => ".temporary-clone-plugin",
            Self::Donor => ".donor",
            Self::Failover => ".failover",
        };
        Mark::new(&layout.mount_point, name)
    }

    pub(crate) fn is_set(self, layout: &Layout) -> bool {
        self.mark(layout).is_set()
    }

    /// For how long it has been set.
    pub(crate) fn age(self, layout: &Layout) -> Option<Duration> {
        let set = self.mark(layout).since().ok()??;
        // A clock that was set back since: as if it were new.
        Some(set.elapsed().unwrap_or_default())
    }

    pub(crate) fn set(self, layout: &Layout) -> Result<()> {
        self.mark(layout).set()
    }

    pub(crate) fn remove(self, layout: &Layout) -> Result<()> {
        self.mark(layout).remove()
    }
}

/// Refuses to start a server on data that a restore or a clone has not completed.
pub(crate) fn ensure_complete(layout: &Layout) -> Result<()> {
    let partial = [Marker::Restoring, Marker::Cloning, Marker::TakingOver];
    let marks = partial.map(|marker| marker.mark(layout));
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
        // And a takeover goes on with the next one.
        Marker::Adopting.set(&layout).unwrap();
        ensure_complete(&layout).unwrap();
        Marker::Failover.set(&layout).unwrap();
        Marker::Donor.set(&layout).unwrap();
        ensure_complete(&layout).unwrap();
        assert!(Marker::Failover.age(&layout).unwrap() < Duration::from_secs(60));
        assert_eq!(Marker::TakingOver.age(&layout), None);
        for marker in [Marker::Restoring, Marker::Cloning, Marker::TakingOver] {
            marker.set(&layout).unwrap();
            assert!(marker.is_set(&layout));
            let text = ensure_complete(&layout).unwrap_err().to_string();
            assert!(text.contains("incomplete"), "{text}");
            marker.remove(&layout).unwrap();
            ensure_complete(&layout).unwrap();
        }
    }
}
