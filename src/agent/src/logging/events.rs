//! The few events that tools wait for, and people look up.
//!
//! An event is named where it happens (`name:` of the log macro); here the name
//! gets its `MESSAGE_ID`, by which `journalctl MESSAGE_ID=...` finds it and
//! `journalctl -x` explains it with systemd/trove-guestagent.catalog. An id
//! never changes and never means something else.

/// Names and ids.
pub const EVENTS: [(&str, &str); 14] = [
    ("agent_started", "e8e9e166fda1488e9511aabfbb219598"),
    ("broker_unreachable", "08b5e3d4ba50449d839cb5e7a3900fae"),
    ("broker_lost", "4fd7af6b07414f57abed960cab4a9e86"),
    ("listening", "d6fdfeccabb3438ca96f7de9d4be90d7"),
    ("request_unreadable", "b60ba63981e0452f904a2418043b10d3"),
    ("guest_not_ready", "3c784c2fd768462484e664779660b710"),
    ("status_reported", "ed08d079de844a46b439c15d80eeb7a4"),
    ("instance_prepared", "2cfa748523814149a9400bc19b7bb9f4"),
    ("operation_failed", "6fa9617be136481ea118de47fd862a25"),
    ("operation_interrupted", "fe6473dd754a4323a9c8824993ffa94c"),
    ("backup_completed", "1cffe36c19ac4e5c8f01232749f5e2bc"),
    ("backup_failed", "f83d8818a7144d48a7d30bad8a59796d"),
    ("agent_replaced", "c40891b28f3e4a239653034afe449109"),
    ("agent_not_replaced", "94beea1b832149868b6c249db2ef5f7d"),
];

/// Another binary is the agent now.
pub const AGENT_REPLACED: &str = "agent_replaced";
/// Another binary did not come up; the one before runs again.
pub const AGENT_NOT_REPLACED: &str = "agent_not_replaced";

/// The id of an event; `None` for what is only a line in the log.
pub fn id(name: &str) -> Option<&'static str> {
    let event = EVENTS.iter().find(|(event, _)| *event == name);
    event.map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn sources(directory: &Path, found: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_event_happens_somewhere_and_is_explained() {
        let mut code = String::new();
        sources(&repository().join("src"), &mut code);
        let catalog =
            std::fs::read_to_string(repository().join("systemd/trove-guestagent.catalog")).unwrap();
        for (name, id) in EVENTS {
            let named = code.contains(&format!("name: \"{name}\""))
                || [AGENT_REPLACED, AGENT_NOT_REPLACED].contains(&name);
            assert!(named, "nothing logs {name}");
            assert!(
                catalog.contains(&format!("-- {id}\n")),
                "{name} is not in the catalogue"
            );
        }
        assert_eq!(catalog.matches("\n-- ").count(), EVENTS.len());
    }

    #[test]
    fn ids_are_unique_and_well_formed() {
        let ids: HashSet<_> = EVENTS.iter().map(|(_, id)| id).collect();
        assert_eq!(ids.len(), EVENTS.len());
        for (_, id) in EVENTS {
            assert_eq!(id.len(), 32);
            assert!(id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
        }
        assert_eq!(id("event src/run.rs:1"), None);
    }
}
