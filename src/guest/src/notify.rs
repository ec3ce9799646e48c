//! What the service manager is told about this process (sd_notify(3)). Outside
//! of a `Type=notify` unit nothing listens and every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// Start-up is complete.
pub fn ready() {
    send(NotifyState::Ready);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    // A line end would begin another assignment of the protocol.
    send(NotifyState::Status(&text.replace(['\n', '\r'], " ")));
}

/// Shut-down has begun.
pub fn stopping() {
    send(NotifyState::Stopping);
}

/// This process is making progress; see [`watchdog_interval`].
pub fn watchdog() {
    send(NotifyState::Watchdog);
}

/// Start-up needs this much more time, counted from now, before the unit's
/// start timeout strikes.
pub fn extend_start_timeout(time: Duration) {
    let microseconds = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    send(NotifyState::ExtendTimeoutUsec(microseconds));
}

/// How often to call [`watchdog`]: half of the unit's `WatchdogSec=`, as
/// sd_watchdog_enabled(3) advises; `None` when there is no watchdog.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "The service manager could not be notified.");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// Set for the copy of this test that plays the service.
    const CHILD: &str = "GUEST_NOTIFY_TEST_CHILD";

    /// The socket's name reaches a process through its environment, which must
    /// not be changed under the feet of other tests: a second process is used.
    #[test]
    fn messages_reach_the_socket() {
        if std::env::var_os(CHILD).is_some() {
            assert_eq!(watchdog_interval(), Some(Duration::from_secs(15)));
            ready();
            status("waiting\nREADY=1");
            extend_start_timeout(Duration::from_secs(60));
            watchdog();
            stopping();
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "notify::tests::messages_reach_the_socket"])
            .env(CHILD, "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000000")
            .env_remove("WATCHDOG_PID")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let mut buffer = [0; 256];
        for expected in [
            "READY=1",
            "STATUS=waiting READY=1",
            "EXTEND_TIMEOUT_USEC=60000000",
            "WATCHDOG=1",
            "STOPPING=1",
        ] {
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(
                std::str::from_utf8(&buffer[..length]).unwrap().trim_end(),
                expected
            );
        }
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            ready();
            assert_eq!(watchdog_interval(), None);
        }
    }
}
