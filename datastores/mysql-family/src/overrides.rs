//! Override files: `<group>-<NNN>-<id>.cnf` in the directory that the base
//! file includes. Servers read them in the order of their names, so a later
//! group wins (`trove/guestagent/common/configuration.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datastore::{Error, Result};
use guest::Attributes;
use serde_json::Value;

use crate::cnf::Document;
use crate::errors::os_error;

/// The section that configuration groups and the agent's own settings go to.
pub(crate) const SERVER_SECTION: &str = "mysqld";
/// Overrides are public, and the server may not write what it obeys.
pub(crate) const PUBLIC: Attributes = Attributes {
    mode: 0o644,
    owner: None,
};

/// Who an override file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// The agent's, weaker than the tenant's.
    SystemEarly,
    /// The attached configuration group.
    User,
    /// The agent, stronger than the tenant.
    SystemLate,
}

impl Group {
    fn prefix(self) -> &'static str {
        match self {
            Self::SystemEarly => "10-system",
            Self::User => "20-user",
            Self::SystemLate => "50-system",
        }
    }
}

/// The id of the files that every guest has.
pub(crate) const COMMON: &str = "common";

/// The directory of override files.
pub(crate) struct Overrides<'a> {
    dir: &'a Path,
}

impl<'a> Overrides<'a> {
    pub(crate) fn new(dir: &'a Path) -> Self {
        Self { dir }
    }

    /// The file of `(group, id)`; empty when there is none.
    pub(crate) fn read(&self, group: Group, id: &str) -> Result<Document> {
        let text = match self.find(group, id)? {
            Some(path) => guest::read_optional(&path).map_err(os_error)?,
            None => None,
        };
        Ok(Document::parse(&text.unwrap_or_default()))
    }

    /// Writes the file of `(group, id)`, a new one behind the group's others.
    pub(crate) fn write(&self, group: Group, id: &str, document: &Document) -> Result<()> {
        let path = match self.find(group, id)? {
            Some(path) => path,
            None => {
                let index = self.files(group)?.last().map_or(1, |file| file.index + 1);
                self.dir
                    .join(format!("{}-{index:03}-{id}.cnf", group.prefix()))
            }
        };
        guest::write_atomic(&path, document.to_string().as_bytes(), &PUBLIC).map_err(os_error)
    }

    /// Removes the file of `(group, id)`, if there is one.
    pub(crate) fn remove(&self, group: Group, id: &str) -> Result<()> {
        if let Some(path) = self.find(group, id)? {
            guest::remove_if_exists(&path).map_err(os_error)?;
        }
        Ok(())
    }

    fn find(&self, group: Group, id: &str) -> Result<Option<PathBuf>> {
        let found = self.files(group)?.into_iter().find(|file| file.id == id);
        Ok(found.map(|file| file.path))
    }

    /// Files of a group by index.
    fn files(&self, group: Group) -> Result<Vec<OverrideFile>> {
        let failed = |error: std::io::Error| {
            Error::with_source(
                datastore::ErrorKind::Failed,
                format!("Read directory {}: {error}", self.dir.display()),
                error,
            )
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            files.extend(OverrideFile::of(&path, group));
        }
        files.sort_by_key(|file| file.index);
        Ok(files)
    }
}

struct OverrideFile {
    index: u32,
    id: String,
    path: PathBuf,
}

