//! Waiting for a file descriptor of the kernel's own making.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor with the runtime told when it can be read.
pub(crate) struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Must be called on a runtime with I/O enabled.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is owned, is moved into the registration and
        // never handed out, so it stays the same open one as long as that lives.
        #[allow(unsafe_code)]
        let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Waits until the descriptor is readable. Further calls return at once
    /// unless `drain` emptied it.
    pub(crate) async fn wait(&self, drain: impl FnOnce()) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        drain();
        ready.clear_ready();
        Ok(())
    }
}
