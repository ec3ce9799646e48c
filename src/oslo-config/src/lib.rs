//! Reads configuration the way oslo.config 10.7 does, and knows nothing of
//! the program it reads for.
//!
//! A program describes its options in a table of [`Opt`]s. A [`Loader`] finds
//! and parses the files of a command line (or the default ones), and the
//! [`Config`] it returns answers for each option with its typed [`Value`] and
//! the [`Origin`] of that value: a line of a file, an environment variable or
//! the default of the table.
//!
//! Secrets: the text of a value never appears in `Debug` output, and an error
//! about a secret option shows neither the value nor a part of it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;
mod environment;
mod error;
mod filesystem;
pub mod ini;
mod interpolate;
mod kind;
mod loader;
mod number;
mod opt;
mod pystr;
mod uri;
mod value;

pub use config::{Config, Origin, Resolved, Setting};
pub use environment::Environment;
pub use error::{LoadError, Problem, ValueError};
pub use filesystem::{DiskFileSystem, FileSystem, MemoryFileSystem};
pub use kind::{Expected, Kind};
pub use loader::{Loader, Source};
pub use opt::Opt;
pub use value::{PortRange, Value};
