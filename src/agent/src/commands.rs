//! The subcommands: what is done to the agent instead of being it.

mod backup;
mod doctor;
mod replace;
mod report;

use std::path::Path;

use anyhow::Result;

pub use backup::{BackupAction, backup};
pub use doctor::doctor;
pub use replace::{Replace, replace};
pub use report::text_line;

use crate::state_file;

/// Prints the state the running agent last wrote. True when it runs.
///
/// # Errors
/// When no agent has written one.
pub fn status() -> Result<bool> {
    let (state, alive) = state_file::read(Path::new(state_file::PATH))?;
    let or = |value: &Option<String>, none: &str| value.clone().unwrap_or_else(|| none.into());
    let process = if alive {
        "running"
    } else {
        "NOT RUNNING; this is what it last knew"
    };
    report::line(
        "agent",
        &format!("{} pid {} ({process})", state.version, state.pid),
    );
    report::line(
        "guest",
        &format!("{} ({})", state.guest_id, state.datastore),
    );
    report::line("broker", &state.broker);
    report::line("reported status", &or(&state.reported, "nothing yet"));
    report::line("operation", &or(&state.operation, "none"));
    report::line("backup or restore", &or(&state.transfer, "none"));
    report::line(
        "host",
        &or(&state.host_refusal, "ready or not yet examined"),
    );
    if state.refused_requests > 0 {
        report::line(
            "refused requests",
            &format!(
                "{}: they do not open with this guest's key",
                state.refused_requests
            ),
        );
    }
    Ok(alive)
}
