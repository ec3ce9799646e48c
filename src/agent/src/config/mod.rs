//! Configuration: oslo.config sources in, typed [`Settings`] out.
//!
//! Sources and merge rules are those of upstream's agent, started with
//! `--config-dir=/etc/trove/conf.d`; see the crate `oslo-config`. Which options
//! there are is told by the table in `options`.

mod build;
mod check;
mod control_plane;
mod mask;
mod options;
mod rabbit;
mod reader;
mod settings;
mod shell;

use std::fmt;
use std::path::PathBuf;

use oslo_config::{
    Config, DiskFileSystem, Environment, FileSystem, LoadError, Loader, Source, ValueError,
};

use check::Report;

pub(crate) use settings::{BackupSettings, CompressionKind, DatastoreManager, Settings};

/// Names under which upstream's agent is installed; both name default files.
const PROGRAMS: [&str; 2] = ["guest-agent", "trove-guestagent"];

/// What the process was started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigArgs {
    /// `--config-file` and `--config-dir` in command-line order.
    pub(crate) sources: Vec<Source>,
    /// `OS_<GROUP>__<OPTION>` set options; `HOME` helps to find default files.
    pub(crate) environment: Environment,
}

/// The configuration, usable and printable.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What the agent runs by.
    pub(crate) settings: Settings,
    /// What `check` prints.
    pub(crate) report: Report,
}

/// One thing that must be mended before the agent can start. `Display` is one
/// line without secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A file or directory cannot be read.
    #[error(transparent)]
    Source(#[from] LoadError),
    /// A value is not allowed.
    #[error(transparent)]
    Value(#[from] Box<ValueError>),
    /// The control plane's guest_info.conf did not arrive or wasn't read.
    #[error(
        "[DEFAULT] {option} is not set: Trove's task manager writes it to {} through cloud-init \
         when it creates or rebuilds the instance; files read: {}",
        guest_info.display(),
        list(read)
    )]
    NotInjected {
        /// The option.
        option: &'static str,
        /// Where the option is expected.
        guest_info: PathBuf,
        /// What was read instead.
        read: Vec<PathBuf>,
    },
    /// datastore_manager names no datastore that Trove has options for.
    #[error(
        "{origin}: [DEFAULT] datastore_manager = {value:?}: must be one of {}",
        DatastoreManager::names()
    )]
    UnknownDatastore {
        /// Where it was set.
        origin: oslo_config::Origin,
        /// The name.
        value: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if paths.is_empty() {
        "none".to_owned()
    } else {
        paths.join(", ")
    }
}

/// Everything that is wrong with the configuration; one line each.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// At least one.
    pub(crate) problems: Vec<Problem>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let line_break = if i == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

/// Reads and checks the configuration. All problems are collected; a source
/// that cannot be read hides those of values.
pub(crate) fn load(args: &ConfigArgs) -> Result<Loaded, ConfigError> {
    load_from(args, &DiskFileSystem)
}

/// [`load`] on any file system.
pub(crate) fn load_from(
    args: &ConfigArgs,
    file_system: &dyn FileSystem,
) -> Result<Loaded, ConfigError> {
    let rows = options::table();
    let loader = Loader::new("trove", &PROGRAMS, args.environment.clone(), file_system);
    let config = loader.load(&args.sources, rows.iter().map(|row| row.opt));
    let config: Config = config.map_err(|errors| ConfigError {
        problems: errors.into_iter().map(Problem::from).collect(),
    })?;
    let settings = build::build(&config, &rows)?;
    let report = check::report(&config, &rows, &settings);
    Ok(Loaded { settings, report })
}

#[cfg(test)]
pub(crate) mod tests;
