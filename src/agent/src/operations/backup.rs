//! `create_backup`: one at a time, reported to its end whatever happens.
//!
//! The record on disk knows at every moment what would have to be removed and
//! told if the agent died now.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use backup::{Orphans, Progress};
use datastore::{Error, ErrorKind, Result};
use object_store::Leftover;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Operations;
use super::orphans::{Late, OrphanList};
use crate::backups::{self, BackupInfo, Made, Making, StoreAccess};
use crate::config::Settings;
use crate::rpc::context::Context;

/// Between two lines in the log about a backup that runs.
const TELL: Duration = Duration::from_secs(30);
/// How long a backup waits for one that is about to end.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries to tell the conductor how a backup ended.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// What backups and restores need beside the datastore.
pub struct Backups {
    /// Where and how backups are kept.
    pub settings: Arc<Settings>,
    /// Ends a running backup: the agent is to stop.
    pub cancel: CancellationToken,
    journal: BackupJournal,
    orphans: OrphanList,
    single: Mutex<()>,
    running: watch::Sender<Option<Transfer>>,
    pub(super) frozen: Mutex<Option<super::snapshot::Frozen>>,
}

/// A backup or restore that runs.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// `backup` or `restore`, and of what.
    pub what: String,
    /// How far it is.
    pub progress: Progress,
}

impl std::fmt::Display for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gb = |bytes: u64| bytes as f64 / f64::from(1u32 << 30);
        let progress = &self.progress;
        let (plain, stored) = (gb(progress.plain()), gb(progress.stored()));
        write!(
            f,
            "{}: {plain:.2} GB of data, {stored:.2} GB in the store",
            self.what
        )
    }
}

impl Backups {
    /// Nothing runs yet. The journal is below the state path.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            journal: BackupJournal(settings.state_path.join("backup.json")),
            orphans: OrphanList::new(settings.state_path.join("orphans.json")),
            settings,
            cancel: CancellationToken::new(),
            single: Mutex::default(),
            running: watch::Sender::new(None),
            frozen: Mutex::default(),
        }
    }

    /// What runs now.
    pub fn running(&self) -> watch::Receiver<Option<Transfer>> {
        self.running.subscribe()
    }

    /// Shows a transfer in `status` and in the log until the guard is dropped.
    pub(super) fn show(&self, what: String, progress: Progress) -> Shown {
        let transfer = Transfer { what, progress };
        self.running.send_replace(Some(transfer.clone()));
        let teller = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TELL).await;
                info!("{transfer}");
            }
        });
        Shown(self.running.clone(), teller)
    }
}

/// See [`Backups::show`].
pub(super) struct Shown(watch::Sender<Option<Transfer>>, tokio::task::JoinHandle<()>);

impl Drop for Shown {
    fn drop(&mut self) {
        self.1.abort();
        self.0.send_replace(None);
    }
}

/// How a recorded backup ended, as far as anybody knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Running,
    Completed { location: String, checksum: String },
    Failed(String),
}

/// A backup on disk. The file is only root's: it holds the user's token.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    backup_id: String,
    backup_type: String,
    /// GB used on the data volume: what a restore needs.
    size: f64,
    request_id: Option<String>,
    notification: Option<Map<String, Value>>,
    context: Value,
    access: Option<StoreAccess>,
    leftover: Option<Leftover>,
    outcome: Outcome,
}

struct BackupJournal(PathBuf);

impl BackupJournal {
    fn write(&self, record: &Record) -> std::result::Result<(), String> {
        let text = serde_json::to_string_pretty(record).map_err(|error| error.to_string())?;
        let private = guest::Attributes {
            mode: 0o600,
            owner: None,
        };
        guest::write_atomic(&self.0, text.as_bytes(), &private).map_err(|error| error.to_string())
    }

    fn read(&self) -> Option<Record> {
        let text = match guest::read_optional(&self.0) {
            Ok(text) => text?,
            Err(error) => {
                error!(%error, "Journal of backups unreadable.");
                return None;
            }
        };
        // serde's own text might quote the token.
        serde_json::from_str(&text)
            .map_err(|_| error!(path = %self.0.display(), "Journal of backups damaged."))
            .ok()
    }

