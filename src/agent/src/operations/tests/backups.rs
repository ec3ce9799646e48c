//! What is told about backups, and what is restored.

use super::*;
use crate::backups::BackupInfo;

fn info(id: &str, parent: Option<Value>) -> BackupInfo {
    serde_json::from_value(json!({
        "id": id, "backup_type": if parent.is_some() { "incremental" } else { "full" },
        "parent": parent, "datastore": "mariadb", "datastore_version": "10.11",
        "storage_driver": "local", "swift_container": "c"
    }))
    .unwrap()
}

fn installed(datastore: Memory) -> Bench {
    let bench = bench(datastore);
    bench.operations.markers.begin().unwrap();
    bench.operations.markers.complete().unwrap();
    bench
}

/// State and everything else of each report, in order.
fn reports(bench: &Bench) -> Vec<(String, Value)> {
    let casts = bench.recorder.0.lock().unwrap();
    casts
        .iter()
        .filter(|(_, method, _)| method == "update_backup")
        .map(|(_, _, args)| (args["state"].as_str().unwrap().to_owned(), args.clone()))
        .collect()
}

fn files(bench: &Bench) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(bench.dir.path().join("c")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn journal(bench: &Bench) -> std::path::PathBuf {
    bench.dir.path().join("backup.json")
}

#[tokio::test]
async fn a_backup_is_told_twice_and_can_be_restored_with_its_increment() {
    let bench = installed(Memory {
        data: vec![7; 3 << 20],
        ..Memory::default()
    });
    let operations = &bench.operations;
    operations
        .create_backup(info("b1", None), &context())
        .await
        .unwrap();
    let told = reports(&bench);
    let states: Vec<&str> = told.iter().map(|(state, _)| state.as_str()).collect();
    assert_eq!(states, ["BUILDING", "COMPLETED"]);
    let (building, completed) = (&told[0].1, &told[1].1);
    assert!(completed["sent"].as_f64() > building["sent"].as_f64());
    assert_eq!(completed["instance_id"], "g");
    assert_eq!(completed["backup_type"], "full");
    assert!(completed["size"].as_f64().unwrap() > 0.0);
    assert!(!journal(&bench).exists());

    let parent = json!({"location": completed["location"], "checksum": completed["checksum"]});
    let second = operations
        .create_backup(info("b2", Some(parent)), &context())
        .await;
    second.unwrap();
    let increment = reports(&bench).pop().unwrap().1;
    let calls = bench.datastore.calls.lock().unwrap().clone();
    assert!(
        calls[1].starts_with("backup b2 on Some") && calls[1].contains("77"),
        "{calls:?}"
    );

    // The other guest has the same store.
    std::fs::remove_file(bench.dir.path().join("opt/.guestagent.prepare.end")).unwrap();
    let prepare = call(json!({"root_password": "ignored", "backup_info": {
        "id": "b2", "location": increment["location"], "checksum": increment["checksum"],
        "type": "mariabackup", "storage_driver": "local"
    }}));
    operations.prepare(prepare, &context()).await.unwrap();
    let calls = bench.datastore.calls.lock().unwrap().clone();
    let restored = format!("restore {} bytes of lsn 77", 3 << 20);
    assert_eq!(calls[2..], [restored.clone(), restored]);
    let casts = bench.recorder.0.lock().unwrap();
    assert!(casts.iter().any(|(_, method, _)| method == "report_root"));
}

#[tokio::test]
async fn a_tool_that_fails_late_leaves_nothing() {
    let bench = installed(Memory {
        // Bytes that do not compress, in more than one part.
        data: (0..20u32 << 18)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect(),
        fail_backup: AtomicBool::new(true),
        ..Memory::default()
    });
    let made = bench
        .operations
        .create_backup(info("b1", None), &context())
        .await;
    let error = made.unwrap_err().to_string();
    assert_eq!(
        error,
        "Failed to create backup b1, error: the tool has lost its server"
    );
    let (state, fields) = reports(&bench).pop().unwrap();
    assert_eq!(
        (state.as_str(), &fields["success"]),
        ("FAILED", &json!(false))
    );
    assert_eq!(files(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn one_backup_at_a_time() {
    let gate = Arc::new(Notify::new());
    let bench = installed(Memory {
        data: vec![1; 100],
        backup_gate: Some(gate.clone()),
        ..Memory::default()
    });
    let operations = bench.operations.clone();
    let mut running = operations.backups.running();
    let first =
        tokio::spawn(async move { operations.create_backup(info("b1", None), &context()).await });
    running.wait_for(Option::is_some).await.unwrap();
    let second = bench
        .operations
        .create_backup(info("b2", None), &context())
        .await;
    assert!(second.unwrap_err().to_string().contains("another backup"));
    gate.notify_one();
    first.await.unwrap().unwrap();
    let ends: Vec<(Value, String)> = reports(&bench)
        .into_iter()
        .filter(|(state, _)| state != "BUILDING")
        .map(|(state, fields)| (fields["backup_id"].clone(), state))
        .collect();
    assert_eq!(
        ends,
        [
            (json!("b2"), "FAILED".into()),
            (json!("b1"), "COMPLETED".into())
        ]
    );
}

#[tokio::test]
async fn an_increment_needs_its_parent() {
    let bench = installed(Memory {
        data: vec![1; 100],
        ..Memory::default()
    });
    let parent = json!({"location": "file:///x/c/gone.xbstream.gz", "checksum": "0"});
    let missing = bench
        .operations
        .create_backup(info("b1", Some(parent)), &context())
        .await;
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("gone.xbstream.gz")
    );
    assert!(bench.datastore.calls.lock().unwrap().is_empty());
    let mut orphan = info("b2", None);
    orphan.backup_type = Some("incremental".into());
    let refused = bench.operations.create_backup(orphan, &context()).await;
    assert!(refused.unwrap_err().to_string().contains("names none"));
}

#[tokio::test]
async fn an_interrupted_backup_fails_and_its_record_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let gate = Arc::new(Notify::new());
    let bench = installed(Memory {
        data: (0..20u32 << 18)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect(),
        backup_gate: Some(gate),
        ..Memory::default()
    });
    let operations = bench.operations.clone();
    let running =
        tokio::spawn(async move { operations.create_backup(info("b1", None), &context()).await });
    let leftover = || {
        std::fs::read_to_string(journal(&bench)).is_ok_and(|text| text.contains("\"leftover\": {"))
    };
    while !leftover() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mode = std::fs::metadata(journal(&bench))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());

    bench.operations.recover_backup().await;
    assert_eq!(reports(&bench).pop().unwrap().0, "FAILED");
    let casts = bench.recorder.0.lock().unwrap();
    let fault = casts
        .iter()
        .find(|(_, method, _)| method == "notify_exc_info")
        .unwrap();
    assert!(
        fault.2["message"]
            .as_str()
            .unwrap()
            .contains("restarted in the middle")
    );
    assert!(!journal(&bench).exists());
    assert_eq!(files(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn a_restore_without_a_store_or_an_object_fails_the_instance() {
    for (driver, reason) in [("tape", "not one of"), ("local", "gone.xbstream.gz")] {
        let bench = bench(Memory::default());
        let prepare = call(json!({"backup_info": {
            "id": "b", "location": "file:///x/c/gone.xbstream.gz", "storage_driver": driver
        }}));
        let error = bench
            .operations
            .prepare(prepare, &context())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(bench.status.phase(), Phase::Failed);
        assert!(bench.datastore.calls.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_restore_without_the_key_names_its_option_and_touches_nothing() {
    let bench = installed(Memory {
        data: vec![1; 100],
        ..Memory::default()
    });
    let operations = &bench.operations;
    let made = operations.create_backup(info("b1", None), &context()).await;
    made.unwrap();
    std::fs::remove_file(bench.dir.path().join("opt/.guestagent.prepare.end")).unwrap();
    let container = bench.dir.path().join("c");
    for (suffix, option) in [
        ("age", "[guest_agent] backup_encryption_passphrase"),
        ("enc", "[DEFAULT] backup_aes_cbc_key"),
    ] {
        let name = format!("b1.xbstream.gz.{suffix}");
        std::fs::copy(container.join("b1.xbstream.gz"), container.join(&name)).unwrap();
        let prepare = call(json!({"backup_info": {
            "id": "b1", "location": format!("file://{}", container.join(&name).display()),
            "storage_driver": "local"
        }}));
        let error = operations.prepare(prepare, &context()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(option) && text.contains(&name), "{text}");
        let calls = bench.datastore.calls.lock().unwrap();
        assert!(
            !calls.iter().any(|call| call.starts_with("restore")),
            "{calls:?}"
        );
    }
}

/// Trove wants a record of a backup for them, which comes back with `prepare`
/// and must be at its end by then: it is deleted.
#[tokio::test]
async fn replicas_that_clone_get_a_record_without_a_backup() {
    let bench = installed(Memory {
        donor: true,
        ..Memory::default()
    });
    let operations = &bench.operations;
    let snapshot = operations
        .replication_snapshot(info("b1", None), "", &context())
        .await
        .unwrap();
    assert_eq!(snapshot["dataset"]["snapshot_id"], "b1");
    let (state, told) = reports(&bench).pop().unwrap();
    assert_eq!(
        (state.as_str(), &told["backup_id"]),
        ("FAILED", &json!("b1"))
    );
    assert_eq!(reports(&bench).len(), 1);
    assert!(files(&bench).is_empty());

    std::fs::remove_file(bench.dir.path().join("opt/.guestagent.prepare.end")).unwrap();
    let record = json!({"id": "b1", "location": null, "type": "full", "checksum": null,
                        "storage_driver": "swift"});
    // Of a source that makes backups: there is none.
    let mut other = snapshot.clone();
    other["dataset"]
        .as_object_mut()
        .unwrap()
        .remove("provisioning");
    let prepare = call(json!({"snapshot": other, "backup_info": record}));
    let error = operations.prepare(prepare, &context()).await.unwrap_err();
    assert!(error.to_string().contains("no location"), "{error}");
    let prepare = call(json!({"snapshot": snapshot, "backup_info": record}));
    operations.prepare(prepare, &context()).await.unwrap();
    assert_eq!(*bench.datastore.calls.lock().unwrap(), ["clone port 3306"]);
}
