//! The server's log files that tenants may see.

use std::path::PathBuf;

/// Who switches a log on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// The tenant.
    User,
    /// Nobody: it is always on.
    System,
}

/// A log file of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLog {
    /// Its name in the API: `general`, `slow_query`, `error`.
    pub name: &'static str,
    /// Who switches it on.
    pub kind: LogKind,
    /// Where it is.
    pub path: PathBuf,
}
