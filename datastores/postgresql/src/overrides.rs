//! Override files: `<group>-<NNN>-<id>.conf` in the directory that the base
//! file includes. The server reads them in the order of their names, so a
//! later group wins (`trove/guestagent/common/configuration.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datastore::{Error, Result};
use guest::Attributes;
use serde_json::Value;

use crate::conf::{self, Document};
use crate::errors::{io_failed, os_error};

/// Overrides are public, and the server may not write what it obeys.
pub(crate) const PUBLIC: Attributes = Attributes {
    mode: 0o644,
    owner: None,
};

/// Who an override file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// The agent's defaults: stronger than the base file, weaker than the
    /// tenant.
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
                    .join(format!("{}-{index:03}-{id}.conf", group.prefix()))
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

    /// Whether there is a file of `(group, id)`, even an empty one.
    pub(crate) fn has(&self, group: Group, id: &str) -> Result<bool> {
        Ok(self.dir.is_dir() && self.find(group, id)?.is_some())
    }

    fn find(&self, group: Group, id: &str) -> Result<Option<PathBuf>> {
        let found = self.files(group)?.into_iter().find(|file| file.id == id);
        Ok(found.map(|file| file.path))
    }

    /// Files of a group by index.
    fn files(&self, group: Group) -> Result<Vec<OverrideFile>> {
        let failed = |error| io_failed("read directory", self.dir, error);
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
        let name = path.file_name()?.to_str()?.strip_suffix(".conf")?;
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

/// Parameters that are the guest's own business, whoever asks.
const RESERVED: [&str; 8] = [
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "port",
    "unix_socket_directories",
    "unix_socket_permissions",
];

/// Parameters of a configuration group as an override file.
pub(crate) fn document_of(parameters: &BTreeMap<String, Value>) -> Result<Document> {
    let mut document = Document::default();
    for (name, value) in parameters {
        check_name(name)?;
        document.set(name, &text_of(name, value)?);
    }
    Ok(document)
}

/// A name that would end the line or read another file is an attack, not a
/// parameter.
fn check_name(name: &str) -> Result<()> {
    if !conf::is_name(name) || conf::is_include(name) {
        return Err(Error::bad_request(format!(
            "{name:?} is not the name of a parameter"
        )));
    }
    if RESERVED.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(Error::bad_request(format!(
            "Parameter {name} belongs to the guest agent and cannot be changed"
        )));
    }
    Ok(())
}

/// A value as the server reads it: numbers and strings as they came.
fn text_of(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::Bool(flag) => Ok(if *flag { "on" } else { "off" }.to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) if text.contains('\0') => Err(Error::bad_request(format!(
            "The value of parameter {name} holds a NUL"
        ))),
        Value::String(text) => Ok(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Error::bad_request(format!(
            "The value of parameter {name} is not a plain value"
        ))),
    }
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
            "autovacuum": true,
            "fsync": false,
            "seq_page_cost": 0.5,
            "search_path": "\"$user\", public",
            "archive_command": "test -f 'x' # no comment",
            "log_line_prefix": "%m\\[%p]\n",
            "geqo_seed": "0644",
        })))
        .unwrap();
        assert_eq!(
            document.to_string(),
            "archive_command = 'test -f ''x'' # no comment'\nautovacuum = 'on'\nfsync = 'off'\n\
             geqo_seed = '0644'\nlog_line_prefix = '%m\\\\[%p]\\n'\nmax_connections = '200'\n\
             search_path = '\"$user\", public'\nseq_page_cost = '0.5'\n"
        );
    }

    #[test]
    fn no_parameter_leaves_its_line() {
        for value in [
            json!({"a\narchive_command": "evil"}),
            json!({"": 1}),
            json!({"a b": 1}),
            json!({"#a": 1}),
            json!({"a'": 1}),
            json!({"include": "/etc/shadow"}),
            json!({"Include_Dir": "/tmp"}),
            json!({"hba_file": "/tmp/x"}),
            json!({"Data_Directory": "/tmp/x"}),
            json!({"a": [1]}),
            json!({"a": null}),
            json!({"a": "\0"}),
        ] {
            assert!(document_of(&parameters(value.clone())).is_err(), "{value}");
        }
        let document = document_of(&parameters(json!({"a": "1\nfsync = off"}))).unwrap();
        assert_eq!(document.settings().count(), 1);
        assert_eq!(document.to_string().lines().count(), 1);
    }

    #[test]
    fn files_are_numbered_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let overrides = Overrides::new(dir.path());
        let document = Document::parse("a = 1\n");
        let other = Document::parse("b = 2\n");
        overrides
            .write(Group::SystemLate, COMMON, &document)
            .unwrap();
        overrides
            .write(Group::SystemLate, "slave-replication", &document)
            .unwrap();
        overrides.write(Group::SystemLate, COMMON, &other).unwrap();
        overrides.write(Group::User, COMMON, &document).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "20-user-001-common.conf",
                "50-system-001-common.conf",
                "50-system-002-slave-replication.conf"
            ]
        );
        assert_eq!(overrides.read(Group::SystemLate, COMMON).unwrap(), other);
        overrides.remove(Group::User, COMMON).unwrap();
        overrides.remove(Group::User, COMMON).unwrap();
        assert_eq!(
            overrides.read(Group::User, COMMON).unwrap(),
            Document::default()
        );
    }
}
