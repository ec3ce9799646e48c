//! Waiting for something to happen to a file.

use std::{io, os::fd::AsFd as _, path::Path};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::time::{self, Instant};
use tracing::debug;

use crate::readable::Readable;

/// Changes of paths that need not exist yet, through inotify(7).
pub struct Watch {
    inotify: Inotify,
    events: Readable,
}

impl Watch {
    /// Watches nothing yet. Must be called on a runtime with I/O enabled.
    ///
    /// # Errors
    /// When the kernel has no more watches for this account.
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let copy = inotify.as_fd().try_clone_to_owned()?;
        Ok(Self {
            inotify,
            events: Readable::new(copy)?,
        })
    }

    /// Watches the nearest directory above `path` that exists: call it before
    /// each look at the path, so that no change is missed. Adding the same
    /// directory again changes nothing.
    pub fn follow(&self, path: &Path) {
        let flags =
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ATTRIB;
        let added = path
            .ancestors()
            .skip(1)
            .any(|dir| self.inotify.add_watch(dir, flags).is_ok());
        if !added {
            debug!(path = %path.display(), "Path cannot be watched, only polled.");
        }
    }

    /// Returns after a change, or at the deadline.
    pub async fn changed(&mut self, deadline: Instant) {
        // The events themselves do not matter; the caller looks again.
        let drain = || drop(self.inotify.read_events());
        let _changed = time::timeout_at(deadline, self.events.wait(drain)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_appearance_is_an_event() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/file");
        let mut watch = Watch::new().unwrap();
        let soon = || Instant::now() + Duration::from_secs(30);
        watch.follow(&path);
        std::fs::create_dir(dir.path().join("later")).unwrap();
        let started = Instant::now();
        watch.changed(soon()).await;
        watch.follow(&path);
        std::fs::write(&path, "").unwrap();
        watch.changed(soon()).await;
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
