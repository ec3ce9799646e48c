//! What the next agent makes of an interrupted operation.

use serde_json::Map;

use super::*;
use crate::journal::{Record, State};

fn interrupted_prepare() -> Record {
    Record {
        method: "prepare".into(),
        request_id: None,
        notification: Some(Map::new()),
        context: Value::Null,
        state: State::Running,
    }
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
    // A server that was started for it does not go on by itself.
    assert_eq!(*bench.datastore.calls.lock().unwrap(), ["stop"]);
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

/// The server comes back, and the control plane, which looks for a healthy one,
/// has time to see that it is not upgraded.
#[tokio::test(start_paused = true)]
async fn an_interrupted_upgrade_is_shown_and_over() {
    let bench = bench(Memory::default());
    bench.operations.markers.begin().unwrap();
    bench.operations.markers.complete().unwrap();
    let record = Record {
        method: "upgrade".into(),
        notification: None,
        ..interrupted_prepare()
    };
    bench.operations.journal.write(&record).unwrap();
    assert_eq!(bench.phase_on_disk(), Phase::Failed);
    let begun = tokio::time::Instant::now();
    bench.recover().await;
    assert!(
        bench
            .datastore
            .calls
            .lock()
            .unwrap()
            .contains(&"resume".to_owned())
    );
    assert!(begun.elapsed() > std::time::Duration::from_secs(10));
    assert_eq!(bench.operations.status.phase(), Phase::Installed);
    assert_eq!(bench.operations.journal.read(), None);
}
