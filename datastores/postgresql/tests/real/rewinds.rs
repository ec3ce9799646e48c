//! Servers that have gone another way than their source.

use crate::managed::{Managed, with_password};
use crate::writer::{COUNT, agree, promote};

/// The old source is alive and goes on writing, as does everybody who follows
/// it: their histories part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_gone_another_way_is_rewound() {
    let old = Managed::source().await;
    let (new, third) = (old.replica().await, old.replica().await);
    old.sql(
        "postgres",
        &["INSERT INTO t SELECT generate_series(1, 1000)"],
    )
    .await;
    new.until(COUNT, "1000").await;
    new.ds().detach_replica(true).await.unwrap();
    new.ds().enable_as_source("").await.unwrap();
    // Only the old source and the third have this, and over several segments.
    old.sql(
        "postgres",
        &[
            "INSERT INTO t SELECT generate_series(5001, 9000)",
            "CREATE TABLE only_here AS SELECT generate_series(1, 100000) AS n",
            "SELECT pg_switch_wal()",
            "INSERT INTO t VALUES (9001)",
            "CHECKPOINT",
            "ALTER SYSTEM SET work_mem = '9MB'",
        ],
    )
    .await;
    third
        .until("SELECT count(*) FROM t WHERE n = 9001", "1")
        .await;
    new.sql(
        "postgres",
        &["INSERT INTO t SELECT generate_series(2001, 2500)"],
    )
    .await;

    let context = new.context().await;
    third.ds().detach_replica(true).await.unwrap();
    third.ds().attach_replica(&context, "", true).await.unwrap();
    third.until(COUNT, "1500").await;

    // A trial that fails changes nothing.
    let wrong = with_password(&context, "wrong");
    let error = old
        .ds()
        .attach_replica(&wrong, "", true)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("password authentication failed"), "{error}");
    assert_eq!(
        old.value("SELECT count(*) FROM only_here").await.unwrap(),
        "100000"
    );

    old.ds().attach_replica(&context, "", false).await.unwrap();
    assert!(!old.recovers().await, "demotion does it");
    old.ds().demote_source().await.unwrap();
    old.ds().demote_source().await.unwrap();
    old.until(COUNT, "1500").await;
    let found = old
        .value("SELECT count(*) FROM pg_class WHERE relname = 'only_here'")
        .await;
    assert_eq!(found.unwrap(), "0");
    old.ds().restart().await.unwrap();
    assert_eq!(old.value("SHOW work_mem").await.unwrap(), "9MB");
    agree(1000, &new, &[&old, &third]).await;
    // And it can be the source again.
    promote(&new, &old, &[&third]).await;
    old.sql("postgres", &["INSERT INTO t VALUES (0)"]).await;
    agree(1000, &old, &[&new, &third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_that_fails_halfway_is_never_started() {
    let old = Managed::source().await;
    let new = old.replica().await;
    new.ds().detach_replica(true).await.unwrap();
    new.ds().enable_as_source("").await.unwrap();
    old.sql(
        "postgres",
        &["CREATE TABLE x AS SELECT generate_series(1, 10000) AS n"],
    )
    .await;
    old.ds()
        .attach_replica(&new.context().await, "", false)
        .await
        .unwrap();
    // As an agent that was killed in the middle leaves it.
    std::fs::write(old.settings().layout.mount_point.join(".rewinding"), "").unwrap();
    let error = old.ds().restart().await.unwrap_err().to_string();
    assert!(error.contains("make a new one"), "{error}");
    std::fs::remove_file(old.settings().layout.mount_point.join(".rewinding")).unwrap();
    // A source that lets nobody read its files: the trial fails, nothing else.
    new.sql(
        "postgres",
        &["REVOKE EXECUTE ON FUNCTION pg_read_binary_file(text) FROM replicator"],
    )
    .await;
    let error = old.ds().demote_source().await.unwrap_err().to_string();
    assert!(error.contains("pg_rewind"), "{error}");
    assert!(!old.recovers().await && !old.has_mark(".rewinding"));
    assert_eq!(old.value("SELECT count(*) FROM x").await.unwrap(), "10000");
    // The next time it is mended.
    old.ds()
        .attach_replica(&new.context().await, "", true)
        .await
        .unwrap();
    assert!(old.recovers().await);
}
