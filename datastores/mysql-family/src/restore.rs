//! From a chain of backups to a data directory.
//!
//! The mark of the restore is on the volume before the first byte, and stays
//! until the server runs on the result: what is interrupted is neither started
//! nor mistaken for data.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use archive::{DIRECTORY_MODE, FILE_MODE, Format, Owner, UnpackError};
use datastore::{Archive, Error, ErrorKind, PrepareRequest, RestoreLink, RestoreSource, Result};
use guest::Command;
use managed::Modes;
use tracing::info;

use crate::backup::{TOOL_KEY, open_files, reading};
use crate::errors::os_error;
use crate::marker::Marker;
use crate::restored::{CLONE_INFO, INFO_FILES, find_file, value_in};
use crate::scratch::{self, Scratch};
use crate::tool::{InstalledTool, ToolLog};
use crate::{Flavor, Server, clone};

/// Files that every backup of a tool has; MariaDB has its own name for it
/// since 11.1.
const CHECKPOINTS: [&str; 2] = ["xtrabackup_checkpoints", "mariadb_backup_checkpoints"];
/// The server's identity: a copy must not pass for the original.
pub(crate) const IDENTITY: &str = "auto.cnf";
/// Memory for the tool while no server runs, in MiB: most of its work is
/// reading pages, which memory saves. More than this brings nothing.
const MAX_MEMORY: u64 = 1024;
/// The tool's own default.
const MIN_MEMORY: u64 = 96;

impl<F: Flavor> Server<F> {
    /// Everything before the first start: configuration, and the data of the
    /// whole chain. The server must not run.
    pub async fn unpack_restore(
        &self,
        request: &PrepareRequest,
        source: &dyn RestoreSource,
    ) -> Result<()> {
        let layout = &self.settings.layout;
        let tool = self.tool_for(source.links()).await?;
        scratch::sweep(&layout.mount_point)?;
        self.ensure_directories()?;
        self.claim_data_dir(Marker::Restoring).await?;
        self.install_configuration(request).await?;
        for (index, link) in source.links().iter().enumerate() {
            let restored = match &tool {
                Some(tool) => self.add_link(tool, source, index).await,
                None => self.unpack_clone(source, index).await,
            };
            restored.map_err(|error| {
                let text = format!("Cannot restore {}: {error}", link.name());
                Error::with_source(error.kind(), text, error)
            })?;
            info!(location = link.location, "Backup restored.");
        }
        if let Some(tool) = tool.filter(|tool| tool.kind.keeps_open && source.links().len() > 1) {
            self.apply(&tool, false, None).await?;
        }
        self.adopt_server_options()?;
        self.finish_data_dir().await
    }

    /// Checks the chain, and that what it takes is installed; `None` for a
    /// clone, which takes nothing.
    async fn tool_for(&self, links: &[RestoreLink]) -> Result<Option<InstalledTool>> {
        let Some(first) = links.first() else {
            return Err(Error::bad_request("There is no backup to restore"));
        };
        let same = |link: &RestoreLink| link.archive == first.archive;
        if !links.iter().all(same) || (first.archive == Archive::Tar && links.len() > 1) {
            return Err(Error::bad_request(
                "The chain of backups mixes formats that do not belong together",
            ));
        }
        match first.archive {
            Archive::Tar
                if first
                    .metadata
                    .get(TOOL_KEY)
                    .is_none_or(|tool| tool == clone::TOOL) =>
            {
                Ok(None)
            }
            Archive::Tar => Err(Error::bad_request(format!(
                "{} is not a backup of this datastore",
                first.location
            ))),
            Archive::Xbstream => {
                let server = self.installed_version().await?;
                self.backup_tool(&server).await.map(Some)
            }
        }
    }

    /// Unpacks a link and adds it to the data.
    async fn add_link(
        &self,
        tool: &InstalledTool,
        source: &dyn RestoreSource,
        index: usize,
    ) -> Result<()> {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        let keep_open = tool.kind.keeps_open && source.links().len() > 1;
        if index == 0 {
            self.unpack_stream(Format::Xbstream, source, 0, &layout.data_dir())
                .await?;
            check_part(&layout.data_dir(), false)?;
            self.check_data_version().await?;
            return self.apply(tool, keep_open, None).await;
        }
        let number = index.to_string();
        let increment = Scratch::new(&layout.mount_point, scratch::INCREMENT, &number, account)?;
        self.unpack_stream(Format::Xbstream, source, index, increment.path())
            .await?;
        check_part(increment.path(), true)?;
        self.apply(tool, keep_open, Some(increment.path())).await?;
        increment.remove().await;
        Ok(())
    }

