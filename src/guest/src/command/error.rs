use std::{io, process::ExitStatus, time::Duration};

use super::SEARCH_PATH;

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program in this guest.
    #[error("{program}: no such program in {SEARCH_PATH}; install the package that provides it")]
    NotFound {
        /// As given to [`Command::new`](super::Command::new).
        program: String,
    },
    /// The program could not be started, or its pipes broke.
    #[error("{program}: {reason}")]
    Spawn {
        /// As given to [`Command::new`](super::Command::new).
        program: String,
        /// From the kernel.
        reason: io::Error,
    },
    /// The program was killed, with its whole process group.
    #[error("{program}: not finished after {} s, killed", after.as_secs_f32())]
    Timeout {
        /// As given to [`Command::new`](super::Command::new).
        program: String,
        /// The limit it exceeded.
        after: Duration,
    },
    /// The program ended with a status other than 0, or by a signal.
    #[error("{program}: {status}{}{stderr}", if stderr.is_empty() { "" } else { ": " })]
    Failed {
        /// As given to [`Command::new`](super::Command::new).
        program: String,
        /// Exit status or signal.
        status: ExitStatus,
        /// The end of its standard error, or of its output if it wrote no errors.
        stderr: String,
    },
    /// The program printed without end, and was killed.
    #[error("{program}: printed more than {limit} bytes, killed")]
    OutputTooLarge {
        /// As given to [`Command::new`](super::Command::new).
        program: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl CommandError {
    /// Whether running it again cannot help, because the program is missing.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
