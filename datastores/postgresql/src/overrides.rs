//! What configuration groups may set, as an override file.

use std::collections::BTreeMap;

use datastore::{Error, Result};
pub(crate) use managed::{COMMON, Group};
use serde_json::Value;

use crate::conf::{self, Document};

/// The override files.
pub(crate) type Overrides<'a> = managed::Overrides<'a, Document>;

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
}
