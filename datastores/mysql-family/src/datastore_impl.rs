//! The trait, method by method; the work is in the other modules.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use datastore::{
    BackupRequest, BackupStream, Database, Datastore, Error, LastTransaction, Page, PageRequest,
    PasswordChange, PrepareRequest, ReadLock, ReplicaContext, ReplicationAccount, RestoreSource,
    Restored, Result, Secret, ServerLog, ServiceStatus, StopOutcome, TlsFiles, TlsMaterial,
    TlsMode, User, UserAttributes,
};
use serde_json::{Map, Value};
use tracing::error;

use crate::errors::os_error;
use crate::{Flavor, Server};

#[async_trait]
impl<F: Flavor> Datastore for Server<F> {
    fn manager(&self) -> &'static str {
        self.flavor.manager()
    }

    async fn status(&self) -> ServiceStatus {
        self.current_status().await
    }

    async fn prepare(&self, request: &PrepareRequest) -> Result<()> {
        self.service.take_down().await?;
        self.install(request).await?;
        let first_start = self.arm_first_start()?;
        let started = self.bring_up(false).await;
        drop(first_start);
        started?;
        if let Err(insecure) = self.check_secured().await {
            // Better no server than an open one.
            if let Err(error) = self.service.take_down().await {
                error!(%error, "Insecure server not stopped.");
            }
            return Err(insecure);
        }
        Ok(())
    }

    async fn start(&self) -> Result<()> {
        self.start_and_wait().await
    }

    async fn resume(&self) -> Result<bool> {
        self.start_if_meant_to_run().await
    }

    async fn stop(&self, patience: Duration) -> Result<StopOutcome> {
        self.service.stop_for_good(patience).await
    }

    async fn wait_stopped(&self) -> Result<()> {
        self.service.wait_down().await
    }

    async fn restart(&self) -> Result<()> {
        self.restart_and_wait().await
    }

    async fn start_with_config(&self, config_contents: &str) -> Result<()> {
        self.service.take_down().await?;
        self.replace_base(config_contents).await?;
        self.start_and_wait().await
    }

    async fn reset_configuration(&self, config_contents: &str) -> Result<()> {
        self.replace_base(config_contents).await
    }

    async fn create_databases(&self, databases: &[Database]) -> Result<()> {
        self.add_databases(databases).await
    }

    async fn list_databases(&self, page: &PageRequest) -> Result<Page<Database>> {
        self.page_of_databases(page).await
    }

    async fn delete_database(&self, database: &Database) -> Result<()> {
        self.drop_database(&database.name).await
    }

    async fn create_users(&self, users: &[User]) -> Result<()> {
        self.add_users(users).await
    }

    async fn list_users(&self, page: &PageRequest) -> Result<Page<User>> {
        self.page_of_users(page).await
    }

    async fn delete_user(&self, user: &User) -> Result<()> {
        self.drop_user(&user.name, user.host.as_deref()).await
    }

    async fn get_user(&self, name: &str, host: Option<&str>) -> Result<Option<User>> {
        self.find_user(name, host).await
    }

    async fn update_attributes(
        &self,
        name: &str,
        host: Option<&str>,
        attributes: &UserAttributes,
    ) -> Result<()> {
        self.change_user(name, host, attributes).await
    }

    async fn change_passwords(&self, changes: &[PasswordChange]) -> Result<()> {
        self.set_passwords(changes).await
    }

    async fn grant_access(
        &self,
        name: &str,
        host: Option<&str>,
        databases: &[String],
    ) -> Result<()> {
        self.grant(name, host, databases).await
    }

    async fn revoke_access(&self, name: &str, host: Option<&str>, database: &str) -> Result<()> {
        self.revoke(name, host, database).await
    }

    async fn list_access(&self, name: &str, host: Option<&str>) -> Result<Vec<Database>> {
        self.access_of(name, host).await
    }

    async fn enable_root(&self, password: Option<&Secret>) -> Result<User> {
        self.unlock_root(password).await
    }

    async fn disable_root(&self) -> Result<()> {
        self.lock_root().await
    }

    async fn is_root_enabled(&self) -> Result<bool> {
        self.is_root_unlocked().await
    }

    async fn version(&self) -> Result<String> {
        if let Ok(session) = self.session().await {
            let text = session.version().text.clone();
            session.close().await;
            return Ok(text);
        }
        // Not running: what would run.
        Ok(self.installed_version().await?.text)
    }

    async fn update_overrides(
        &self,
        overrides: &BTreeMap<String, Value>,
        _remove: bool,
    ) -> Result<()> {
        // The group is written as a whole: what is not in it any more is gone.
        self.replace_user_parameters(overrides).await
    }

    async fn apply_overrides(&self, overrides: &BTreeMap<String, Value>) -> Result<bool> {
        self.apply_group(overrides).await
    }

    async fn rebuild(&self, request: &PrepareRequest, tls: Option<TlsMode>) -> Result<()> {
        self.take_over_volume(request, tls).await
    }

    async fn upgrade(&self, target: &str) -> Result<()> {
        self.go_over_to(target).await
    }

    async fn start_backup(&self, request: &BackupRequest) -> Result<Box<dyn BackupStream>> {
        self.begin_backup(request).await
    }

    async fn restore(
        &self,
        request: &PrepareRequest,
        source: &dyn RestoreSource,
    ) -> Result<Restored> {
        self.service.keep_down().await?;
        self.meet_source(request).await?;
        self.unpack_restore(request, source).await?;
        self.start_as_asked(request).await
    }

    async fn unpack(&self, source: &dyn RestoreSource) -> Result<()> {
        let path = &self.settings.layout.base_config;
        let present = guest::read_optional(path).map_err(os_error)?;
        let request = PrepareRequest {
            config_contents: present.ok_or_else(|| {
                Error::failed(format!("{} does not exist: write it first", path.display()))
            })?,
            overrides: BTreeMap::new(),
            datastore_version: None,
            replica: None,
        };
        self.unpack_restore(&request, source).await
    }

    async fn restore_snapshot(&self, request: &PrepareRequest) -> Result<Restored> {
        self.service.keep_down().await?;
        self.meet_source(request).await?;
        self.take_over_snapshot(request).await?;
        self.start_as_asked(request).await
    }

    async fn offer_clone(&self, host: &str) -> Result<bool> {
        self.offer_to_replicas(host).await
    }

    async fn restore_clone(&self, request: &PrepareRequest) -> Result<Restored> {
        self.cloning(request).await
    }

    async fn lock_for_snapshot(&self) -> Result<Box<dyn ReadLock>> {
        self.hold_writes().await
    }

    async fn port(&self) -> Result<u16> {
        self.tcp_port().await
    }

    async fn enable_as_source(&self, config: &str) -> Result<()> {
        self.become_source(config).await
    }

    async fn replication_account(&self) -> Result<ReplicationAccount> {
        self.account_for_replicas().await
    }

    async fn source_position(&self) -> Result<Map<String, Value>> {
        self.position_of_source().await
    }

    async fn attach_replica(
        &self,
        context: &ReplicaContext,
        config: &str,
        _restart: bool,
    ) -> Result<()> {
        self.attach(context, config).await
    }

    async fn detach_replica(&self, for_failover: bool) -> Result<Option<String>> {
        self.detach(for_failover).await
    }

    async fn set_read_only(&self, read_only: bool) -> Result<()> {
        self.keep_from_writing(read_only).await
    }

    async fn latest_transaction(&self) -> Result<String> {
        self.latest_gtids().await
    }

    async fn wait_for_transaction(&self, transaction: &str, patience: Duration) -> Result<()> {
        self.wait_for_gtids(transaction, patience).await
    }

    async fn last_transaction(&self) -> Result<LastTransaction> {
        self.last_received().await
    }

    async fn demote_source(&self) -> Result<()> {
        self.stop_being_source().await
    }

    fn logs(&self) -> Vec<ServerLog> {
        self.server_logs()
    }

    async fn log_enabled(&self, name: &str) -> Result<bool> {
        self.is_log_on(name).await
    }

    async fn set_log(&self, name: &str, enabled: bool) -> Result<bool> {
        self.switch_log(name, enabled).await?;
        Ok(false)
    }

    fn tls_files(&self) -> Option<TlsFiles> {
        Some(self.tls_paths())
    }

    async fn tls_enabled(&self) -> Result<bool> {
        self.offers_tls().await
    }

    async fn set_tls(&self, mode: Option<TlsMode>, material: Option<&TlsMaterial>) -> Result<bool> {
        self.switch_tls(mode, material).await
    }

    async fn housekeeping(&self) -> Result<()> {
        self.settle_tls().await;
        let tended = self.tend_replication().await;
        self.bound_logs().await.and(tended)
    }

    async fn main_pid(&self) -> Option<u32> {
        self.service.main_pid().await
    }
}
