//! `prepare`: from an empty volume to a server the tenant can log in to.

use std::collections::BTreeMap;
use std::time::Duration;

use backup::Progress;
use datastore::{
    Database, Error, PrepareRequest, RestoreSource as _, Restored, Result, Secret, User,
};
use serde_json::{Map, Value};
use tracing::{error, info, warn};

use super::{Operations, ReplicaInfo};
use crate::backups::{self, BackupInfo, Chain};
use crate::journal::{Record, State};
use crate::modules::Wrapped;
use crate::rpc::args::{Args, ArgsError};
use crate::rpc::context::Context;
use crate::status::Phase;

/// When the fault is told again. The taskmanager sees the failed status at its
/// next poll, up to 30 s later (`trove/common/utils.py`, `poll_until`), and
/// then replaces the fault by one that says only that the status was not
/// active. Nothing tells the guest when it has.
const FAULT_AGAIN: Duration = Duration::from_secs(40);

/// The arguments of `prepare` that mean something natively.
pub struct PrepareCall {
    databases: Vec<Database>,
    users: Vec<User>,
    root_password: Option<Secret>,
    pub(super) request: PrepareRequest,
    /// The data to begin with.
    backup: Option<BackupInfo>,
    /// The source it becomes a replica of.
    replica: Option<ReplicaInfo>,
    modules: Vec<Wrapped>,
    /// Names of arguments that ask for what this agent cannot do.
    unsupported: Vec<&'static str>,
}

impl PrepareCall {
    /// Reads the arguments of one request.
    ///
    /// # Errors
    /// When one is missing or of another type.
    pub fn read(args: &mut Args) -> std::result::Result<Self, ArgsError> {
        let mut unsupported = Vec::new();
        match args.optional::<Value>("cluster_config")? {
            None => {}
            Some(Value::Object(map)) if map.is_empty() => {}
            Some(_) => unsupported.push("cluster_config"),
        }
        // No packages are installed, and memory is in config_contents already.
        args.ignore(&["packages", "memory_mb"]);
        Ok(Self {
            databases: args.optional("databases")?.unwrap_or_default(),
            users: args.optional("users")?.unwrap_or_default(),
            root_password: args.optional("root_password")?,
            request: PrepareRequest {
                config_contents: args.optional("config_contents")?.unwrap_or_default(),
                overrides: args
                    .optional::<BTreeMap<_, _>>("overrides")?
                    .unwrap_or_default(),
                datastore_version: args.optional("ds_version")?,
                replica: None,
            },
            backup: args.optional("backup_info")?,
            replica: args.optional("snapshot")?,
            modules: args.optional("modules")?.unwrap_or_default(),
            unsupported,
        })
    }
}

impl Operations {
    /// Runs one `prepare` and reports its end, whatever it is.
    ///
    /// # Errors
    /// The reason of a failure, after it was reported.
    pub async fn prepare(&self, mut call: PrepareCall, context: &Context) -> Result<()> {
        let _exclusive = self.turns.exclusive("prepare").await?;
        if self.markers.installed() {
            return Err(Error::bad_request(
                "this guest is prepared already; prepare runs once in the life of an instance",
            ));
        }
        let record = Record {
            method: "prepare".into(),
            request_id: context.request_id().map(str::to_owned),
            notification: context.notification().cloned(),
            context: context.for_conductor(),
            state: State::Running,
        };
        let installed = self.install(&mut call, &record, context).await;
        match installed {
            Ok(restored) => {
                if restored.root_enabled {
                    self.report_root(context).await;
                }
                let modules = std::mem::take(&mut call.modules);
                let modules = modules.into_iter().map(Wrapped::into_inner).collect();
                let mut faults = self.first_modules(modules).await;
                faults.extend(self.populate(&call, context).await);
                self.complete(record, faults).await
            }
            Err(error) => {
                self.fail(record, &error.to_string()).await;
                Err(error)
            }
        }
    }

    async fn install(
        &self,
        call: &mut PrepareCall,
        record: &Record,
        context: &Context,
    ) -> Result<Restored> {
        let disk = |error: guest::FileError| Error::failed(error.to_string());
        self.journal.write(record).map_err(disk)?;
        self.markers.begin().map_err(disk)?;
        self.status.enter(Phase::Installing);
        if !call.unsupported.is_empty() {
            let what = format!("Creating an instance with {}", call.unsupported.join(", "));
            return Err(Error::not_supported(what));
        }
        self.host.ready().await?;
        // A volume that was made from another one has that one's.
        self.modules.forget().await?;
        if let Some(info) = call.replica.take() {
            self.check_replica(&info)?;
            call.request.replica = Some(info.request());
        }
        let replica = call.request.replica.as_ref();
        let restored = match &call.backup {
            // The record of a backup that comes with it has nothing behind it.
            _ if replica.is_some_and(|replica| replica.context.demands_clone()) => {
                self.datastore.restore_clone(&call.request).await?
            }
            None if replica.is_some() => {
                return Err(Error::bad_request(
                    "a replica needs a backup of its source, and the request names none",
                ));
            }
            None => {
                self.datastore.prepare(&call.request).await?;
                return Ok(Restored {
                    root_enabled: false,
                });
            }
            Some(info) => self.restore(&call.request, info, context).await?,
        };
        let tls = replica.and_then(|replica| replica.context.tls.as_ref());
        self.adopt_tls(tls.map(|(mode, _)| *mode))?;
        Ok(restored)
    }