impl OverrideFile {
    fn of(path: &Path, group: Group) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".cnf")?;
        let (index, id) = name
            .strip_prefix(group.prefix())?
            .strip_prefix('-')?
            .split_once('-')?;
        Some(Self {
            index: index.parse().ok()?,
            id: id.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// Parameters of a configuration group as an option file.
pub(crate) fn document_of(parameters: &BTreeMap<String, Value>) -> Result<Document> {
    let mut document = Document::default();
    for (name, value) in parameters {
        check_name(name)?;
        document.set(SERVER_SECTION, name, text_of(name, value)?.as_deref());
    }
    Ok(document)
}

/// A name that would end the line or start a section is an attack, not an
/// option.
fn check_name(name: &str) -> Result<()> {
    let valid = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'));
    if valid {
        Ok(())
    } else {
        Err(Error::bad_request(format!(
            "{name:?} is not the name of a parameter"
        )))
    }
}

/// A value as the server reads it: numbers and strings as they came, flags as
/// 1 and 0, which servers take for flags and for enumerations alike.
fn text_of(name: &str, value: &Value) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(u8::from(*flag).to_string())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::String(text) => string_of(name, text).map(Some),
        Value::Array(_) | Value::Object(_) => Err(Error::bad_request(format!(
            "The value of parameter {name} is not a plain value"
        ))),
    }
}

/// A string stays as it is, unless the server would take part of it for a
/// comment: then it is put in quotes.
fn string_of(name: &str, text: &str) -> Result<String> {
    if text.contains(['\n', '\r', '\0']) {
        return Err(Error::bad_request(format!(
            "The value of parameter {name} is not one line"
        )));
    }
    let mut probe = Document::default();
    let mut survives = |candidate: &str| {
        probe.set(SERVER_SECTION, "x", Some(candidate));
        probe.get(SERVER_SECTION, "x") == Some(Some(candidate))
    };
    let text = text.trim_matches([' ', '\t']);
    let quoted = [format!("\"{text}\""), format!("'{text}'")];
    if survives(text) {
        return Ok(text.to_owned());
    }
    quoted
        .into_iter()
        .find(|candidate| survives(candidate))
        .ok_or_else(|| {
            Error::bad_request(format!(
                "The value of parameter {name} cannot be written to a file"
            ))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(value: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn values_are_written_verbatim() {
        let document = document_of(&parameters(json!({
            "max_connections": 200,
            "local_infile": true,
            "long_query_time": 0.5,
            "sql_mode": "ANSI,STRICT_ALL_TABLES",
            "init_connect": "SET @a = 1 # note",
            "skip_name_resolve": null,
            "tmp_table_size": "0644",
        })))
        .unwrap();
        assert_eq!(
            document.to_string(),
            "[mysqld]\ninit_connect = \"SET @a = 1 # note\"\nlocal_infile = 1\n\
             long_query_time = 0.5\nmax_connections = 200\nskip_name_resolve\n\
             sql_mode = ANSI,STRICT_ALL_TABLES\ntmp_table_size = 0644\n"
        );
    }

    #[test]
    fn no_parameter_leaves_its_line() {
        for value in [
            json!({"a\nplugin_load": "evil.so"}),
            json!({"a": "1\nplugin_load=evil.so"}),
            json!({"[client": 1}),
            json!({"": 1}),
            json!({"a b": 1}),
            json!({"#a": 1}),
            json!({"!include /x": null}),
            json!({"a": [1]}),
        ] {
            assert!(document_of(&parameters(value.clone())).is_err(), "{value}");
        }
    }

    #[test]
    fn files_are_numbered_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let overrides = Overrides::new(dir.path());
        let document = Document::parse("[mysqld]\na = 1\n");
        overrides
            .write(Group::SystemLate, COMMON, &document)
            .unwrap();
        overrides
            .write(Group::SystemLate, "slave-replication", &document)
            .unwrap();
        overrides
            .write(Group::SystemLate, COMMON, &Document::parse("x\n"))
            .unwrap();
        overrides.write(Group::User, COMMON, &document).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "20-user-001-common.cnf",
                "50-system-001-common.cnf",
                "50-system-002-slave-replication.cnf"
            ]
        );
        assert_eq!(
            overrides
                .read(Group::SystemLate, COMMON)
                .unwrap()
                .to_string(),
            "x\n"
        );
        overrides.remove(Group::User, COMMON).unwrap();
        overrides.remove(Group::User, COMMON).unwrap();
        assert_eq!(
            overrides.read(Group::User, COMMON).unwrap(),
            Document::default()
        );
    }
}
