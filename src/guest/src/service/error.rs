use std::time::Duration;

use crate::CommandError;

/// Why a unit did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// systemd has no unit of that name.
    #[error("{unit}: no such unit; install the service's package and the agent's units")]
    NotFound {
        /// The unit's name.
        unit: String,
    },
    /// systemd tried and failed, or refused.
    #[error("{action} {unit}: {}", reason(result, detail, journal))]
    Failed {
        /// The unit's name.
        unit: String,
        /// `start`, `stop`, `restart`, `enable`...
        action: &'static str,
        /// The unit's `Result=` (`exit-code`, `signal`, `timeout`, `oom-kill`,
        /// `start-limit-hit`...; `success` when the unit itself is not to blame).
        result: String,
        /// What systemctl printed.
        detail: String,
        /// The unit's last journal lines, bounded.
        journal: String,
    },
    /// Not finished in the caller's time; systemd is still at it.
    #[error(
        "{action} {unit}: not finished after {} s (the unit is {sub}), systemd goes on with it{}",
        after.as_secs_f32(), quote(journal)
    )]
    Timeout {
        /// The unit's name.
        unit: String,
        /// `start`, `stop` or `restart`.
        action: &'static str,
        /// The caller's limit.
        after: Duration,
        /// The unit's sub-state when time was up, such as `start` or `stop-sigterm`.
        sub: String,
        /// The unit's last journal lines, bounded.
        journal: String,
    },
    /// systemd could not be asked.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl ServiceError {
    /// Whether asking again cannot help before somebody changes the guest.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Command(error) => error.is_permanent(),
            Self::Failed { .. } | Self::Timeout { .. } => false,
        }
    }
}

/// The unit's own result and words say more than systemctl, which only points
/// at them; but it alone knows of masked units and failed dependencies.
fn reason(result: &str, detail: &str, journal: &str) -> String {
    if !matches!(result, "" | "success") {
        return format!("{result}{}", quote(journal));
    }
    if detail.is_empty() {
        format!("refused{}", quote(journal))
    } else {
        detail.to_owned()
    }
}

fn quote(journal: &str) -> String {
    if journal.is_empty() {
        String::new()
    } else {
        format!("; its last words: {journal}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(result: &str) -> String {
        ServiceError::Failed {
            unit: "db.service".into(),
            action: "start",
            result: result.into(),
            detail: "Unit db.service is masked.".into(),
            journal: "[ERROR] Out of space".into(),
        }
        .to_string()
    }

    #[test]
    fn texts_name_the_cause() {
        assert_eq!(
            failed("exit-code"),
            "start db.service: exit-code; its last words: [ERROR] Out of space"
        );
        assert_eq!(
            failed("success"),
            "start db.service: Unit db.service is masked."
        );
        let timeout = ServiceError::Timeout {
            unit: "db.service".into(),
            action: "stop",
            after: Duration::from_secs(12),
            sub: "stop-sigterm".into(),
            journal: String::new(),
        };
        assert_eq!(
            timeout.to_string(),
            "stop db.service: not finished after 12 s (the unit is stop-sigterm), \
             systemd goes on with it"
        );
    }
}
