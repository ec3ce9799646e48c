//! Backups by MySQL's own clone plugin, for images without a backup tool.
//!
//! The server copies its InnoDB data into a directory on the volume (MySQL
//! manual, "Cloning Data Locally"), which is streamed as a tar archive. The
//! copy needs space for a while: it is removed file by file as it is sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use datastore::{
    Archive, BackupMetadata, BackupRequest, BackupStream, Bytestream, Error, ErrorKind, Result,
};
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::backup::TOOL_KEY;
use crate::credentials::Login;
use crate::errors::{os_error, sql_error};
use crate::marker::Marker;
use crate::restored::{CLONE_INFO, SERVER_OPTIONS, TEMPORARY_PLUGIN};
use crate::scratch::{self, Scratch, io_failed};
use crate::session::{Session, SqlResult};
use crate::{Flavor, Layout, Server, Vendor, sql};

/// The first MySQL that has the plugin.
pub(crate) const SINCE: (u32, u32, u32) = (8, 0, 17);
/// Its name in the metadata of backups.
pub(crate) const TOOL: &str = "clone";
/// Terabytes take hours.
const LIMIT: Duration = Duration::from_secs(48 * 3600);
/// Space left for what the server does meanwhile.
const RESERVE: u64 = 64 << 20;

impl<F: Flavor> Server<F> {
    /// Clones the data and begins to send it.
    pub(crate) async fn clone_data(&self, request: &BackupRequest) -> Result<CloneBackup> {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        let login = self.administrator()?;
        let mut session = self.session().await?;
        refuse_other_engines(&mut session).await?;
        let estimate = self.room_for_clone().await?;
        let scratch = Scratch::new(&layout.mount_point, scratch::CLONE, &request.id, account)?;
        let dir = scratch.path().join("data");
        let failed = |error| sql_error("clone the data", error);
        let temporary = load_plugin(&mut session, layout).await?;
        // A read-only server keeps its plugins.
        // So does one that replicas are being cloned from.
        let unload =
            temporary && !session.is_read_only() && !Marker::Donor.is_set(&self.settings.layout);
        let mut stop = StopOnDrop {
            layout: layout.clone(),
            login,
            connection: Some(session.id()),
            unload,
        };
        info!(bytes = estimate, path = %dir.display(), "Cloning the data.");
        let path = sql::literal(&dir.to_string_lossy());
        let statement = format!("CLONE LOCAL DATA DIRECTORY = {path}");
        let cloned = session.run_within(LIMIT, &statement).await;
        if cloned.is_ok() {
            stop.connection = None;
        }
        let facts = match cloned {
            Ok(()) => Facts::read(&mut session).await,
            Err(error) => Err(error),
        };
        stop.connection = None;
        if unload && unload_plugin(&mut session, layout).await.is_err() {
            // The session may have ended with the clone.
            self.unload_plugin_anew().await;
        }
        session.close().await;
        let facts = facts.map_err(failed)?;
        CloneBackup::send(dir, scratch, facts, temporary, estimate)
    }

    /// Before the server is read only, when no plugin can be installed any more:
    /// has the one that its backups will need, if they need it.
    pub(crate) async fn keep_clone_plugin(&self, session: &mut Session) -> Result<()> {
        let version = session.version().clone();
        if !version.is_at_least(Vendor::MySql, SINCE) || self.backup_tool(&version).await.is_ok() {
            return Ok(());
        }
        load_plugin(session, &self.settings.layout).await.map(drop)
    }

    async fn unload_plugin_anew(&self) {
        let unload = async {
            let mut session = self.session().await?;
            unload_plugin(&mut session, &self.settings.layout).await?;
            session.close().await;
            Result::Ok(())
        };
        if let Err(error) = unload.await {
            warn!(%error, "The clone plugin stays installed until the next backup.");
        }
    }

    /// Checks that the volume can hold the copy; returns its size.
    async fn room_for_clone(&self) -> Result<u64> {
        let layout = &self.settings.layout;
        let (volume, data_dir) = (layout.mount_point.clone(), layout.data_dir());
        let count = move || {
            let needed = cloned_bytes(&data_dir).map_err(|e| io_failed("read", &data_dir, e))?;
            let stats =
                guest::filesystem_stats(&volume).map_err(|e| io_failed("read", &volume, e))?;
            Ok((needed, stats.avail_blocks * stats.block_size))
        };
        let (needed, free) = tokio::task::spawn_blocking(count)
            .await
            .map_err(os_error)??;
        let wanted = needed + needed / 20 + RESERVE;
        if free < wanted {
            return Err(Error::failed(format!(
                "A backup without percona-xtrabackup needs space for a copy of the data: {} MiB, \
                 but only {} MiB of {} are free; resize the volume or install percona-xtrabackup \
                 in the image",
                wanted >> 20,
                free >> 20,
                layout.mount_point.display()
            )));
        }
        Ok(needed)
    }
}

/// Tables of other engines come out of a clone empty (MySQL manual, "Clone
/// Plugin Limitations"): that would be no backup.
pub(crate) async fn refuse_other_engines(session: &mut Session) -> Result<()> {
    let query = "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME, ' (', ENGINE, ')') \
         FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' \
         AND ENGINE NOT IN ('InnoDB', 'MEMORY', 'BLACKHOLE', 'FEDERATED', 'PERFORMANCE_SCHEMA') \
         AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') \
         LIMIT 5";
    let tables = session.rows::<String>(query, ()).await;
    let tables = tables.map_err(|error| sql_error("look for tables of other engines", error))?;
    if tables.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotSupported,
        format!(
            "Without percona-xtrabackup only InnoDB tables can be backed up, and there are others: \
             {}. Convert them with ALTER TABLE ... ENGINE = InnoDB, or install \
             percona-xtrabackup in the image",
            tables.join(", ")
        ),
    ))
}

