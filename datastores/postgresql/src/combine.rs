//! From a full backup and changed blocks to data, and whether data is whole:
//! what programs of the server do.

use std::path::Path;
use std::time::Duration;

use datastore::{Error, ErrorKind, Result};
use guest::Command;
use managed::Scratch;
use tracing::{info, warn};

use crate::Server;
use crate::errors::os_error;
use crate::label::MANIFEST_FILE;

/// All data is read and written once.
const LIMIT: Duration = Duration::from_secs(12 * 3600);
/// The release series since which files that have not changed can be linked
/// rather than copied.
const LINKS_SINCE: u32 = 18;

impl Server {
    /// Makes data of a full backup and increments to it, oldest first.
    pub(crate) async fn combine(&self, programs: &Path, parts: &[Scratch]) -> Result<()> {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        let wanted = match programs_major(programs).await? {
            major if major >= LINKS_SINCE => Some("--link"),
            _ => None,
        };
        info!(parts = parts.len(), "Combining backups.");
        Command::new(programs.join("pg_combinebackup"))
            .args(wanted)
            // All is synchronised at the end, with what else is on the volume.
            .args(["--no-sync", "--output"])
            .arg(layout.data_dir())
            .args(parts.iter().map(Scratch::path))
            .user(account.uid, account.gid)
            .timeout(LIMIT)
            .run()
            .await
            .map(drop)
            .map_err(|error| {
                let text = format!("The backups of the chain cannot be combined: {error}");
                Error::with_source(ErrorKind::Failed, text, error)
            })
    }

    /// Checks that every file of the manifest is in `dir`, and has its size.
    /// What is in them has been verified on the way.
    pub(crate) async fn verify(&self, programs: &Path, dir: &Path) -> Result<()> {
        let account = &self.settings.account;
        let program = programs.join("pg_verifybackup");
        if !dir.join(MANIFEST_FILE).is_file() || !program.is_file() {
            warn!(dir = %dir.display(), "The files of the backup are not counted: there is no manifest, or no pg_verifybackup.");
            return Ok(());
        }
        Command::new(program)
            .args(["--skip-checksums", "--no-parse-wal", "--quiet"])
            .arg(dir)
            .user(account.uid, account.gid)
            .timeout(LIMIT)
            .run()
            .await
            .map(drop)
            .map_err(|error| {
                let text = format!("the backup is not what its manifest says: {error}");
                Error::with_source(ErrorKind::Failed, text, error)
            })
    }
}

async fn programs_major(programs: &Path) -> Result<u32> {
    let command = Command::new(programs.join("postgres")).arg("--version");
    let output = command.run().await.map_err(os_error)?.stdout_text();
    let version = crate::ServerVersion::parse_program_output(&output);
    Ok(version.map_or(0, |version| version.major))
}
