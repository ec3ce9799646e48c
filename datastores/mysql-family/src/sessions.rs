//! Ending other people's sessions.

use tracing::warn;

use crate::credentials::OS_ADMIN;
use crate::session::{Session, SqlResult};

/// A session of somebody's, as the list of processes has it.
pub(crate) struct Other {
    id: u64,
    /// Whose it is.
    pub(crate) user: String,
    /// Where that is.
    pub(crate) host: String,
    command: String,
}

impl Other {
    /// Whether a client has it: not the server itself, a replica or the agent.
    fn is_clients(&self) -> bool {
        let servers = ["system user", "event_scheduler", OS_ADMIN];
        let of_server = self.command == "Daemon" || self.command.starts_with("Binlog Dump");
        !(of_server || servers.contains(&self.user.as_str()))
    }
}

/// Ends the sessions of clients that fit.
pub(crate) async fn end(
    session: &mut Session,
    fits: impl Fn(&Other) -> bool + Send,
) -> SqlResult<()> {
    for row in session.text_rows("SHOW PROCESSLIST").await? {
        let text = |name: &str| {
            row.get::<Option<String>, _>(name)
                .flatten()
                .unwrap_or_default()
        };
        let other = Other {
            id: row.get("Id").unwrap_or_default(),
            user: text("User"),
            host: text("Host"),
            command: text("Command"),
        };
        if other.is_clients()
            && fits(&other)
            && let Err(error) = session.run(&format!("KILL {}", other.id)).await
        {
            // Gone by itself, most likely.
            warn!(%error, id = other.id, user = other.user, "Session not ended.");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_are_ended() {
        for (user, command, clients) in [
            ("tenant", "Query", true),
            ("tenant", "Sleep", true),
            ("root", "Sleep", true),
            ("unauthenticated user", "Connect", true),
            ("slave_12345678", "Binlog Dump GTID", false),
            ("slave_12345678", "Binlog Dump", false),
            ("system user", "Connect", false),
            ("event_scheduler", "Daemon", false),
            ("os_admin", "Query", false),
        ] {
            let other = Other {
                id: 1,
                user: user.into(),
                host: "198.51.100.7:1".into(),
                command: command.into(),
            };
            assert_eq!(other.is_clients(), clients, "{user} {command}");
        }
    }
}
