//! Types of options and the conversion of text (`oslo_config/types.py`).

use std::fmt;

use secrecy::SecretString;

use crate::number;
use crate::pystr::strip;
use crate::uri::is_uri;
use crate::value::{PortRange, Value};

/// The type of an option with what limits it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Any text.
    Str,
    /// One of the given texts.
    Choice {
        /// What is allowed.
        choices: &'static [&'static str],
        /// Whether case matters. The value keeps the case it was written in.
        ignore_case: bool,
    },
    /// A whole number of 64 bits; white space alone leaves the option unset.
    Int {
        /// Smallest allowed.
        min: Option<i64>,
        /// Largest allowed.
        max: Option<i64>,
    },
    /// A number; white space alone leaves the option unset.
    Float {
        /// Smallest allowed.
        min: Option<f64>,
        /// Largest allowed.
        max: Option<f64>,
    },
    /// true, 1, on, yes, false, 0, off or no in any case.
    Bool,
    /// Texts separated by commas, white space around each taken off, commas at
    /// the end ignored.
    List,
    /// `key:value` pairs separated by commas, split at the first colon.
    Dict,
    /// Ports and port ranges separated by commas.
    Ports,
    /// A URI with scheme and host.
    Uri,
    /// Text; every occurrence counts, earlier files first.
    Multi,
}

/// What would have been allowed, in words; never the value itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(pub String);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Kind {
    /// A whole number without bounds.
    pub const INT: Self = Self::Int {
        min: None,
        max: None,
    };
    /// A TCP or UDP port; 0 is allowed, as in the original.
    pub const PORT: Self = Self::Int {
        min: Some(0),
        max: Some(65_535),
    };
    /// A number without bounds.
    pub const FLOAT: Self = Self::Float {
        min: None,
        max: None,
    };

    /// A whole number of at least `min`.
    pub const fn at_least(min: i64) -> Self {
        Self::Int {
            min: Some(min),
            max: None,
        }
    }

    /// A whole number from `min` to `max`.
    pub const fn between(min: i64, max: i64) -> Self {
        Self::Int {
            min: Some(min),
            max: Some(max),
        }
    }

    /// One of `choices`, case mattering.
    pub const fn one_of(choices: &'static [&'static str]) -> Self {
        Self::Choice {
            choices,
            ignore_case: false,
        }
    }

    /// Converts text; `None` is an option left empty. Interpolation has been
    /// done by then.
    pub fn convert(self, text: &str) -> Result<Option<Value>, Expected> {
        let value = match self {
            Self::Str => Some(Value::Str(text.to_owned())),
            Self::Multi => Some(Value::List(vec![text.to_owned()])),
            Self::Choice {
                choices,
                ignore_case,
            } => choice(text, choices, ignore_case)
                .then(|| Some(Value::Str(text.to_owned())))
                .flatten(),
            Self::Int { .. } | Self::Float { .. } if strip(text).is_empty() => return Ok(None),
            Self::Int { min, max } => number::int(text)
                .filter(|v| min.is_none_or(|min| *v >= min) && max.is_none_or(|max| *v <= max))
                .map(Value::Int),
            // Written so that nan passes, as in the original.
            Self::Float { min, max } => number::float(text)
                .filter(|v| !min.is_some_and(|min| *v < min) && !max.is_some_and(|max| *v > max))
                .map(Value::Float),
            Self::Bool => boolean(text).map(Value::Bool),
            Self::List => Some(Value::List(items(text).map(str::to_owned).collect())),
            Self::Dict => pairs(text).map(Value::Dict),
            Self::Ports => items(text)
                .map(port_range)
                .collect::<Option<_>>()
                .map(Value::Ports),
            Self::Uri => is_uri(text).then(|| Value::Str(text.to_owned())),
        };
        value.map(Some).ok_or_else(|| self.expected())
    }

    /// [`Kind::convert`] for a secret: text becomes [`Value::Secret`].
    pub(crate) fn convert_secret(self, text: &str) -> Result<Option<Value>, Expected> {
        match self.convert(text)? {
            Some(Value::Str(text)) => Ok(Some(Value::Secret(SecretString::from(text)))),
            other => Ok(other),
        }
    }

    /// What the type allows, in words.
    pub fn expected(self) -> Expected {
        let text = match self {
            Self::Str | Self::Multi => "text".to_owned(),
            Self::Choice { choices, .. } => format!("one of {}", choices.join(", ")),
            Self::Int { min, max } => bounds("a whole number", min, max),
            Self::Float { min, max } => bounds("a number", min, max),
            Self::Bool => "one of true, 1, on, yes, false, 0, off, no".to_owned(),
            Self::List => "texts separated by commas".to_owned(),
            Self::Dict => {
                "key:value pairs separated by commas, each key once and not empty".to_owned()
            }
            Self::Ports => "ports or port ranges from 1 to 65535 separated by commas, such as \
                            3306 or 16379-16384"
                .to_owned(),
            Self::Uri => "a URI with scheme and host, such as http://host:8080/path".to_owned(),
        };
        Expected(text)
    }
}

fn bounds<T: fmt::Display>(what: &str, min: Option<T>, max: Option<T>) -> String {
    match (min, max) {
        (None, None) => what.to_owned(),
        (Some(min), None) => format!("{what} of at least {min}"),
        (None, Some(max)) => format!("{what} of at most {max}"),
        (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
    }
}

fn choice(text: &str, choices: &[&str], ignore_case: bool) -> bool {
    choices.iter().any(|choice| {
        *choice == text || (ignore_case && choice.to_lowercase() == text.to_lowercase())
    })
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    let text = strip(text).trim_end_matches(',');
    let count = if text.is_empty() { 0 } else { usize::MAX };
    text.split(',').map(strip).take(count)
}

/// Pairs as `types.Dict` reads them: a part without colon is joined with the
/// next one, so `a,b:c` is the key `a,b`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut result: Vec<(String, String)> = Vec::new();
    let text = strip(text);
    if text.is_empty() {
        return Some(result);
    }
    let mut parts = text.split(',');
    while let Some(part) = parts.next() {
        let mut pair = part.to_owned();
        while !pair.contains(':') {
            pair = format!("{pair},{}", parts.next()?);
        }
        let (key, value) = pair.split_once(':')?;
        let (key, value) = (strip(key), strip(value));
        if key.is_empty() || result.iter().any(|(known, _)| known == key) {
            return None;
        }
        result.push((key.to_owned(), value.to_owned()));
    }
    Some(result)
}

fn port_range(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(PortRange {
        first: port(first)?,
        last: port(last)?,
    })
}

fn port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
#[path = "kind_tests.rs"]
mod tests;
