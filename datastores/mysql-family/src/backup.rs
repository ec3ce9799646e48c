//! Backups of the running server.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datastore::{
    Archive, BackupMetadata, BackupRequest, BackupStream, Bytestream, Error, ErrorKind, Result,
};
use guest::{Command, Running};
use tracing::{info, warn};

use crate::errors::os_error;
use crate::scratch::{self, Scratch, io_failed};
use crate::tool::{InstalledTool, ToolLog, write_options};
use crate::{Flavor, Server, Vendor, clone};

/// Threads of the tool that read files: more than this only take time from
/// the server.
const MAX_PARALLEL: u32 = 4;
/// Key of the metadata that names the tool; absent in backups of upstream's.
pub(crate) const TOOL_KEY: &str = "backup_tool";
/// Key of the metadata that tells where the next increment begins.
const LSN_KEY: &str = "lsn";

impl<F: Flavor> Server<F> {
    /// See [`Datastore::start_backup`](datastore::Datastore::start_backup).
    pub(crate) async fn begin_backup(
        &self,
        request: &BackupRequest,
    ) -> Result<Box<dyn BackupStream>> {
        let session = self.session().await?;
        let version = session.version().clone();
        session.close().await;
        let lsn = request.parent.as_ref().map(lsn_of).transpose()?;
        scratch::sweep(&self.settings.layout.mount_point)?;
        match self.backup_tool(&version).await {
            Ok(tool) => Ok(Box::new(self.run_tool(request, tool, lsn).await?)),
            Err(error) if !version.is_at_least(Vendor::MySql, clone::SINCE) => Err(error),
            Err(error) if lsn.is_some() => {
                let text = format!("{error}. Without it, only full backups can be made");
                Err(Error::with_source(ErrorKind::NotSupported, text, error))
            }
            Err(error) => {
                info!(reason = %error, "The data is cloned, for lack of a backup tool.");
                Ok(Box::new(self.clone_data(request).await?))
            }
        }
    }

    async fn run_tool(
        &self,
        request: &BackupRequest,
        tool: InstalledTool,
        lsn: Option<&str>,
    ) -> Result<ToolBackup> {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        let volume = &layout.mount_point;
        let scratch = Scratch::new(volume, scratch::BACKUP, &request.id, account)?;
        let target = scratch.directory("target", account)?;
        let options = scratch.path().join("options.cnf");
        let owner = (account.uid, account.gid);
        let login = self.administrator()?;
        write_options(&options, &layout.base_config, &layout.socket, &login, owner)?;
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let mut command = Command::new(&tool.program)
            // Must be the first.
            .arg(option("defaults-file", &options))
            .args(["--backup", "--stream=xbstream"])
            .arg(format!("--parallel={}", parallel()))
            .arg(option("datadir", &layout.data_dir()))
            .arg(option("target-dir", &target))
            .arg(option("tmpdir", &target))
            .args(open_files())
            .user(account.uid, account.gid);
        if let Some(lsn) = lsn {
            if (tool.kind.names_increments)(tool.own) {
                command = command.arg("--incremental");
            }
            command = command.arg(format!("--incremental-lsn={lsn}"));
        }
        let estimate = disk_usage(&layout.data_dir()).await?;
        let log = Arc::new(Mutex::new(ToolLog::default()));
        let (output, running) = command.start(reading(&log)).map_err(os_error)?;
        info!(tool = %tool.program.display(), lsn, "Backup started.");
        Ok(ToolBackup {
            output: Some(Box::pin(output)),
            running,
            log,
            name: tool.kind.programs[0],
            incremental: lsn.is_some(),
            estimate,
            scratch,
        })
    }
}

/// A backup that a tool makes.
struct ToolBackup {
    // Killed before its directory is removed.
    running: Running,
    scratch: Scratch,
    output: Option<Bytestream>,
    log: Arc<Mutex<ToolLog>>,
    name: &'static str,
    incremental: bool,
    estimate: u64,
}

#[async_trait]
impl BackupStream for ToolBackup {
    fn archive(&self) -> Archive {
        Archive::Xbstream
    }

