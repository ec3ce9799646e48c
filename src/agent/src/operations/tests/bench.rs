//! Operations on a server in memory, and what they told the conductor.

use std::sync::Arc;
use std::time::Duration;

use datastore::Datastore;
use guest::{FsType, VolumeSpec};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::super::backup::Backups;
use super::super::recovery::phase_on_disk;
use super::super::*;
use super::memory::Memory;
use crate::conductor::tests::{Recorder, recording};
use crate::host::Host;
use crate::modules::{Drivers, Modules, Store};
use crate::rpc::args::Args;
use crate::rpc::context::Context;
use crate::status::{Phase, Status};

pub(super) struct Bench {
    pub(super) operations: Arc<Operations>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) datastore: Arc<Memory>,
    pub(super) status: Arc<Status>,
    pub(super) conductor: Arc<crate::conductor::Conductor>,
    pub(super) dir: tempfile::TempDir,
}

pub(super) fn bench(datastore: Memory) -> Bench {
    bench_with(datastore, "")
}

/// The same with options of `[DEFAULT]`.
pub(super) fn bench_with(datastore: Memory, options: &str) -> Bench {
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
            "state_path = {}\nbackup_directory = {0}\n[DEFAULT]\n{options}",
            dir.path().display()
        )))),
        logs: crate::logs::Logs::default(),
        modules: Modules::new(
            Store::at(dir.path(), None),
            Drivers::new(&["ping".to_owned()], dir.path()),
            "memory",
        ),
        tls: crate::tls::Tls::default(),
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

pub(super) fn call(args: Value) -> PrepareCall {
    let Value::Object(map) = args else {
        panic!("an object")
    };
    PrepareCall::read(&mut Args::new(map)).unwrap()
}

pub(super) fn context() -> Context {
    let mut map = Map::new();
    map.insert("request_id".into(), "req-1".into());
    map.insert("auth_token".into(), "token-canary".into());
    map.insert("trove_notification".into(), json!({"request_id": "req-1"}));
    Context::new(map)
}

impl Bench {
    pub(super) fn start_status(&self) -> CancellationToken {
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
    pub(super) async fn recover(&self) {
        self.operations
            .recover(self.operations.journal.read())
            .await;
    }

    pub(super) fn phase_on_disk(&self) -> Phase {
        let unfinished = self.operations.journal.read();
        phase_on_disk(unfinished.as_ref(), &self.operations.markers)
    }

    pub(super) fn casts(&self, method: &str) -> Vec<Value> {
        let casts = self.recorder.0.lock().unwrap();
        casts
            .iter()
            .filter(|cast| cast.1 == method)
            .map(|cast| cast.2.clone())
            .collect()
    }
}
