/// The properties [`UnitState::parse`] reads, for `systemctl show`.
pub(super) const PROPERTIES: &str = "ActiveState,SubState,Result,MainPID,LoadState,UnitFileState";

/// What systemd knows of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// The state all kinds of units share.
    pub active: ActiveState,
    /// The state in the unit type's own words, such as `running`, `start`,
    /// `auto-restart` or `stop-sigterm`.
    pub sub: String,
    /// How the last run ended: `success`, `exit-code`, `signal`, `timeout`...
    pub result: String,
    /// The service's main process, while there is one.
    pub main_pid: Option<u32>,
    /// Whether the unit could be loaded: it exists, is valid, and is not masked.
    pub loaded: bool,
    /// Whether there is a unit of that name at all, even a masked or broken one.
    pub exists: bool,
    /// Whether it is started at boot.
    pub enabled: bool,
}

/// `ActiveState=` of a unit (org.freedesktop.systemd1(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActiveState {
    /// Up.
    Active,
    /// Up, and reading its configuration again.
    Reloading,
    /// On its way up, or waiting to be restarted.
    Activating,
    /// On its way down.
    Deactivating,
    /// Down, as it should be, or unknown to systemd.
    Inactive,
    /// Down because it failed.
    Failed,
    /// A state of a later systemd (`maintenance`, `refreshing`...).
    Unknown,
}

impl UnitState {
    /// Reads the output of `systemctl show`: one `Name=value` a line, missing
    /// names where the unit type has no such property.
    pub(super) fn parse(text: &str) -> Self {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .unwrap_or_default()
        };
        let load = value("LoadState");
        Self {
            active: ActiveState::parse(value("ActiveState")),
            sub: value("SubState").to_owned(),
            result: value("Result").to_owned(),
            main_pid: value("MainPID").parse().ok().filter(|&pid| pid != 0),
            loaded: load == "loaded",
            exists: !matches!(load, "" | "not-found"),
            enabled: matches!(
                value("UnitFileState"),
                "enabled" | "enabled-runtime" | "alias"
            ),
        }
    }
}

impl ActiveState {
    fn parse(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "reloading" => Self::Reloading,
            "activating" => Self::Activating,
            "deactivating" => Self::Deactivating,
            "inactive" => Self::Inactive,
            "failed" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn running_failed_and_absent_units() {
        let running = UnitState::parse(
            "Result=success\nMainPID=812\nLoadState=loaded\nActiveState=active\n\
             SubState=running\nUnitFileState=enabled\n",
        );
        assert_eq!(running.active, ActiveState::Active);
        assert_eq!(
            (running.sub.as_str(), running.main_pid),
            ("running", Some(812))
        );
        assert!(running.loaded && running.exists && running.enabled);

        let failed = UnitState::parse(
            "Result=exit-code\nMainPID=0\nLoadState=loaded\nActiveState=failed\n\
             SubState=failed\nUnitFileState=disabled\n",
        );
        assert_eq!(
            (failed.active, failed.main_pid),
            (ActiveState::Failed, None)
        );
        assert_eq!(failed.result, "exit-code");
        assert!(!failed.enabled);

        let absent = UnitState::parse(
            "Result=success\nMainPID=0\nLoadState=not-found\nActiveState=inactive\n\
             SubState=dead\nUnitFileState=\n",
        );
        assert!(!absent.loaded && !absent.exists);
        let masked = UnitState::parse("LoadState=masked\nActiveState=inactive\n");
        assert!(!masked.loaded && masked.exists);
    }

    proptest! {
        #[test]
        fn any_output_is_read(text in "(?s).{0,200}", pid in 1u32..) {
            let _state = UnitState::parse(&text);
            let known = UnitState::parse(&format!("MainPID={pid}\nActiveState=active\n{text}"));
            prop_assert_eq!(known.main_pid, Some(pid));
            prop_assert_eq!(known.active, ActiveState::Active);
        }
    }
}
