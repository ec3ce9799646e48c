//! From an empty volume to a server.
//!
//! `initdb` makes one role, the superuser, without a password: the access
//! rules let it in only from the agent's account over the socket, from the
//! first start on.

use std::io;
use std::path::Path;
use std::time::Duration;

use datastore::{Error, PrepareRequest, Result};
use guest::{Attributes, Command};
use tracing::{info, warn};

use crate::Server;
use crate::errors::{io_failed, os_error, sql_error};
use crate::marker::Marker;
use crate::server::SUPERUSER;

/// Creating the system tables takes seconds; on slow volumes more of them.
const INITIALISE_LIMIT: Duration = Duration::from_secs(600);
/// The locale of Trove's templates, and the one that every system has.
const LOCALES: [&str; 2] = ["en_US.utf8", "C.UTF-8"];

impl Server {
    /// Everything before the first start: directories, configuration, an
    /// initialised data directory. The server must not run.
    pub async fn install(&self, request: &PrepareRequest) -> Result<()> {
        self.ensure_directories()?;
        self.claim_data_dir(Marker::Initialising).await?;
        self.install_configuration(request).await?;
        self.initialise(request.datastore_version.as_deref())
            .await?;
        self.link_programs()?;
        self.write_access_rules()
    }

    /// Directories of configuration, and what the server's account owns on the
    /// volume.
    pub(crate) fn ensure_directories(&self) -> Result<()> {
        let layout = &self.settings.layout;
        for dir in [layout.config_dir(), &layout.include_dir] {
            ensure_directory(dir, 0o755, None)?;
        }
        let owner = Some((self.settings.account.uid, self.settings.account.gid));
        ensure_directory(&layout.volume_dir(), 0o750, owner)
    }

    /// Makes an empty data directory and an empty WAL archive, with a mark that says for what, or takes
    /// the leftovers of an interrupted initialisation or restore away. Data of
    /// anybody's is never touched.
    pub(crate) async fn claim_data_dir(&self, purpose: Marker) -> Result<()> {
        let layout = &self.settings.layout;
        let (data_dir, archive) = (layout.data_dir(), layout.wal_archive());
        let leftover = [Marker::Initialising, Marker::Restoring]
            .into_iter()
            .find(|marker| marker.is_set(layout));
        let failed = |error| io_failed("prepare directory", &data_dir, error);
        if !(managed::is_empty(&data_dir).map_err(failed)?
            && managed::is_empty(&archive).map_err(failed)?)
        {
            if leftover.is_none() {
                let reason = match purpose {
                    Marker::Restoring => "and a backup is never restored over data",
                    _ => "and no backup is to be restored",
                };
                return Err(Error::failed(format!(
                    "{} holds data {reason}: it is not touched. Use a new volume, or remove the \
                     data if nobody needs it",
                    layout.volume_dir().display()
                )));
            }
            warn!(path = %data_dir.display(), "The data was left incomplete; starting over.");
            for dir in [&data_dir, &archive] {
                remove_dir(dir).await.map_err(failed)?;
            }
        }
        let owner = (self.settings.account.uid, self.settings.account.gid);
        for dir in [&data_dir, &archive] {
            ensure_directory(dir, 0o700, Some(owner))?;
        }
        purpose.set(layout)?;
        match leftover {
            Some(other) if other != purpose => other.remove(layout),
            _ => Ok(()),
        }
    }

    async fn initialise(&self, wanted: Option<&str>) -> Result<()> {
        let data_dir = self.settings.layout.data_dir();
        let account = &self.settings.account;
        let locale = self.locale().await;
        info!(path = %data_dir.display(), locale, "Initialising the data directory.");
        Command::new(self.programs(wanted)?.join("initdb"))
            .arg("-D")
            .arg(&data_dir)
            .args(["--username", SUPERUSER, "--encoding", "UTF8"])
            .args(["--locale", locale])
            // These rules are never in force: hba_file names others.
            .args(["--auth-local", "peer", "--auth-host", "scram-sha-256"])
            .arg("--data-checksums")
            .user(account.uid, account.gid)
            .timeout(INITIALISE_LIMIT)
            .run()
            .await
            .map(drop)
            .map_err(os_error)
    }

    /// The first of [`LOCALES`] that this system has.
    async fn locale(&self) -> &'static str {
        let known = match Command::new("locale").arg("-a").run().await {
            Ok(output) => output.stdout_text(),
            Err(error) => {
                warn!(%error, "Locales not known.");
                String::new()
            }
        };
        let is_known = |locale: &&str| known.lines().any(|line| line.eq_ignore_ascii_case(locale));
        let [wanted, everywhere] = LOCALES;
        [wanted].into_iter().find(is_known).unwrap_or(everywhere)
    }

    /// Checks that nobody comes in without a password, and takes the mark of
    /// the initialisation away.
    pub async fn check_secured(&self) -> Result<()> {
        let session = self.session().await?;
        let open = session
            .finds(
                "SELECT 1 FROM pg_hba_file_rules WHERE auth_method = 'trust' OR error IS NOT NULL",
                &[],
            )
            .await;
        session.close().await;
        if open.map_err(|error| sql_error("check the access rules", error))? {
            return Err(Error::failed(
                "The new server is not secure: its access rules are not those of the agent",
            ));
        }
        Marker::Initialising.remove(&self.settings.layout)?;
        info!("Server secured.");
        Ok(())
    }
}

pub(crate) async fn remove_dir(path: &Path) -> io::Result<()> {
    match tokio::fs::remove_dir_all(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn ensure_directory(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    guest::ensure_directory(path, &Attributes { mode, owner }).map_err(os_error)
}