    async fn unpack_stream(
        &self,
        format: Format,
        source: &dyn RestoreSource,
        index: usize,
        dir: &Path,
    ) -> Result<()> {
        let account = &self.settings.account;
        let owner = Owner {
            uid: account.uid,
            gid: account.gid,
        };
        let bytes = source.open(index).await?;
        archive::unpack(format, bytes, dir.to_owned(), owner)
            .await
            .map_err(|error| match error {
                UnpackError::Source(error) => broken(error),
                UnpackError::Archive(error) => {
                    Error::failed(format!("the archive cannot be unpacked: {error}"))
                }
            })
    }

    /// Lets the tool apply the log of the data, or an increment to it.
    async fn apply(
        &self,
        tool: &InstalledTool,
        keep_open: bool,
        increment: Option<&Path>,
    ) -> Result<()> {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        let mut command = Command::new(&tool.program)
            .arg("--prepare")
            .arg(format!("--target-dir={}", layout.data_dir().display()))
            .arg(format!("--use-memory={}M", memory()))
            .args(open_files())
            .user(account.uid, account.gid);
        if keep_open {
            command = command.arg("--apply-log-only");
        }
        if let Some(dir) = increment {
            command = command.arg(format!("--incremental-dir={}", dir.display()));
        }
        let log = Arc::new(Mutex::new(ToolLog::default()));
        let (mut output, running) = command.start(reading(&log)).map_err(os_error)?;
        // What it prints there is of no use, but it must not block.
        let mut nowhere = tokio::io::sink();
        tokio::io::copy(&mut output, &mut nowhere)
            .await
            .map_err(os_error)?;
        let ended = running.wait().await;
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.judge(ended).map_err(|error| {
            let text = format!("{} --prepare: {error}", tool.kind.programs[0]);
            Error::with_source(error.kind(), text, error)
        })
    }

    /// Unpacks the archive of a clone.
    async fn unpack_clone(&self, source: &dyn RestoreSource, index: usize) -> Result<()> {
        let data_dir = self.settings.layout.data_dir();
        self.unpack_stream(Format::Tar, source, index, &data_dir)
            .await?;
        if find_file(&data_dir, &[CLONE_INFO]).is_none() {
            return Err(incomplete(CLONE_INFO));
        }
        self.check_data_version().await
    }

    /// The last work on the data directory of a copy, whoever filled it.
    pub(crate) async fn finish_data_dir(&self) -> Result<()> {
        let identity = self.settings.layout.data_dir().join(IDENTITY);
        guest::remove_if_exists(&identity).map_err(os_error)?;
        self.own_data_dir().await
    }

    /// Makes the data the server's, and nobody else's, and sees to it that it
    /// is on the disk.
    pub(crate) async fn own_data_dir(&self) -> Result<()> {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        let modes = Modes {
            directory: DIRECTORY_MODE,
            file: FILE_MODE,
        };
        managed::own(&layout.data_dir(), (account.uid, account.gid), modes).await?;
        managed::sync_file_system(&layout.mount_point).await
    }
}

/// Checks that all of a backup has been unpacked, and that it is of the right
/// kind. The files looked at are the last ones of a stream.
fn check_part(dir: &Path, increment: bool) -> Result<()> {
    if find_file(dir, &INFO_FILES).is_none() {
        return Err(incomplete(INFO_FILES[0]));
    }
    let Some(path) = find_file(dir, &CHECKPOINTS) else {
        return Err(incomplete(CHECKPOINTS[0]));
    };
    let kind = value_in(&path, "backup_type")?.unwrap_or_default();
    match increment == (kind == "incremental") {
        true => Ok(()),
        false => Err(Error::bad_request(format!(
            "it is a backup of type {kind:?}, which does not belong here in the chain"
        ))),
    }
}

fn incomplete(name: &str) -> Error {
    Error::failed(format!("the backup is incomplete: it has no {name}"))
}

fn broken(error: io::Error) -> Error {
    let text = format!("the backup cannot be read: {error}");
    Error::with_source(ErrorKind::Failed, text, error)
}

/// Memory for the tool in MiB.
fn memory() -> u64 {
    let total = guest::hardware().map_or(0, |machine| machine.mem_total >> 10);
    (total / 2).clamp(MIN_MEMORY, MAX_MEMORY)
}