    fn clear(&self) {
        if let Err(error) = guest::remove_if_exists(&self.0) {
            error!(%error, "Journal of backups not removed; its backup will be reported again.");
        }
    }
}

impl Operations {
    /// Makes one backup and reports its end.
    ///
    /// # Errors
    /// The reason of a failure, after it was reported.
    pub async fn create_backup(&self, info: BackupInfo, context: &Context) -> Result<()> {
        self.back_up(info, context, context.notification().cloned())
            .await
    }

    /// The same, for one who waits for it or is notified.
    pub(super) async fn back_up(
        &self,
        info: BackupInfo,
        context: &Context,
        notification: Option<Map<String, Value>>,
    ) -> Result<()> {
        let id = info
            .id
            .clone()
            .ok_or_else(|| Error::bad_request("backup_info has no id"))?;
        let mut record = Record {
            backup_type: match info.parent {
                Some(_) => "incremental".to_owned(),
                None => info.backup_type.clone().unwrap_or_else(|| "full".into()),
            },
            backup_id: id.clone(),
            size: self.used_gigabytes(),
            request_id: context.request_id().map(str::to_owned),
            notification,
            context: context.for_conductor(),
            access: None,
            leftover: None,
            outcome: Outcome::Running,
        };
        let single = tokio::time::timeout(PATIENCE, self.backups.single.lock()).await;
        let Ok(_single) = single else {
            let reason = "another backup of this instance is running".to_owned();
            record.outcome = Outcome::Failed(reason.clone());
            self.report(&record).await;
            return Err(failed(&id, &Error::new(ErrorKind::Failed, reason)));
        };
        if let Err(reason) = self.backups.journal.write(&record) {
            record.outcome = Outcome::Failed(reason.clone());
            self.report(&record).await;
            return Err(failed(&id, &Error::failed(reason)));
        }
        self.report(&record).await;
        let made = self.make_backup(&info, &id, context, &mut record).await;
        record.outcome = match &made {
            Ok(made) => Outcome::Completed {
                location: made.location.clone(),
                checksum: made.checksum.clone(),
            },
            Err(error) => Outcome::Failed(error.to_string()),
        };
        record.leftover = None;
        if let Err(error) = self.backups.journal.write(&record) {
            warn!(%error, "End of the backup not recorded.");
        }
        self.report(&record).await;
        self.backups.journal.clear();
        let made = made.map_err(|error| {
            error!(name: "backup_failed", backup_id = id, %error, "Backup failed.");
            failed(&id, &error)
        })?;
        info!(
            name: "backup_completed",
            backup_id = id,
            location = made.location,
            checksum = made.checksum,
            stored_bytes = made.stored,
            data_bytes = made.plain,
            "Backup completed."
        );
        Ok(())
    }

    /// Ends a record of a backup that is not made, because replicas clone their
    /// source. The control plane wants a record all the same, and nobody may
    /// restore it or add to it.
    pub(super) async fn report_no_backup(&self, id: String, context: &Context) {
        let record = Record {
            backup_id: id,
            backup_type: "full".to_owned(),
            size: 0.0,
            request_id: context.request_id().map(str::to_owned),
            notification: None,
            context: context.for_conductor(),
            access: None,
            leftover: None,
            outcome: Outcome::Failed("it is not made".to_owned()),
        };
        self.report(&record).await;
    }

