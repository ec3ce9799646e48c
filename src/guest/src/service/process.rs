//! Waiting for a process that is not a child of this one.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

use nix::libc;

use crate::readable::Readable;

/// Returns when the process has ended; at once when there is none of that
/// number, or when it cannot be watched (kernels before 5.3 have no
/// descriptors for processes): callers look again anyway.
pub(super) async fn ended(pid: u32) {
    if let Ok(descriptor) = open(pid).and_then(Readable::new) {
        // pidfd_open(2): readable as soon as the process has terminated.
        let _readable = descriptor.wait(|| ()).await;
    }
}

#[allow(unsafe_code)]
fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: plain numbers in, a new descriptor or -1 out; no memory involved.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(answer) {
        // SAFETY: the kernel has just made this descriptor for us alone.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn waits_for_the_end_and_no_longer() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        assert!(
            timeout(Duration::from_millis(200), ended(pid))
                .await
                .is_err(),
            "still runs"
        );
        child.kill().unwrap();
        timeout(Duration::from_secs(10), ended(pid)).await.unwrap();
        child.wait().unwrap();
        timeout(Duration::from_secs(10), ended(pid)).await.unwrap();
    }
}
