//! Settings that a replica must not have smaller than its source: the server
//! does not start otherwise. What the source had is in the replica's data.

use std::path::PathBuf;

use datastore::Result;
use guest::Command;
use tracing::info;

use crate::Server;
use crate::conf::Document;
use crate::errors::{io_failed, os_error};
use crate::overrides::{Group, Overrides};
use crate::recovered::{AUTO_CONF, STANDBY_SIGNAL};

/// The parameters, what `pg_controldata` calls them, and their defaults.
const PARAMETERS: [(&str, &str, u64); 5] = [
    ("max_connections", "max_connections setting", 100),
    ("max_worker_processes", "max_worker_processes setting", 8),
    ("max_wal_senders", "max_wal_senders setting", 10),
    ("max_prepared_transactions", "max_prepared_xacts setting", 0),
    (
        "max_locks_per_transaction",
        "max_locks_per_xact setting",
        64,
    ),
];
/// The override of a replica.
const OVERRIDE: &str = "replica";

impl Server {
    /// Before a start: makes a replica at least as large as its source was,
    /// whatever its configuration says, and nobody else.
    pub(crate) async fn fit_replica(&self) -> Result<()> {
        let layout = &self.settings.layout;
        let overrides = Overrides::new(&layout.include_dir);
        overrides.remove(Group::SystemLate, OVERRIDE)?;
        if !layout.data_dir().join(STANDBY_SIGNAL).exists() {
            return Ok(());
        }
        let control = self.control_data().await?;
        let files = self.configuration_files()?;
        let larger = larger(&control, &files);
        if larger.settings().next().is_none() {
            return Ok(());
        }
        let names: Vec<&str> = larger.settings().map(|(name, _)| name).collect();
        info!(
            parameters = names.join(", "),
            "Parameters are as large as the source's."
        );
        overrides.write(Group::SystemLate, OVERRIDE, &larger)
    }

    /// What the data tells about itself while the server is down.
    pub(super) async fn control_data(&self) -> Result<String> {
        let output = Command::new(self.program("pg_controldata")?)
            .arg(self.settings.layout.data_dir())
            .run()
            .await
            .map_err(os_error)?;
        Ok(output.stdout_text())
    }

    /// The configuration in the order it is read: later files win.
    fn configuration_files(&self) -> Result<Vec<Document>> {
        let layout = &self.settings.layout;
        let failed = |error| io_failed("read directory", &layout.include_dir, error);
        let mut included: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(&layout.include_dir).map_err(failed)? {
            included.push(entry.map_err(failed)?.path());
        }
        included.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        });
        included.sort();
        let auto_conf = layout.data_dir().join(AUTO_CONF);
        std::iter::once(&layout.base_config)
            .chain(&included)
            .chain([&auto_conf])
            .map(|path| {
                let text = guest::read_optional(path).map_err(os_error)?;
                Ok(Document::parse(&text.unwrap_or_default()))
            })
            .collect()
    }
}

/// Parameters that the source had larger than these files have them.
fn larger(control: &str, files: &[Document]) -> Document {
    let mut larger = Document::default();
    for (name, label, default) in PARAMETERS {
        let Some(needed) = number(control, label) else {
            continue;
        };
        let own = files.iter().rev().find_map(|file| file.get(name));
        let own = own.map_or(default, |text| text.parse().unwrap_or_default());
        if own < needed {
            larger.set(name, &needed.to_string());
        }
    }
    larger
}

/// A number that `pg_controldata` prints.
pub(super) fn number(control: &str, label: &str) -> Option<u64> {
    let value = control.lines().find_map(|line| line.strip_prefix(label))?;
    value.strip_prefix(':')?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_source_had_larger() {
        let control = "wal_level setting:                    replica\n\
             max_connections setting:              300\n\
             max_worker_processes setting:         8\n\
             max_wal_senders setting:              10\n\
             max_prepared_xacts setting:           5\n\
             max_locks_per_xact setting:           64\n";
        let files = |texts: &[&str]| -> Vec<Document> {
            texts.iter().map(|text| Document::parse(text)).collect()
        };
        let base = "max_connections = 400\nmax_worker_processes = 4\n";
        let found = larger(control, &files(&[base, "max_connections = 200", ""]));
        let settings: Vec<_> = found.settings().collect();
        assert_eq!(
            settings,
            [
                ("max_connections", "300"),
                ("max_worker_processes", "8"),
                ("max_prepared_transactions", "5")
            ]
        );
        let same = "max_connections = 300\nmax_prepared_transactions = 5\n";
        assert_eq!(larger(control, &files(&[same])).settings().next(), None);
        assert_eq!(larger("", &[]).settings().next(), None);
    }
}
