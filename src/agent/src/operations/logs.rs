//! `guest_log_list` and `guest_log_action`.

use datastore::{Error, ErrorKind, LogKind, Result};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::{info, warn};

use super::Operations;
use crate::backups;
use crate::logs::{
    self, LAST_MOMENT, Limits, Log, LogFile, LogStore, Metafile, Publishing, Standing, SwiftLogs,
    stand,
};
use crate::rpc::context::Context;

/// What `guest_log_action` is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogAction {
    /// Switch it on.
    pub enable: bool,
    /// Switch it off.
    pub disable: bool,
    /// Store what is not stored yet.
    pub publish: bool,
    /// Remove what is stored.
    pub discard: bool,
}

impl Operations {
    /// The logs that the user may see, and how they stand.
    ///
    /// # Errors
    /// When the object store or the server refuses.
    pub async fn log_list(&self, context: &Context) -> Result<Value> {
        let store = self.log_store(context).await?;
        let mut found = Vec::new();
        for log in self.all_logs() {
            if log.exposed || context.is_admin() {
                found.push(self.show_log(&log, store.as_ref()).await?);
            }
        }
        Ok(Value::Array(found))
    }

    /// Switches, discards and publishes a log, in this order; tells how it
    /// stands then.
    ///
    /// # Errors
    /// When the request contradicts itself or is not allowed, or something
    /// fails on the way.
    pub async fn log_action(
        &self,
        name: &str,
        action: LogAction,
        context: &Context,
    ) -> Result<Value> {
        if action.enable && action.disable {
            return Err(Error::bad_request(format!(
                "Cannot enable and disable log '{name}'."
            )));
        }
        let log = self
            .all_logs()
            .into_iter()
            .find(|log| log.log.name == name)
            .ok_or_else(|| Error::not_found(format!("Log '{name}' is not defined.")))?;
        let is_system = log.log.kind == LogKind::System;
        if is_system && !action.publish && (action.enable || action.disable) {
            let verb = if action.enable { "enable" } else { "disable" };
            return Err(Error::bad_request(format!(
                "Cannot {verb} a SYSTEM log ('{name}')."
            )));
        }
        if !(log.exposed || context.is_admin()) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("You must be admin to show log '{name}'."),
            ));
        }
        if !is_system {
            // What is published is wanted, unless it is the last of it.
            let enable = action.enable || (action.publish && !action.disable);
            self.switch_log(&log, enable, action.disable).await?;
        }
        let store = self.log_store(context).await?;
        if action.discard || action.publish {
            let store = store.as_ref().ok_or_else(no_store)?;
            let work = self.change_published(&log, action, store);
            timeout(LAST_MOMENT, work).await.map_err(|_| {
                Error::new(
                    ErrorKind::Timeout,
                    format!("The object store takes too long for log '{name}'; try again"),
                )
            })??;
        }
        self.show_log(&log, store.as_ref()).await
    }

    async fn change_published(
        &self,
        log: &Log,
        action: LogAction,
        store: &SwiftLogs,
    ) -> Result<()> {
        let _alone = self.logs.publishing.lock().await;
        if action.discard {
            logs::discard(store, log).await?;
        }
        if action.publish && !self.begins_later(log).await? {
            let publishing = Publishing {
                log,
                store,
                limits: Limits::new(&self.backups.settings),
            };
            logs::publish(&publishing).await?;
        }
        Ok(())
    }

    /// Whether there is no file yet, because a restart is still to come.
    async fn begins_later(&self, log: &Log) -> Result<bool> {
        let waits = self
            .logs
            .waits(log.log.name, self.datastore.main_pid().await);
        Ok(waits && LogFile::open(&log.log.path).await?.is_none())
    }

    async fn switch_log(&self, log: &Log, enable: bool, disable: bool) -> Result<()> {
        let name = log.log.name;
        if !(enable || disable) || self.datastore.log_enabled(name).await? == enable {
            return Ok(());
        }
        let turn = self.turns.change("guest_log_action").await?;
        let needs_restart = self.datastore.set_log(name, enable).await?;
        drop(turn);
        info!(log = name, enabled = enable, needs_restart, "Log switched.");
        let pid = match needs_restart {
            true => self.require_restart().await,
            false => None,
        };
        self.logs.wait_for_restart(name, pid);
        Ok(())
    }

    fn all_logs(&self) -> Vec<Log> {
        Log::all(self.datastore.logs(), &self.backups.settings)
    }

    /// The object store; nothing when there is none: logs can be switched on
    /// and off without.
    async fn log_store(&self, context: &Context) -> Result<Option<SwiftLogs>> {
        let settings = &self.backups.settings;
        match backups::swift(context, settings).await {
            Ok(swift) => Ok(Some(SwiftLogs {
                swift,
                container: settings.guest_log.container_name.clone(),
                lifetime: settings.guest_log.expiry,
            })),
            Err(error) if error.kind() == ErrorKind::BadRequest => {
                warn!(%error, "No object store for logs.");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn show_log(&self, log: &Log, store: Option<&SwiftLogs>) -> Result<Value> {
        let meta = match store {
            Some(store) => logs::read(store as &dyn LogStore, log).await?,
            None => None,
        };
        let standing = self.standing(log, meta.as_ref()).await?;
        let is_published = standing.published > 0;
        let text = |text: &str| match is_published {
            true => text.to_owned(),
            // Not null: clients take it for a name.
            false => "None".to_owned(),
        };
        Ok(json!({
            "name": log.log.name,
            "type": log.kind(),
            "status": standing.status,
            "published": standing.published,
            "pending": standing.pending,
            "container": text(&self.backups.settings.guest_log.container_name),
            "prefix": text(&log.prefix),
            "metafile": log.metafile(),
        }))
    }

    async fn standing(&self, log: &Log, meta: Option<&Metafile>) -> Result<Standing> {
        let enabled = match log.log.kind {
            LogKind::System => true,
            LogKind::User => self.datastore.log_enabled(log.log.name).await?,
        };
        let waits = self
            .logs
            .waits(log.log.name, self.datastore.main_pid().await);
        let place = meta.map_or(0, |meta| meta.log_size);
        let facts = match LogFile::open(&log.log.path).await? {
            Some(file) => Some(file.facts(place).await?),
            None => None,
        };
        Ok(stand(enabled, waits, facts.as_ref(), meta))
    }
}

fn no_store() -> Error {
    Error::failed(
        "There is no object store to publish logs in: the request names none, and neither does \
         the guest's configuration",
    )
}
