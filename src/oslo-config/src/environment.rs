//! Environment variables as a source of values.

use std::collections::BTreeMap;
use std::fmt;

/// A copy of environment variables. `OS_<GROUP>__<OPTION>`, in upper case,
/// sets an option; it wins over every file. Deprecated names don't count, and
/// quotes are not taken off (`oslo_config/sources/_environment.py`).
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process, without variables that aren't UTF-8.
    pub fn of_process() -> Self {
        let pairs = std::env::vars_os();
        pairs
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable; one that is set but empty counts.
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.0.get(variable).map(String::as_str)
    }

    /// The variable that sets an option.
    pub fn variable(group: &str, option: &str) -> String {
        format!("OS_{}__{}", group.to_uppercase(), option.to_uppercase())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }
}

impl fmt::Debug for Environment {
    // No values: any of them may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
