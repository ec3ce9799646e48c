//! Typed access to the arguments of a request.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tracing::info;

/// The arguments of one request. Each is taken out by name; what is left when
/// the method has all it knows is ignored and logged, because a newer control
/// plane may send more; that never fails a call.
#[derive(Debug)]
pub struct Args(Map<String, Value>);

/// A flag as clients write it: `true`, or `1`, which the API passes on.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(untagged)]
pub enum Flag {
    /// `true` or `false`.
    Bool(bool),
    /// Zero is false.
    Number(i64),
}

impl Flag {
    /// Whether it is set.
    pub fn is_set(self) -> bool {
        match self {
            Self::Bool(flag) => flag,
            Self::Number(number) => number != 0,
        }
    }
}

/// A missing argument or one of the wrong type. Its text never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// A required argument is absent.
    #[error("argument {0:?} is missing")]
    Missing(&'static str),
    /// The value has another type than the method's.
    #[error("argument {0:?} has the wrong type or misses a field")]
    Type(&'static str),
}

impl Args {
    /// Wraps opened arguments.
    pub fn new(args: Map<String, Value>) -> Self {
        Self(args)
    }

    /// A required argument.
    ///
    /// # Errors
    /// When it is absent, null for a type that takes no null, or of another type.
    pub fn required<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, ArgsError> {
        let value = self.0.remove(name).ok_or(ArgsError::Missing(name))?;
        // serde's own message quotes the value, which may be a password.
        serde_json::from_value(value).map_err(|_| ArgsError::Type(name))
    }

    /// An optional argument; absent and null are the same.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn optional<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, ArgsError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|_| ArgsError::Type(name)),
        }
    }

    /// Drops an argument that is known and has no meaning here.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Ends the reading: names of arguments nobody asked for go to the log.
    pub fn finish(self) {
        if !self.0.is_empty() {
            let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
            info!(arguments = names.join(","), "Unknown arguments ignored.");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn args(value: Value) -> Args {
        match value {
            Value::Object(map) => Args::new(map),
            _ => panic!("an object"),
        }
    }

    #[test]
    fn absent_and_null_are_the_same_for_optional_arguments() {
        let mut args = args(json!({"limit": null}));
        assert_eq!(args.optional::<u32>("limit").unwrap(), None);
        assert_eq!(args.optional::<String>("marker").unwrap(), None);
    }

    #[test]
    fn errors_name_the_argument_and_never_its_value() {
        let mut args = args(json!({"users": "hunter2"}));
        let error = args.required::<Vec<u32>>("users").unwrap_err().to_string();
        assert!(
            error.contains("users") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(matches!(
            args.required::<u32>("limit"),
            Err(ArgsError::Missing("limit"))
        ));
    }
}
