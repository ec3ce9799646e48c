//! Snapshots of the volume.

use datastore::Datastore;
use guest::Command;

use crate::harness::{Fixture, Site};

/// A copy of a volume, as a snapshot of it would be.
async fn snapshot(source: &Fixture) -> Site {
    let site = Site::new();
    let target = &site.settings().layout.mount_point;
    Command::new("cp")
        .arg("--archive")
        .arg(source.settings().layout.mount_point.join("."))
        .arg(target)
        .run()
        .await
        .unwrap();
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_becomes_a_server() {
    let source = Fixture::start().await;
    source
        .sql("postgres", &["CREATE TABLE t AS SELECT 1 AS n"])
        .await;
    let lock = source.datastore.lock_for_snapshot().await.unwrap();
    assert!(lock.position().is_empty());
    assert!(
        !source
            .settings()
            .layout
            .data_dir()
            .join("backup_label")
            .exists()
    );
    let copy = snapshot(&source).await;
    lock.release().await.unwrap();
    // Another one can be held, and is over when it is dropped.
    drop(source.datastore.lock_for_snapshot().await.unwrap());
    let request = copy.request();
    let recovery = copy.datastore.take_over_snapshot(&request).await.unwrap();
    let text = copy.datastore.start().await.unwrap_err().to_string();
    assert!(text.contains("incomplete"), "{text}");
    let (copy, found) = Fixture::start_restored(copy, &recovery).await;
    assert!(!found.root_enabled);
    assert_eq!(copy.value("SELECT n FROM t").await.as_deref(), Some("1"));
    copy.stop().await;
    // An empty volume is none of a snapshot.
    let site = Site::new();
    let error = site.datastore.take_over_snapshot(&site.request()).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("there is no data"), "{text}");
    source.stop().await;
}
