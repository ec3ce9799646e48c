//! Who may run beside whom, and what is told about an operation's end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use async_trait::async_trait;
use datastore::{
    Archive, BackupMetadata, BackupRequest, BackupStream, Bytestream, Database, Error, Page,
    PageRequest, PasswordChange, PrepareRequest, RestoreSource, Restored, Result, Secret,
    ServiceStatus, StopOutcome, User, UserAttributes,
};
use guest::{FsType, VolumeSpec};
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::backup::Backups;
use super::recovery::phase_on_disk;
use super::*;
use crate::conductor::tests::{Recorder, recording};
use crate::host::Host;
use crate::journal::{Record, State};
use crate::rpc::args::Args;
use crate::rpc::context::Context;
use crate::status::{Phase, Status};

mod backups;

/// A server in memory whose slow steps end when the test says so.
#[derive(Default)]
struct Memory {
    calls: StdMutex<Vec<String>>,
    fail_prepare: AtomicBool,
    restart_gate: Option<Notify>,
    down: AtomicBool,
    /// What a backup reads; it waits at its end for `backup_gate`.
    data: Vec<u8>,
    backup_gate: Option<Arc<Notify>>,
    fail_backup: AtomicBool,
}

impl Memory {
    fn log(&self, what: impl Into<String>) {
        self.calls.lock().unwrap().push(what.into());
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

struct Bench {
    operations: Arc<Operations>,
    recorder: Arc<Recorder>,
    datastore: Arc<Memory>,
    status: Arc<Status>,
    conductor: Arc<crate::conductor::Conductor>,
    dir: tempfile::TempDir,
}

fn bench(datastore: Memory) -> Bench {
    let (recorder, conductor, dir) = recording();
    let datastore = Arc::new(datastore);
    let status = Status::new(Phase::Uninstalled, Duration::from_secs(30));
    let volume = VolumeSpec {
        device: "/dev/vdb".into(),
        mount_point: "/".into(),
        fstype: FsType::Ext4,
        format_options: Vec::new(),
        mount_options: "defaults".into(),
        format_timeout: Duration::from_secs(1),
        command_timeout: Duration::from_secs(1),
        num_tries: 1,
    };
    let operations = Arc::new(Operations {
        datastore: datastore.clone(),
        conductor: conductor.clone(),
        status: status.clone(),
        host: Arc::new(Host::ready_now()),
        journal: Journal::new(dir.path().join("operation.json")),
        markers: Markers::new(&dir.path().join("opt")),
        volume,
        backups: Backups::new(Arc::new(crate::config::tests::with_own(&format!(
            "state_path = {}\nbackup_directory = {0}\n",
            dir.path().display()
        )))),
        turns: Turns::default(),
    });
    Bench {
        operations,
        recorder,
        datastore,
        status,
        conductor,
        dir,
    }
}

fn call(args: Value) -> PrepareCall {
    let Value::Object(map) = args else {
        panic!("an object")
    };
    PrepareCall::read(&mut Args::new(map)).unwrap()
}

fn context() -> Context {
    let mut map = Map::new();
    map.insert("request_id".into(), "req-1".into());
    map.insert("auth_token".into(), "token-canary".into());
    map.insert("trove_notification".into(), json!({"request_id": "req-1"}));
    Context::new(map)
}

fn interrupted_prepare() -> Record {
    Record {
        method: "prepare".into(),
        request_id: None,
        notification: Some(Map::new()),
        context: Value::Null,
        state: State::Running,
    }
}

impl Bench {
    fn start_status(&self) -> CancellationToken {
        let cancel = CancellationToken::new();
        let datastore: Arc<dyn Datastore> = self.datastore.clone();
        tokio::spawn(
            self.status
                .clone()
                .run(datastore, self.conductor.clone(), cancel.clone()),
        );
        cancel
    }

    /// What the next agent does with what this one left.
    async fn recover(&self) {
        self.operations
            .recover(self.operations.journal.read())
            .await;
    }

    fn phase_on_disk(&self) -> Phase {
        let unfinished = self.operations.journal.read();
        phase_on_disk(unfinished.as_ref(), &self.operations.markers)
    }

    fn casts(&self, method: &str) -> Vec<Value> {
        let casts = self.recorder.0.lock().unwrap();
        casts
            .iter()
            .filter(|cast| cast.1 == method)
            .map(|cast| cast.2.clone())
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn prepare_reports_building_then_healthy_and_one_end() {
    let bench = bench(Memory::default());
    let _cancel = bench.start_status();
    let prepare = call(json!({"databases": [{"_name": "db1"}], "config_contents": "c"}));
    bench.operations.prepare(prepare, &context()).await.unwrap();
    bench.status.announce(Duration::from_secs(5)).await;
    assert_eq!(
        *bench.datastore.calls.lock().unwrap(),
        ["prepare c", "databases 1"]
    );
    let heartbeats = bench.recorder.heartbeats();
    assert_eq!(heartbeats.last().map(String::as_str), Some("healthy"));
    assert!(
        heartbeats
            .iter()
            .all(|status| status == "building" || status == "healthy")
    );
    assert_eq!(bench.casts("notify_end").len(), 1);
    assert!(bench.operations.markers.installed());
    assert_eq!(bench.operations.journal.read(), None);
}

#[tokio::test(start_paused = true)]
async fn a_failed_prepare_is_a_status_a_fault_and_a_record() {
    let bench = bench(Memory::default());
    bench.datastore.fail_prepare.store(true, Ordering::SeqCst);
    let _cancel = bench.start_status();
    let error = bench
        .operations
        .prepare(call(json!({})), &context())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "mysqld did not start");
    bench.status.announce(Duration::from_secs(5)).await;
    assert_eq!(
        bench.recorder.heartbeats().last().map(String::as_str),
        Some("failed to spawn")
    );
    assert_eq!(
        bench.casts("notify_exc_info")[0]["message"],
        "mysqld did not start"
    );
    // The taskmanager has put a fault of its own in its place by now.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.casts("notify_exc_info").len(), 2);
    // A restarted agent says the same again.
    assert_eq!(bench.phase_on_disk(), Phase::Failed);
    let journal = std::fs::read_to_string(bench.dir.path().join("operation.json")).unwrap();
    assert!(!journal.contains("token-canary"), "{journal}");
}

#[tokio::test(start_paused = true)]
async fn what_prepare_cannot_do_is_refused_before_anything_is_touched() {
    let bench = bench(Memory::default());
    let prepare = call(json!({"snapshot": {"master": {}}, "modules": [], "packages": ""}));
    let error = bench
        .operations
        .prepare(prepare, &context())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("snapshot"), "{error}");
    assert!(bench.datastore.calls.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_user_that_cannot_be_created_is_a_fault_and_not_a_failed_instance() {
    let bench = bench(Memory::default());
    let prepare = call(json!({"users": [{"_name": "root", "_password": "x"}]}));
    bench
        .operations
        .prepare(prepare, &context())
        .await
        .unwrap_err();
    assert_eq!(bench.status.phase(), Phase::Installed);
    assert!(bench.casts("notify_end").is_empty());
    assert_eq!(bench.casts("notify_exc_info").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_prepare_is_refused() {
    let bench = bench(Memory::default());
    bench
        .operations
        .prepare(call(json!({})), &context())
        .await
        .unwrap();
    bench
        .operations
        .prepare(call(json!({})), &context())
        .await
        .unwrap_err();
    assert_eq!(bench.datastore.calls.lock().unwrap().len(), 1);
    assert_eq!(bench.status.phase(), Phase::Installed);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_prepare_fails_the_instance_with_a_reason() {
    let bench = bench(Memory::default());
    bench
        .operations
        .journal
        .write(&interrupted_prepare())
        .unwrap();
    assert_eq!(bench.phase_on_disk(), Phase::Failed);
    bench.recover().await;
    assert!(
        bench.casts("notify_exc_info")[0]["message"]
            .as_str()
            .unwrap()
            .contains("prepare")
    );
    // Told once: the next start only repeats the status.
    bench.recover().await;
    assert_eq!(bench.casts("notify_exc_info").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_prepare_interrupted_after_its_last_step_is_complete() {
    let bench = bench(Memory::default());
    bench.operations.markers.begin().unwrap();
    bench.operations.markers.complete().unwrap();
    bench
        .operations
        .journal
        .write(&interrupted_prepare())
        .unwrap();
    assert_eq!(bench.phase_on_disk(), Phase::Installed);
    bench.recover().await;
    assert_eq!(bench.casts("notify_end").len(), 1);
    assert_eq!(bench.operations.journal.read(), None);
}

#[tokio::test(start_paused = true)]
async fn lifecycle_operations_exclude_one_another_and_changes() {
    let bench = bench(Memory {
        restart_gate: Some(Notify::new()),
        ..Memory::default()
    });
    let _cancel = bench.start_status();
    let first = tokio::spawn({
        let operations = bench.operations.clone();
        async move { operations.restart().await }
    });
    tokio::task::yield_now().await;
    let refused = bench.operations.restart().await.unwrap_err();
    assert!(
        refused.to_string().contains("restart is still at work"),
        "{refused}"
    );
    assert!(bench.operations.turns.change("create_user").await.is_err());
    bench.datastore.restart_gate.as_ref().unwrap().notify_one();
    first.await.unwrap().unwrap();
    bench.operations.turns.change("create_user").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stop_answers_while_the_server_still_stops_and_others_wait_for_its_end() {
    let bench = bench(Memory {
        restart_gate: Some(Notify::new()),
        ..Memory::default()
    });
    bench.operations.clone().stop_db().await.unwrap();
    assert!(
        bench
            .operations
            .turns
            .exclusive("unmount_volume")
            .await
            .is_err()
    );
    bench.datastore.restart_gate.as_ref().unwrap().notify_one();
    bench
        .operations
        .turns
        .exclusive("unmount_volume")
        .await
        .unwrap();
}

#[test]
fn overrides_keep_their_types() {
    let prepare = call(json!({"overrides": {"max_connections": 100, "x": "1"}}));
    let expected: BTreeMap<String, Value> = [
        ("max_connections".into(), json!(100)),
        ("x".into(), json!("1")),
    ]
    .into();
    assert_eq!(prepare.request.overrides, expected);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_never_prepared_says_nothing() {
    let bench = bench(Memory::default());
    let _cancel = bench.start_status();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(bench.recorder.heartbeats().is_empty());
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_frequent_after_a_start_and_then_periodic() {
    let bench = bench(Memory::default());
    bench.status.enter(Phase::Installed);
    let _cancel = bench.start_status();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let at_start = bench.recorder.heartbeats().len();
    assert!(
        (10..=14).contains(&at_start),
        "{at_start} in the first minute"
    );
    tokio::time::sleep(Duration::from_secs(300)).await;
    let periodic = bench.recorder.heartbeats().len() - at_start;
    // report_interval is 30 s; the control plane gives a guest up after 90.
    assert!((9..=11).contains(&periodic), "{periodic} in five minutes");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_reported_within_a_probe_unless_an_operation_wants_it() {
    let bench = bench(Memory::default());
    bench.status.enter(Phase::Installed);
    let _cancel = bench.start_status();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let last = || bench.recorder.heartbeats().last().cloned();
    let hold = bench.status.hold();
    bench.datastore.down.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(last().as_deref(), Some("healthy"));
    drop(hold);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(last().as_deref(), Some("shutdown"));
}
