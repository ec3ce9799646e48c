//! From a request to an instance, and what is told about it.

use super::*;

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
    let prepare = call(json!({"cluster_config": {"id": "c"}, "packages": ""}));
    let error = bench
        .operations
        .prepare(prepare, &context())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cluster_config"), "{error}");
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
async fn modules_of_a_new_instance_are_applied_and_failures_told() {
    let bench = bench(Memory::default());
    let ping = |id: &str, contents: &str| {
        json!({"module": {"id": id, "name": id, "type": "ping", "contents": contents,
                          "tenant": "t", "auto_apply": false}})
    };
    // What the volume of a snapshot brings.
    let stale = serde_json::from_value::<crate::modules::Wrapped>(ping("stale", "bWVzc2FnZT1h"));
    let stale = stale.unwrap().into_inner();
    bench.operations.module_apply(vec![stale]).await.unwrap();
    // "message=a" and "nothing".
    let prepare = call(json!({"modules": [ping("a", "bWVzc2FnZT1h"), ping("b", "bm90aGluZw==")]}));
    let error = bench
        .operations
        .prepare(prepare, &context())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("module 'b' was not applied: Message not found"),
        "{error}"
    );
    assert_eq!(bench.status.phase(), Phase::Installed);
    let found = bench
        .operations
        .module_list(false, &context())
        .await
        .unwrap();
    let mut names: Vec<&str> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
}