    fn estimate(&self) -> u64 {
        self.estimate
    }

    fn reader(&mut self) -> Bytestream {
        self.output
            .take()
            .unwrap_or_else(|| Box::pin(tokio::io::empty()))
    }

    async fn finish(self: Box<Self>) -> Result<BackupMetadata> {
        // Not read to its end: the tool must not wait for a reader.
        drop(self.output);
        let ended = self.running.wait().await;
        self.scratch.remove().await;
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: Error| {
            let text = format!("{} made no backup: {error}", self.name);
            Error::with_source(error.kind(), text, error)
        };
        log.judge(ended).map_err(failed)?;
        let mut metadata = log.metadata().clone();
        if !metadata.contains_key(LSN_KEY) {
            return Err(failed(Error::failed("it does not tell its check point")));
        }
        metadata.insert(TOOL_KEY.to_owned(), self.name.to_owned());
        info!(
            tool = self.name,
            incremental = self.incremental,
            "Backup completed."
        );
        Ok(metadata)
    }

    async fn abort(self: Box<Self>) {
        self.running.kill().await;
        self.scratch.remove().await;
        warn!(tool = self.name, "Backup aborted.");
    }
}

/// Where an increment to a backup with this metadata begins.
fn lsn_of(parent: &BackupMetadata) -> Result<&str> {
    if parent.get(TOOL_KEY).is_some_and(|tool| tool == clone::TOOL) {
        return Err(Error::new(
            ErrorKind::NotSupported,
            "The parent backup is a clone of the data, to which nothing can be added: make a \
             full backup; with percona-xtrabackup in the image it can have incremental ones",
        ));
    }
    let lsn = parent.get(LSN_KEY).map(|lsn| lsn.trim());
    lsn.filter(|lsn| !lsn.is_empty() && lsn.bytes().all(|c| c.is_ascii_digit()))
        .ok_or_else(|| {
            Error::bad_request(
                "The metadata of the parent backup has no valid lsn: nothing can be added to it; \
                 make a full backup",
            )
        })
}

/// How many threads a tool gets.
pub(crate) fn parallel() -> u32 {
    guest::hardware().map_or(1, |machine| machine.num_cpus.clamp(1, MAX_PARALLEL))
}

/// A tool holds every table open at once. It may raise its own limit up to
/// the hard one; asked for more, it stays at the soft one.
pub(crate) fn open_files() -> Option<String> {
    let limit = guest::max_open_files()?;
    Some(format!("--open-files-limit={limit}"))
}

/// Passes the lines of a tool on to its log.
pub(crate) fn reading(log: &Arc<Mutex<ToolLog>>) -> impl FnMut(&str) + Send + 'static {
    let log = Arc::clone(log);
    move |line| {
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(line);
    }
}

/// Bytes that a directory takes on the disk. Files that vanish meanwhile
/// don't count.
async fn disk_usage(dir: &Path) -> Result<u64> {
    let dir = dir.to_owned();
    let walk = move || usage_of(&dir).map_err(|error| io_failed("read", &dir, error));
    tokio::task::spawn_blocking(walk)
        .await
        .unwrap_or_else(|error| Err(Error::failed(format!("Cannot count the data: {error}"))))
}

/// Works for [`disk_usage`]; blocks.
pub(crate) fn usage_of(dir: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        total += match metadata.is_dir() {
            true => usage_of(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn increments_need_a_place_to_begin() {
        let of = |pairs: &[(&str, &str)]| {
            let metadata: BackupMetadata = pairs
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            lsn_of(&metadata).map(str::to_owned)
        };
        assert_eq!(of(&[("lsn", "44776")]).unwrap(), "44776");
        for lsn in ["", "-1", "1 --host=evil", "4e4"] {
            let kind = of(&[("lsn", lsn)]).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::BadRequest, "{lsn}");
        }
        assert_eq!(of(&[]).unwrap_err().kind(), ErrorKind::BadRequest);
        let error = of(&[("backup_tool", "clone")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSupported);
        assert!(error.to_string().contains("percona-xtrabackup"), "{error}");
    }
}