/// Makes sure the plugin is there; whether it is there for clones of ours only.
pub(crate) async fn load_plugin(session: &mut Session, layout: &Layout) -> Result<bool> {
    let query = "SELECT COUNT(*) FROM information_schema.PLUGINS \
         WHERE PLUGIN_NAME = 'clone' AND PLUGIN_STATUS = 'ACTIVE'";
    let failed = |error| sql_error("install the clone plugin", error);
    if session.first::<u64>(query, ()).await.map_err(failed)? == Some(1) {
        // Its owner's, or that of a backup that ended with its server.
        return Ok(Marker::ClonePlugin.is_set(layout));
    }
    Marker::ClonePlugin.set(layout)?;
    let install = "INSTALL PLUGIN clone SONAME 'mysql_clone.so'";
    let installed = session.run(install).await.map_err(failed);
    if installed.is_err() {
        Marker::ClonePlugin.remove(layout)?;
    }
    installed.map(|()| true)
}

async fn unload_plugin(session: &mut Session, layout: &Layout) -> Result<()> {
    let failed = |error| sql_error("uninstall the clone plugin", error);
    let uninstall = "UNINSTALL PLUGIN clone";
    session.run(uninstall).await.map_err(failed)?;
    Marker::ClonePlugin.remove(layout)
}

/// Bytes of the files that a clone copies; blocks.
fn cloned_bytes(dir: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() && !name.starts_with('#') {
            total += cloned_bytes(&entry.path())?;
        } else if name.ends_with(".ibd") || name.starts_with("ibdata") || name.starts_with("undo") {
            total += metadata.blocks() * 512;
        }
    }
    Ok(total)
}

/// Ends a clone that nobody waits for any more: the server itself would
/// finish it.
struct StopOnDrop {
    layout: Layout,
    login: Login,
    connection: Option<u32>,
    unload: bool,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let (layout, login, unload) = (self.layout.clone(), self.login.clone(), self.unload);
        tokio::spawn(async move {
            let failed = |error| sql_error("stop the clone", error);
            let stop = async {
                let opened = Session::open(&layout.socket, &login).await;
                let mut session = opened.map_err(failed)?;
                let kill = format!("KILL {connection}");
                session.run(&kill).await.map_err(failed)?;
                if unload {
                    unload_plugin(&mut session, &layout).await?;
                }
                session.close().await;
                Result::Ok(())
            };
            if let Err(error) = stop.await {
                warn!(%error, "Clone of the data not stopped.");
            }
        });
    }
}

/// What goes into a backup besides the data.
struct Facts {
    version: String,
    data_file_path: String,
    page_size: u64,
}

impl Facts {
    async fn read(session: &mut Session) -> SqlResult<Self> {
        let query = "SELECT @@GLOBAL.innodb_data_file_path, @@GLOBAL.innodb_page_size";
        let options: Option<(String, u64)> = session.first(query, ()).await?;
        let (data_file_path, page_size) = options.unwrap_or_default();
        Ok(Self {
            version: session.version().text.clone(),
            data_file_path,
            page_size,
        })
    }

    /// The last files of the archive; the very last shows that it is complete.
    fn files(&self, temporary: bool) -> Vec<(&'static str, String)> {
        let options = format!(
            "[mysqld]\ninnodb_data_file_path={}\ninnodb_page_size={}\n",
            self.data_file_path, self.page_size
        );
        let mut info = format!("tool_name = {TOOL}\nserver_version = {}\n", self.version);
        if temporary {
            info += TEMPORARY_PLUGIN;
            info += "\n";
        }
        vec![(SERVER_OPTIONS, options), (CLONE_INFO, info)]
    }
}

/// A clone that is being sent.
pub(crate) struct CloneBackup {
    output: Option<Receiver>,
    packing: JoinHandle<std::io::Result<()>>,
    metadata: BackupMetadata,
    estimate: u64,
    scratch: Scratch,
}

impl CloneBackup {
    fn send(
        dir: PathBuf,
        scratch: Scratch,
        facts: Facts,
        temporary: bool,
        estimate: u64,
    ) -> Result<Self> {
        let (reader, writer) = std::io::pipe().map_err(os_error)?;
        guest::enlarge_pipe(&reader);
        let output = Receiver::from_owned_fd(reader.into()).map_err(os_error)?;
        let files = facts.files(temporary);
        Ok(Self {
            output: Some(output),
            packing: tokio::task::spawn_blocking(move || archive::pack(&dir, &files, writer)),
            metadata: BackupMetadata::from([(TOOL_KEY.to_owned(), TOOL.to_owned())]),
            estimate,
            scratch,
        })
    }
}

#[async_trait]
impl BackupStream for CloneBackup {
    fn archive(&self) -> Archive {
        Archive::Tar
    }

    fn estimate(&self) -> u64 {
        self.estimate
    }

    fn reader(&mut self) -> Bytestream {
        match self.output.take() {
            Some(output) => Box::pin(output),
            None => Box::pin(tokio::io::empty()),
        }
    }

    async fn finish(self: Box<Self>) -> Result<BackupMetadata> {
        let this = *self;
        // Not read to its end: the packing must not wait for a reader.
        drop(this.output);
        let packed = this.packing.await;
        this.scratch.remove().await;
        packed.map_err(os_error)?.map_err(|error| {
            Error::failed(format!("Cannot send the clone of the data: {error}"))
        })?;
        info!(tool = TOOL, "Backup completed.");
        Ok(this.metadata)
    }

    async fn abort(self: Box<Self>) {
        let this = *self;
        // Without its reader the packing ends by itself.
        drop(this.output);
        this.scratch.remove().await;
        warn!(tool = TOOL, "Backup aborted.");
    }
}
