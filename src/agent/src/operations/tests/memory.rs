//! A server in memory.

use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use datastore::{
    Archive, BackupMetadata, BackupRequest, BackupStream, Bytestream, Database, Datastore, Error,
    Page, PageRequest, PasswordChange, PrepareRequest, ReplicationAccount, RestoreSource, Restored,
    Result, Secret, ServiceStatus, StopOutcome, TlsFiles, TlsMaterial, TlsMode, User,
    UserAttributes,
};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;

/// A server in memory whose slow steps end when the test says so.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) calls: StdMutex<Vec<String>>,
    pub(super) fail_prepare: AtomicBool,
    pub(super) restart_gate: Option<Notify>,
    pub(super) down: AtomicBool,
    /// What a backup reads; it waits at its end for `backup_gate`.
    pub(super) data: Vec<u8>,
    pub(super) backup_gate: Option<Arc<Notify>>,
    pub(super) fail_backup: AtomicBool,
    pub(super) tls_files: Option<TlsFiles>,
    pub(super) tls: StdMutex<(Option<TlsMode>, Option<TlsMaterial>)>,
    pub(super) refuse_tls: AtomicBool,
    /// Whether replicas may clone it.
    pub(super) donor: bool,
}

impl Memory {
    fn log(&self, what: impl Into<String>) {
        self.calls.lock().unwrap().push(what.into());
    }

    /// Mode and material that were set last.
    pub(super) fn tls(&self) -> (Option<TlsMode>, Option<TlsMaterial>) {
        self.tls.lock().unwrap().clone()
    }

    pub(super) fn refuse_tls(&self, refuse: bool) {
        self.refuse_tls.store(refuse, Ordering::SeqCst);
    }
}