    async fn restore(
        &self,
        request: &PrepareRequest,
        info: &BackupInfo,
        context: &Context,
    ) -> Result<Restored> {
        let settings = &self.backups.settings;
        if info.is_snapshot(&settings.backup.storage_strategy) {
            return self.datastore.restore_snapshot(request).await;
        }
        let location = info
            .location
            .as_deref()
            .ok_or_else(|| Error::bad_request("backup_info has no location to restore from"))?;
        let store = backups::requested(info, context, settings)
            .await?
            .open(&settings.backup)?;
        let progress = Progress::default();
        let _shown = self
            .backups
            .show(format!("restore of {location}"), progress.clone());
        let keys = backups::keys(&settings.backup);
        let retry = backups::client(&settings.backup).retry;
        let checksum = info.checksum.clone();
        let chain = Chain::find(store, location, checksum, keys, retry, progress).await?;
        info!(location, backups = chain.links().len(), "Restore begun.");
        self.datastore.restore(request, &chain).await
    }

    /// Databases, users and root. A server that runs is an instance that can
    /// be used and mended, so these faults are told and do not fail it.
    async fn populate(&self, call: &PrepareCall, context: &Context) -> Vec<String> {
        let mut faults = Vec::new();
        // A replica has what its source has.
        if call.request.replica.is_some() {
            return faults;
        }
        if !call.databases.is_empty()
            && let Err(error) = self.datastore.create_databases(&call.databases).await
        {
            faults.push(format!("databases were not all created: {error}"));
        }
        if !call.users.is_empty()
            && let Err(error) = self.datastore.create_users(&call.users).await
        {
            faults.push(format!("users were not all created: {error}"));
        }
        // A backup brings its own root, as upstream has it.
        if let Some(password) = &call.root_password
            && call.backup.is_none()
        {
            match self.datastore.enable_root(Some(password)).await {
                // Root history has one entry however often it is reported.
                Ok(_) => self.report_root(context).await,
                Err(error) => faults.push(format!("root was not enabled: {error}")),
            }
        }
        faults
    }

    async fn complete(&self, record: Record, faults: Vec<String>) -> Result<()> {
        if let Err(error) = self.markers.complete() {
            // Without the marker no heartbeat is allowed after a restart.
            error!(%error, "Installation cannot be marked as complete.");
            self.fail(record, &error.to_string()).await;
            return Err(Error::failed(error.to_string()));
        }
        self.journal.clear();
        self.status.enter(Phase::Installed);
        if faults.is_empty() {
            info!(name: "instance_prepared", "Instance prepared.");
            self.notify_end(record.notification, record.context).await;
            return Ok(());
        }
        let message = faults.join("; ");
        self.notify_failure(record.notification, record.context, &message)
            .await;
        Err(Error::failed(message))
    }

    /// Makes a failure known: on disk first, then as status, then as fault.
    pub(super) async fn fail(&self, mut record: Record, reason: &str) {
        error!(name: "operation_failed", method = record.method, reason, "Operation failed.");
        record.state = State::Failed(reason.to_owned());
        if let Err(error) = self.journal.write(&record) {
            error!(%error, "Failure not recorded.");
        }
        self.status.enter(Phase::Failed);
        let (notification, context) = (record.notification, record.context);
        self.notify_failure(notification.clone(), context.clone(), reason)
            .await;
        let Some(notification) = notification else {
            return;
        };
        let (conductor, reason) = (self.conductor.clone(), reason.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(FAULT_AGAIN).await;
            let repeated = conductor.notify_failure(notification, context, &reason);
            if let Err(error) = repeated.await {
                warn!(%error, "Failure not notified again.");
            }
        });
    }

    async fn report_root(&self, context: &Context) {
        if let Err(error) = self.conductor.report_root(context).await {
            warn!(%error, "Root not reported.");
        }
    }

    /// Completes a notification, if the request came with one.
    pub async fn notify_end(&self, notification: Option<Map<String, Value>>, context: Value) {
        let Some(notification) = notification else {
            return;
        };
        if let Err(error) = self.conductor.notify_end(notification, context).await {
            warn!(%error, "End not notified.");
        }
    }

    /// Ends a notification with an error, if the request came with one.
    pub async fn notify_failure(
        &self,
        notification: Option<Map<String, Value>>,
        context: Value,
        reason: &str,
    ) {
        let Some(notification) = notification else {
            return;
        };
        if let Err(error) = self
            .conductor
            .notify_failure(notification, context, reason)
            .await
        {
            warn!(%error, "Failure not notified.");
        }
    }
}