    async fn make_backup(
        &self,
        info: &BackupInfo,
        id: &str,
        context: &Context,
        record: &mut Record,
    ) -> Result<Made> {
        let settings = &self.backups.settings;
        self.host.ready().await?;
        if !self.markers.installed() {
            return Err(Error::failed("the instance is not prepared yet"));
        }
        if record.backup_type == "incremental" && info.parent.is_none() {
            return Err(Error::bad_request(
                "an incremental backup needs a parent, and the request names none",
            ));
        }
        let access = backups::requested(info, context, settings).await?;
        let store = access.open(&settings.backup)?;
        self.backups
            .orphans
            .sweep(store.as_ref(), &access, Late::Past)
            .await;
        record.access = Some(access.clone());
        let container = info
            .swift_container
            .as_deref()
            .unwrap_or(&settings.backup.swift_container);
        let progress = Progress::default();
        let _shown = self.backups.show(format!("backup {id}"), progress.clone());
        let template = record.clone();
        let remember = |leftover: &Leftover| {
            let mut record = template.clone();
            record.leftover = Some(leftover.clone());
            self.backups.journal.write(&record)
        };
        let orphans = Orphans::default();
        let making = Making {
            datastore: self.datastore.as_ref(),
            store,
            container,
            id,
            info,
            settings: backups::upload_settings(&settings.backup),
            progress,
            cancel: self.backups.cancel.child_token(),
            orphans: orphans.clone(),
        };
        let made = backups::make(making, &remember).await;
        let left = std::mem::take(&mut *orphans.lock().unwrap_or_else(PoisonError::into_inner));
        self.backups.orphans.keep(&access, left);
        made
    }

    fn used_gigabytes(&self) -> f64 {
        let stats = guest::filesystem_stats(&self.volume.mount_point);
        stats.map_or(0.0, |stats| {
            let used = stats.total_blocks.saturating_sub(stats.free_blocks) * stats.block_size;
            super::system::gigabytes(used)
        })
    }

    /// Tells the conductor where a backup is. The end is told until it is
    /// taken, or until the agent stops; then the journal remembers.
    async fn report(&self, record: &Record) {
        let mut fields = json!({
            "backup_id": record.backup_id,
            "size": record.size,
            "backup_type": record.backup_type,
        });
        let state = match &record.outcome {
            Outcome::Running => "BUILDING",
            Outcome::Completed { location, checksum } => {
                fields["location"] = json!(location);
                fields["checksum"] = json!(checksum);
                fields["success"] = json!(true);
                "COMPLETED"
            }
            Outcome::Failed(_) => {
                fields["success"] = json!(false);
                "FAILED"
            }
        };
        fields["state"] = json!(state);
        loop {
            let told = self
                .conductor
                .update_backup(fields.clone(), record.context.clone());
            let Err(error) = told.await else {
                return;
            };
            warn!(%error, backup_id = record.backup_id, state, "State of the backup not told.");
            if record.outcome == Outcome::Running {
                return;
            }
            tokio::select! {
                () = self.backups.cancel.cancelled() => return,
                () = tokio::time::sleep(TELL_AGAIN) => {}
            }
        }
    }

    /// Ends a backup that an earlier agent was making when it died: what it
    /// sent is removed, and its user is told.
    pub async fn recover_backup(&self) {
        let single = self.backups.single.lock().await;
        let Some(mut record) = self.backups.journal.read() else {
            return;
        };
        let id = record.backup_id.clone();
        error!(
            backup_id = id,
            request_id = record.request_id,
            "Backup was interrupted."
        );
        if record.outcome == Outcome::Running {
            record.outcome = Outcome::Failed(
                "the guest agent was restarted in the middle of the backup".to_owned(),
            );
        }
        let left = match (record.access.clone(), record.leftover.take()) {
            (Some(access), Some(leftover)) => Some((access, leftover)),
            _ => None,
        };
        if let Some((access, leftover)) = &left {
            self.backups.orphans.keep(access, vec![leftover.clone()]);
        }
        // Its user first: a store that does not answer takes minutes.
        self.report(&record).await;
        if let Outcome::Failed(reason) = &record.outcome {
            let text = failed(&id, &Error::failed(reason.clone())).to_string();
            self.notify_failure(record.notification, record.context, &text)
                .await;
        } else {
            self.notify_end(record.notification, record.context).await;
        }
        self.backups.journal.clear();
        drop(single);
        if let Some((access, _)) = left
            && let Ok(store) = access.open(&self.backups.settings.backup)
        {
            self.backups
                .orphans
                .sweep(store.as_ref(), &access, Late::Possible)
                .await;
        }
    }
}

/// The text users know from upstream.
fn failed(id: &str, error: &Error) -> Error {
    Error::new(
        error.kind(),
        format!("Failed to create backup {id}, error: {error}"),
    )
}