#[async_trait]
impl Datastore for Memory {
    fn manager(&self) -> &'static str {
        "memory"
    }
    async fn status(&self) -> ServiceStatus {
        if self.down.load(Ordering::SeqCst) {
            ServiceStatus::Shutdown
        } else {
            ServiceStatus::Healthy
        }
    }
    async fn prepare(&self, request: &PrepareRequest) -> Result<()> {
        self.log(format!("prepare {}", request.config_contents));
        if self.fail_prepare.load(Ordering::SeqCst) {
            return Err(Error::failed("mysqld did not start"));
        }
        Ok(())
    }
    async fn start(&self) -> Result<()> {
        Ok(())
    }
    async fn resume(&self) -> Result<bool> {
        self.log("resume");
        Ok(false)
    }
    async fn stop(&self, _patience: Duration) -> Result<StopOutcome> {
        self.log("stop");
        Ok(StopOutcome::Stopping)
    }
    async fn wait_stopped(&self) -> Result<()> {
        if let Some(gate) = &self.restart_gate {
            gate.notified().await;
        }
        Ok(())
    }
    async fn restart(&self) -> Result<()> {
        self.log("restart");
        if let Some(gate) = &self.restart_gate {
            gate.notified().await;
        }
        Ok(())
    }
    async fn start_with_config(&self, _config_contents: &str) -> Result<()> {
        Ok(())
    }
    async fn reset_configuration(&self, _config_contents: &str) -> Result<()> {
        Ok(())
    }
    async fn create_databases(&self, databases: &[Database]) -> Result<()> {
        self.log(format!("databases {}", databases.len()));
        Ok(())
    }
    async fn list_databases(&self, _page: &PageRequest) -> Result<Page<Database>> {
        Ok(Page {
            items: Vec::new(),
            next_marker: None,
        })
    }
    async fn delete_database(&self, _database: &Database) -> Result<()> {
        Ok(())
    }
    async fn create_users(&self, users: &[User]) -> Result<()> {
        self.log(format!("users {}", users.len()));
        Err(Error::bad_request("user name 'root' is reserved"))
    }
    async fn list_users(&self, _page: &PageRequest) -> Result<Page<User>> {
        Ok(Page {
            items: Vec::new(),
            next_marker: None,
        })
    }
    async fn delete_user(&self, _user: &User) -> Result<()> {
        Ok(())
    }
    async fn get_user(&self, _name: &str, _host: Option<&str>) -> Result<Option<User>> {
        Ok(None)
    }
    async fn update_attributes(
        &self,
        _name: &str,
        _host: Option<&str>,
        _attributes: &UserAttributes,
    ) -> Result<()> {
        Ok(())
    }
    async fn change_passwords(&self, _changes: &[PasswordChange]) -> Result<()> {
        Ok(())
    }
    async fn grant_access(&self, _: &str, _: Option<&str>, _: &[String]) -> Result<()> {
        Ok(())
    }
    async fn revoke_access(&self, _: &str, _: Option<&str>, _: &str) -> Result<()> {
        Ok(())
    }
    async fn list_access(&self, _name: &str, _host: Option<&str>) -> Result<Vec<Database>> {
        Ok(Vec::new())
    }
    async fn enable_root(&self, _password: Option<&Secret>) -> Result<User> {
        Err(Error::not_supported("root"))
    }
    async fn disable_root(&self) -> Result<()> {
        Ok(())
    }
    async fn is_root_enabled(&self) -> Result<bool> {
        Ok(false)
    }
    async fn version(&self) -> Result<String> {
        Ok("1".into())
    }
    async fn main_pid(&self) -> Option<u32> {
        None
    }
    async fn start_backup(&self, request: &BackupRequest) -> Result<Box<dyn BackupStream>> {
        self.log(format!("backup {} on {:?}", request.id, request.parent));
        Ok(Box::new(MemoryStream {
            data: self.data.clone(),
            gate: self.backup_gate.clone(),
            fail: self.fail_backup.load(Ordering::SeqCst),
        }))
    }
    fn tls_files(&self) -> Option<TlsFiles> {
        self.tls_files.clone()
    }
    async fn tls_enabled(&self) -> Result<bool> {
        Ok(self.tls().0.is_some())
    }
    async fn set_tls(&self, mode: Option<TlsMode>, material: Option<&TlsMaterial>) -> Result<bool> {
        if self.refuse_tls.load(Ordering::SeqCst) {
            return Err(Error::failed("the server does not like it"));
        }
        if let (Some(material), Some(files)) = (material, &self.tls_files) {
            let ca = material.ca.clone().unwrap_or_default();
            std::fs::write(&files.private_key, material.private_key.expose()).unwrap();
            std::fs::write(&files.certificate, &material.certificate).unwrap();
            std::fs::write(&files.ca, ca).unwrap();
        }
        *self.tls.lock().unwrap() = (mode, material.cloned());
        Ok(false)
    }
    async fn enable_as_source(&self, _config: &str) -> Result<()> {
        Ok(())
    }
    async fn replication_account(&self) -> Result<ReplicationAccount> {
        Ok(ReplicationAccount {
            name: "slave_1".into(),
            password: Secret::new("password-canary"),
        })
    }
    async fn source_position(&self) -> Result<serde_json::Map<String, serde_json::Value>> {
        Ok(serde_json::Map::new())
    }
    async fn port(&self) -> Result<u16> {
        Ok(3306)
    }
    async fn offer_clone(&self, _host: &str) -> Result<bool> {
        Ok(self.donor)
    }
    async fn restore_clone(&self, request: &PrepareRequest) -> Result<Restored> {
        let source = &request.replica.as_ref().unwrap().context.source;
        self.log(format!("clone port {}", source.port));
        Ok(Restored { root_enabled: true })
    }
    async fn restore(
        &self,
        _request: &PrepareRequest,
        source: &dyn RestoreSource,
    ) -> Result<Restored> {
        for (index, link) in source.links().iter().enumerate() {
            let mut bytes = Vec::new();
            let mut reader = source.open(index).await?;
            let read = reader.read_to_end(&mut bytes).await;
            read.map_err(|error| Error::failed(error.to_string()))?;
            let lsn = link.metadata.get("lsn").cloned().unwrap_or_default();
            self.log(format!("restore {} bytes of lsn {lsn}", bytes.len()));
        }
        Ok(Restored { root_enabled: true })
    }
}

struct MemoryStream {
    data: Vec<u8>,
    gate: Option<Arc<Notify>>,
    fail: bool,
}

#[async_trait]
impl BackupStream for MemoryStream {
    fn archive(&self) -> Archive {
        Archive::Xbstream
    }
    fn estimate(&self) -> u64 {
        0
    }
    fn reader(&mut self) -> Bytestream {
        Box::pin(std::io::Cursor::new(std::mem::take(&mut self.data)))
    }
    async fn finish(self: Box<Self>) -> Result<BackupMetadata> {
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        match self.fail {
            true => Err(Error::failed("the tool has lost its server")),
            false => Ok(BackupMetadata::from([("lsn".into(), "77".into())])),
        }
    }
    async fn abort(self: Box<Self>) {}
}
