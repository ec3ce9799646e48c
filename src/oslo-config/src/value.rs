//! Typed values.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::pystr;

/// A port or a range of ports, as written: `first` may be above `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// Left of the dash, or the only port; 1 to 65535.
    pub first: u16,
    /// Right of the dash, or the same port; 1 to 65535.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` lies in the range, both ends included.
    pub fn contains(&self, port: u16) -> bool {
        let (low, high) = (self.first.min(self.last), self.first.max(self.last));
        (low..=high).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A value of the type that its option declares.
#[derive(Clone)]
pub enum Value {
    /// Text, also of options with choices.
    Str(String),
    /// Text of an option declared secret; wiped on drop.
    Secret(SecretString),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// A list, or all values of an option that may be given several times.
    List(Vec<String>),
    /// Pairs in the order written, keys unique.
    Dict(Vec<(String, String)>),
    /// Ports and port ranges.
    Ports(Vec<PortRange>),
}

impl Value {
    /// The text of a string option, secret or not.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            Self::Secret(text) => Some(text.expose_secret()),
            _ => None,
        }
    }

    /// The number of an integer option.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The number of a float option.
    pub fn as_float(&self) -> Option<f64> {
        if let Self::Float(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The flag of a boolean option.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The items of a list or multi-valued option.
    pub fn as_list(&self) -> Option<&[String]> {
        if let Self::List(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The pairs of a dictionary option.
    pub fn as_dict(&self) -> Option<&[(String, String)]> {
        if let Self::Dict(pairs) = self {
            Some(pairs)
        } else {
            None
        }
    }

    /// The ranges of a port list option.
    pub fn as_ports(&self) -> Option<&[PortRange]> {
        if let Self::Ports(ports) = self {
            Some(ports)
        } else {
            None
        }
    }

    /// The value as one would write it in a file; a secret as `***`.
    pub fn render(&self) -> String {
        match self {
            Self::Str(text) => text.clone(),
            Self::Secret(_) => "***".to_owned(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => pystr::float(*value),
            Self::Bool(value) => value.to_string(),
            Self::List(items) => items.join(","),
            Self::Dict(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                pairs.join(",")
            }
            Self::Ports(ports) => ports
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(","),
        }
    }

    /// What Python's `str()` gives for the value: the text that `$name` in
    /// another value is replaced by. Exposes secrets.
    pub(crate) fn substitution(&self) -> String {
        match self {
            Self::Str(text) => text.clone(),
            Self::Secret(text) => text.expose_secret().to_owned(),
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(|item| pystr::repr(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Dict(pairs) => {
                let pair =
                    |(k, v): &(String, String)| format!("{}: {}", pystr::repr(k), pystr::repr(v));
                format!(
                    "{{{}}}",
                    pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
                )
            }
            other => other.render(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => write!(f, "Str({text:?})"),
            Self::Secret(_) => f.write_str("Secret(***)"),
            Self::Int(value) => write!(f, "Int({value})"),
            Self::Float(value) => write!(f, "Float({value})"),
            Self::Bool(value) => write!(f, "Bool({value})"),
            Self::List(items) => write!(f, "List({items:?})"),
            Self::Dict(pairs) => write!(f, "Dict({pairs:?})"),
            Self::Ports(ports) => write!(f, "Ports({ports:?})"),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Secret(a), Self::Secret(b)) => a.expose_secret() == b.expose_secret(),
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => a == b,
            (Self::Ports(a), Self::Ports(b)) => a == b,
            _ => false,
        }
    }
}
