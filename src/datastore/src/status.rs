//! Service states as the conductor knows them.

/// State of the datastore service (`trove/instance/service_status.py`). Only
/// the states a guest may send are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceStatus {
    /// Answers queries.
    Healthy,
    /// The process runs but does not answer yet.
    Running,
    /// Stopped on purpose or not started.
    Shutdown,
    /// Should run but its process died or hangs.
    Crashed,
    /// `prepare` or `rebuild` is under way.
    Building,
    /// `prepare`, `rebuild` or a restore failed.
    Failed,
    /// Prepared as a member of a cluster.
    InstanceReady,
    /// A setting waits for a restart by the user.
    RestartRequired,
    /// The state could not be found out.
    Unknown,
}

impl ServiceStatus {
    /// The description that a heartbeat carries. An unknown one raises
    /// ValueError in the conductor and the heartbeat is lost.
    pub fn description(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Running => "running",
            Self::Shutdown => "shutdown",
            Self::Crashed => "crashed",
            Self::Building => "building",
            Self::Failed => "failed to spawn",
            Self::InstanceReady => "instance ready",
            Self::RestartRequired => "restart required",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for ServiceStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.description())
    }
}
