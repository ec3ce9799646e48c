//! What `check` prints: the effective configuration and remarks about it.

use std::fmt;

use oslo_config::{Config, Kind, Origin, Resolved, Setting};

use super::control_plane::CONTROL_PLANE_SECTIONS;
use super::mask;
use super::options::{Class, Row};
use super::reader::in_scope;
use super::settings::Settings;

/// The effective configuration with secrets masked. `Display` prints it for
/// people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Files in the order they were read.
    pub(crate) files: Vec<String>,
    /// Sections with the options in force.
    pub(crate) sections: Vec<Section>,
    /// Remarks that an operator should know of; log them at start.
    pub(crate) notes: Vec<String>,
    /// Keys in files that nobody reads, `[section] key (file:line)`.
    pub(crate) unknown: Vec<String>,
}

/// One section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its options in force.
    pub(crate) lines: Vec<Line>,
}

/// One option in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its value with secrets masked; `None` when unset.
    pub(crate) value: Option<String>,
    /// Where the value came from.
    pub(crate) origin: String,
}

/// Builds the report of a configuration that has been found good.
pub(super) fn report(config: &Config, rows: &[Row], settings: &Settings) -> Report {
    let mut sections: Vec<Section> = Vec::new();
    let manager = Some(settings.datastore_manager);
    for row in rows.iter().filter(|row| in_scope(row, manager)) {
        let Ok(resolved) = config.resolve(&row.opt) else {
            continue;
        };
        let line = Line {
            name: row.opt.name,
            value: shown(row, &resolved),
            origin: resolved.origin.to_string(),
        };
        match sections
            .iter_mut()
            .find(|section| section.name == row.opt.group)
        {
            Some(section) => section.lines.push(line),
            None => sections.push(Section {
                name: row.opt.group,
                lines: vec![line],
            }),
        }
    }
    Report {
        files: config
            .files()
            .map(|path| path.display().to_string())
            .collect(),
        sections,
        notes: notes(config, rows, settings),
        unknown: config
            .unknown()
            .iter()
            .filter(|s| !is_control_plane(s))
            .map(place)
            .collect(),
    }
}

fn shown(row: &Row, resolved: &Resolved) -> Option<String> {
    let value = resolved.value.as_ref()?;
    let text = match value.as_str() {
        Some("") => return Some(String::new()),
        Some(url) if row.opt.name == "transport_url" => mask::transport_url(url),
        _ if resolved.secret => "***".to_owned(),
        _ => value.render(),
    };
    // One line, whatever a value holds.
    Some(text.chars().flat_map(|c| Escaped(c).into_text()).collect())
}

struct Escaped(char);

impl Escaped {
    fn into_text(self) -> Vec<char> {
        if self.0.is_control() {
            self.0.escape_default().collect()
        } else {
            vec![self.0]
        }
    }
}

fn is_control_plane(setting: &Setting<'_>) -> bool {
    CONTROL_PLANE_SECTIONS.contains(&setting.group.as_str())
}

fn place(setting: &Setting<'_>) -> String {
    format!(
        "[{}] {} ({}:{})",
        setting.group,
        setting.name,
        setting.path.display(),
        setting.line
    )
}

fn notes(config: &Config, rows: &[Row], settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let ignored = |class| {
        let set = rows
            .iter()
            .filter(|row| row.class == class && is_set(config, row));
        set.map(|row| format!("[{}] {}", row.opt.group, row.opt.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let docker = ignored(Class::DockerOnly);
    if !docker.is_empty() {
        notes.push(format!(
            "These options configure Docker; the database runs as a service here, they have no effect: {docker}."
        ));
    }
    let no_effect = ignored(Class::NoEffect);
    if !no_effect.is_empty() {
        notes.push(format!(
            "These options have no effect in this agent: {no_effect}."
        ));
    }
    for row in rows
        .iter()
        .filter(|row| in_scope(row, Some(settings.datastore_manager)))
    {
        let Ok(resolved) = config.resolve(&row.opt) else {
            continue;
        };
        if let Some((group, name)) = resolved.deprecated {
            notes.push(format!(
                "[{}] {} is read from its deprecated name [{group}] {name} ({}).",
                row.opt.group, row.opt.name, resolved.origin
            ));
        }
    }
    remarks(config, settings, &mut notes);
    notes
}

fn remarks(config: &Config, settings: &Settings, notes: &mut Vec<String>) {
    let unset = |name| match config.get("DEFAULT", name) {
        Some(Ok(resolved)) => resolved.origin == Origin::Default,
        _ => false,
    };
    let manager = config
        .get("DEFAULT", "datastore_manager")
        .and_then(Result::ok);
    let manager = manager
        .and_then(|resolved| resolved.value)
        .map(|value| value.render());
    if let Some(name) = manager.filter(|name| name != settings.datastore_manager.as_str()) {
        notes.push(format!(
            "datastore_manager is {name:?}; datastore_registry_ext tells that it is {}.",
            settings.datastore_manager
        ));
    }
    if unset("transport_url") {
        notes
            .push("transport_url is not set: the broker is looked for on this machine.".to_owned());
    }
    if unset("control_exchange") {
        notes.push(
            "control_exchange is not set: it is \"openstack\" then, and must be the control plane's, \
             usually \"trove\"."
                .to_owned(),
        );
    }
    match (&settings.rpc_key, settings.allow_clear_text_rpc) {
        (None, _) => notes.push(
            "instance_rpc_encr_key is not set: requests and replies are not encrypted.".to_owned(),
        ),
        (Some(_), true) => notes.push(
            "allow_clear_text_rpc is on: requests that are not encrypted are executed.".to_owned(),
        ),
        (Some(_), false) => {}
    }
}

fn is_set(config: &Config, row: &Row) -> bool {
    // As text: a bad value of an option without effect is no concern.
    let opt = oslo_config::Opt {
        kind: Kind::Str,
        ..row.opt
    };
    match config.resolve(&opt) {
        Ok(resolved) => resolved.origin != Origin::Default,
        Err(error) => error.origin != Origin::Default,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Files, later ones override earlier ones:")?;
        self.files
            .iter()
            .try_for_each(|file| writeln!(f, "  {file}"))?;
        for section in &self.sections {
            writeln!(f, "\n[{}]", section.name)?;
            for line in &section.lines {
                let value = line.value.as_deref().unwrap_or("(unset)");
                let assignment = format!("{} = {value}", line.name);
                writeln!(f, "{assignment:55} # {}", line.origin)?;
            }
        }
        for (title, lines) in [
            ("Notes", &self.notes),
            ("Unknown options, ignored", &self.unknown),
        ] {
            if !lines.is_empty() {
                writeln!(f, "\n{title}:")?;
                lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            }
        }
        Ok(())
    }
}
