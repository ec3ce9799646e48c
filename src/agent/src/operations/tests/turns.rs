//! Who may run beside whom.

use super::*;

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
