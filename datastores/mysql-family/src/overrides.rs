//! What configuration groups may set, as an override file.

use std::collections::BTreeMap;

use datastore::{Error, Result};
pub(crate) use managed::{COMMON, Group, PUBLIC};
use serde_json::Value;

use crate::cnf::{Document, same_name};

/// The override files.
pub(crate) type Overrides<'a> = managed::Overrides<'a, Document>;

/// The section that configuration groups and the agent's own settings go to.
pub(crate) const SERVER_SECTION: &str = "mysqld";

/// Options that are the guest's own business, whoever asks: without them it
/// would not find its server, or somebody else would.
const RESERVED: [&str; 13] = [
    "basedir",
    "datadir",
    "init_file",
    "log_error",
    "pid_file",
    "plugin_dir",
    "plugin_load",
    "plugin_load_add",
    "port",
    "skip_grant_tables",
    "skip_networking",
    "socket",
    "user",
];

/// Parameters of a configuration group as an option file.
pub(crate) fn document_of(parameters: &BTreeMap<String, Value>) -> Result<Document> {
    let mut document = Document::default();
    for (name, value) in parameters {
        // The control plane takes names in any case, MySQL in lower case only.
        let name = name.to_ascii_lowercase();
        check_name(&name)?;
        document.set(SERVER_SECTION, &name, text_of(&name, value)?.as_deref());
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
    if !valid {
        return Err(Error::bad_request(format!(
            "{name:?} is not the name of a parameter"
        )));
    }
    let plain = ["loose-", "loose_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if RESERVED.iter().any(|own| same_name(own, plain)) {
        return Err(Error::bad_request(format!(
            "Parameter {name} belongs to the guest agent and cannot be changed"
        )));
    }
    Ok(())
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
            "Max_Connections": 200,
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
            "[mysqld]\nmax_connections = 200\ninit_connect = \"SET @a = 1 # note\"\n\
             local_infile = 1\nlong_query_time = 0.5\nskip_name_resolve\n\
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
            json!({"DataDir": "/tmp"}),
            json!({"Init-File": "/tmp/x"}),
            json!({"loose_socket": "/tmp/x"}),
        ] {
            assert!(document_of(&parameters(value.clone())).is_err(), "{value}");
        }
    }
}
