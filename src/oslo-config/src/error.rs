//! Errors: about sources ([`LoadError`]) and about values ([`ValueError`]).

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::config::Origin;
use crate::ini::SyntaxError;
use crate::kind::Expected;

/// A source that cannot be read. One line each; no content is shown.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// `--config-dir` names nothing.
    #[error("{}: the configuration directory does not exist", .0.display())]
    DirectoryNotFound(PathBuf),
    /// `--config-dir` names something that cannot be listed.
    #[error("{}: cannot list the configuration directory: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// `--config-file` names nothing, or a link in a directory is dangling.
    #[error("{}: the configuration file does not exist", .0.display())]
    FileNotFound(PathBuf),
    /// A file cannot be read.
    #[error("{}: cannot read the configuration file: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A file is not UTF-8.
    #[error("{}:{line}: the file is not UTF-8 text", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line of the first such byte, from 1.
        line: usize,
    },
    /// A line is not INI.
    #[error("{}:{line}: {error}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: SyntaxError,
    },
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It is not of the option's type; what is allowed.
    NotAllowed(Expected),
    /// `$name` of an option that doesn't exist. The name is absent when the
    /// value is secret: it may be a part of a password.
    UnknownReference(Option<String>),
    /// `$name` leads back to the option itself.
    Cycle,
    /// `$name` of an option whose own value is bad. What is wrong with that one
    /// is absent when this value is secret.
    BadReference(Option<Box<ValueError>>),
}

/// A value that cannot be used. `Display` is one line: where it was set, the
/// section, the key, the value unless it is secret, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// Where the value came from.
    pub origin: Origin,
    /// Section as read, lower case unless `DEFAULT`.
    pub group: String,
    /// Key as read, which may be a deprecated one.
    pub name: String,
    /// The text, absent when secret.
    pub value: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

impl std::error::Error for ValueError {}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{}] {}", self.origin, self.group, self.name)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        f.write_str(": ")?;
        match &self.problem {
            Problem::NotAllowed(expected) => write!(f, "must be {expected}"),
            Problem::UnknownReference(Some(name)) => write!(
                f,
                "there is no option ${{{name}}} to take the value from (write $$ for a dollar sign)"
            ),
            Problem::UnknownReference(None) => f.write_str(
                "a dollar sign refers to an option that does not exist (write $$ for a dollar sign)",
            ),
            Problem::Cycle => f.write_str("the value refers to itself"),
            Problem::BadReference(Some(inner)) => {
                write!(f, "it refers to a value that cannot be used: {inner}")
            }
            Problem::BadReference(None) => {
                f.write_str("it refers to a value that cannot be used")
            }
        }
    }
}
