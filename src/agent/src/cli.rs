//! The command line.

use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use oslo_config::Source;

use crate::commands::{BackupAction, Replace};

/// OpenStack Trove guest agent.
///
/// Without a subcommand it runs as the agent, as upstream's agent is started:
/// `trove-guestagent --config-dir=/etc/trove/conf.d`.
#[derive(Debug, Parser)]
#[command(name = "trove-guestagent", version, about, max_term_width = 100)]
pub struct Cli {
    /// Read this oslo.config file; may be repeated.
    #[arg(long, global = true, value_name = "FILE")]
    config_file: Vec<PathBuf>,

    /// Read *.conf of this directory in order; may be repeated.
    #[arg(long, global = true, value_name = "DIRECTORY")]
    config_dir: Vec<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// The subcommands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Run as the agent (the default).
    Run,
    /// Validate the configuration and print what is in effect, secrets masked.
    Check,
    /// Test each hop from the configuration to the database and say what is broken.
    Doctor,
    /// Print what the running agent is doing.
    Status,
    /// Make, list, verify and restore backups.
    #[command(subcommand)]
    Backup(BackupAction),
    /// Put another binary in this one's place and restart the agent; if it does
    /// not come up, the one before comes back. The database goes on all the time.
    Replace(Replace),
    /// Print the version.
    Version,
}

impl Cli {
    /// Reads the process's command line; usage errors end the process, as
    /// clap does, with status 64 (EX_USAGE of sysexits(3)).
    pub fn from_process() -> (Self, Vec<Source>) {
        let matches = Self::command().try_get_matches().unwrap_or_else(|error| {
            let _ = error.print();
            std::process::exit(if error.use_stderr() { 64 } else { 0 });
        });
        let sources = sources(&matches);
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        (cli, sources)
    }
}

/// clap sorts values by argument; their indices tell the order between the two kinds.
fn sources(matches: &ArgMatches) -> Vec<Source> {
    let mut found = Vec::new();
    let mut level = Some(matches);
    while let Some(matches) = level {
        type Kind = fn(PathBuf) -> Source;
        let kinds: [(&str, Kind); 2] = [("config_file", Source::File), ("config_dir", Source::Dir)];
        for (name, kind) in kinds {
            let values = matches
                .get_many::<PathBuf>(name)
                .into_iter()
                .flatten()
                .cloned();
            let indices = matches.indices_of(name).into_iter().flatten();
            found.extend(indices.zip(values.map(kind)));
        }
        level = matches.subcommand().map(|(_, matches)| matches);
    }
    found.sort_by_key(|(index, _)| *index);
    found.dedup();
    found.into_iter().map(|(_, source)| source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> (Option<Action>, Vec<Source>) {
        let matches = Cli::command().try_get_matches_from(args).unwrap();
        let sources = sources(&matches);
        (Cli::from_arg_matches(&matches).unwrap().action, sources)
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sources_keep_the_order_of_the_command_line() {
        let (action, sources) = parse(&[
            "a",
            "--config-dir=/d1",
            "--config-file",
            "/f",
            "--config-dir",
            "/d2",
        ]);
        assert_eq!(action, None);
        assert_eq!(
            sources,
            [
                Source::Dir("/d1".into()),
                Source::File("/f".into()),
                Source::Dir("/d2".into()),
            ]
        );
    }

    #[test]
    fn sources_may_stand_behind_the_subcommand() {
        let (action, sources) = parse(&["a", "check", "--config-dir", "/d"]);
        assert_eq!(action, Some(Action::Check));
        assert_eq!(sources, [Source::Dir("/d".into())]);
    }
}
