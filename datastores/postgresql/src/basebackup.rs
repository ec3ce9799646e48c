//! Backups by `pg_basebackup`, as a stream.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use archive::Seen;
use async_trait::async_trait;
use datastore::{
    Archive, BackupMetadata, BackupRequest, BackupStream, Bytestream, Error, ErrorKind, Result,
};
use guest::{Command, CommandError, Output, Running};
use tracing::{info, warn};

use crate::Server;
use crate::backup::Facts;
use crate::errors::os_error;
use crate::label::{End, KIND_KEY, LABEL_FILE, Label, MANIFEST_FILE};
use crate::manifests::Shelf;
use crate::place::Cut;
use crate::server::SUPERUSER;
use crate::session::Session;

/// A label has a few hundred bytes.
const LABEL_LIMIT: usize = 64 << 10;
/// Where a backup ends stands at the end of its manifest.
const MANIFEST_TAIL: usize = 64 << 10;
/// Lines in an error.
const LAST_WORDS: usize = 5;
/// What metadata says of an increment of changed blocks.
pub(crate) const BLOCKS: &str = "blocks";

impl Server {
    /// Starts a full backup, or with the manifest of its parent an increment.
    /// `keep` asks for its own manifest to be kept.
    pub(crate) async fn base_backup(
        &self,
        request: &BackupRequest,
        session: Session,
        facts: Facts,
        parent: Option<PathBuf>,
        keep: bool,
    ) -> Result<BaseBackup> {
        keep_wal(&session, &request.id).await;
        let program = self.program("pg_basebackup")?;
        // As the agent's own account: the access rules know no other.
        let mut command = Command::new(&program)
            .arg(format!(
                "--host={}",
                self.settings.layout.socket_dir.display()
            ))
            .arg(format!("--port={}", self.settings.port))
            .args([&format!("--username={SUPERUSER}"), "--no-password"])
            .args(["--format=tar", "--pgdata=-", "--wal-method=fetch"])
            .args(["--checkpoint=fast", "--no-estimate-size"])
            .arg(format!("--label={}", request.id));
        if let Some(manifest) = &parent {
            command = command.arg(format!("--incremental={}", manifest.display()));
        }
        let log = Arc::new(Mutex::new(ToolLog::default()));
        let reading = Arc::clone(&log);
        let (output, running) = command
            .start(move |line| {
                let mut log = reading.lock().unwrap_or_else(PoisonError::into_inner);
                log.read(line);
            })
            .map_err(os_error)?;
        let manifest_limit = match keep {
            true => usize::MAX,
            false => MANIFEST_TAIL,
        };
        let files = [(LABEL_FILE, LABEL_LIMIT), (MANIFEST_FILE, manifest_limit)];
        let (output, seen) = archive::watch(output, &files);
        info!(tool = %program.display(), incremental = parent.is_some(), "Backup started.");
        Ok(BaseBackup {
            running,
            session,
            output: Some(Box::pin(output)),
            seen,
            log,
            id: request.id.clone(),
            incremental: parent.is_some(),
            shelf: keep.then(|| Shelf::of(self, &request.id)),
            estimate: facts.size,
            cut: facts.cut,
        })
    }
}

/// The tool fetches the WAL of the backup at its end, and the server may have
/// recycled it by then. A slot that lives as long as our session forbids it.
async fn keep_wal(session: &Session, id: &str) {
    // Names of slots know no capitals and no hyphens.
    let name: String = id
        .chars()
        .map(|c| match c.is_ascii_alphanumeric() {
            true => c.to_ascii_lowercase(),
            false => '_',
        })
        .take(40)
        .collect();
    let name = format!("trove_backup_{name}");
    let query = "SELECT pg_create_physical_replication_slot($1, true, true)::text";
    let kept = async {
        session.stay().await?;
        session.rows(query, &[&name]).await
    };
    if let Err(error) = kept.await {
        warn!(%error, "WAL is not kept for the backup, which fails if the server recycles it.");
    }
}

/// A backup that the tool makes.
pub(crate) struct BaseBackup {
    running: Running,
    /// Holds the slot.
    session: Session,
    output: Option<Bytestream>,
    seen: Seen,
    log: Arc<Mutex<ToolLog>>,
    id: String,
    incremental: bool,
    shelf: Option<Shelf>,
    estimate: u64,
    cut: Cut,
}

#[async_trait]
impl BackupStream for BaseBackup {
    fn archive(&self) -> Archive {
        Archive::Tar
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
        let this = *self;
        // Not read to its end: the tool must not wait for a reader.
        drop(this.output);
        let ended = this.running.wait().await;
        this.session.close().await;
        let failed = |error: Error| {
            let text = format!("pg_basebackup made no backup: {error}");
            Error::with_source(error.kind(), text, error)
        };
        let judged = {
            let log = this.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.judge(ended)
        };
        judged.map_err(failed)?;
        let files = this.seen.files();
        let files = files.map_err(|error| failed(Error::failed(error.to_string())))?;
        let file = |name| files.get(name).map_or(&[][..], Vec::as_slice);
        let label = Label::parse(&String::from_utf8_lossy(file(LABEL_FILE)));
        let end = End::of_manifest(file(MANIFEST_FILE));
        let Some((label, end)) = label.zip(end) else {
            let text = "it does not tell where it begins and ends";
            return Err(failed(Error::failed(text)));
        };
        if label.name != this.id {
            let text = format!("it calls it {:?}", label.name);
            return Err(failed(Error::failed(text)));
        }
        if let Some(shelf) = this.shelf {
            shelf.keep(file(MANIFEST_FILE));
        }
        let mut metadata = label.metadata(&end, this.cut);
        if this.incremental {
            metadata.insert(KIND_KEY.to_owned(), BLOCKS.to_owned());
        }
        info!(incremental = this.incremental, end = %end.place, "Backup completed.");
        Ok(metadata)
    }

    async fn abort(self: Box<Self>) {
        let this = *self;
        this.running.kill().await;
        this.session.close().await;
        warn!("Backup aborted.");
    }
}

/// What the tool says: nothing, unless something is wrong.
#[derive(Debug, Default)]
pub(crate) struct ToolLog(VecDeque<String>);

impl ToolLog {
    pub(crate) fn read(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        warn!(line, "A tool says something.");
        if self.0.len() == LAST_WORDS {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// The verdict: its exit status, in its own words.
    fn judge(&self, ended: std::result::Result<Output, CommandError>) -> Result<()> {
        let error = match ended {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let words: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let text = match (&error, words.is_empty()) {
            (CommandError::Failed { status, .. }, false) => {
                format!("{status}: {}", words.join("; "))
            }
            _ => error.to_string(),
        };
        Err(Error::with_source(ErrorKind::Failed, text, error))
    }
}
