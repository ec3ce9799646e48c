//! Backups of a busy server, and what comes back of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datastore::{BackupRequest, Datastore, ErrorKind};
use tokio::io::AsyncReadExt;

use crate::chain::{Chain, names_in, place};
use crate::harness::{Fixture, Site, value};

/// One writer's commits: the number and where the server's log stood when the
/// commit was answered.
type Notes = Vec<(u64, u64)>;

/// Commits row by row into two tables, until it is told to stop.
async fn write(fixture: Arc<Fixture>, stop: Arc<AtomicBool>) -> Notes {
    let admin = fixture.admin("postgres").await;
    let mut notes = Notes::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let statements = format!(
            "BEGIN; INSERT INTO a VALUES ({number}, repeat('x', 500)); \
             INSERT INTO b SELECT max(n) FROM a; COMMIT"
        );
        admin.batch_execute(&statements).await.unwrap();
        let at = value(&admin, "SELECT pg_current_wal_insert_lsn()")
            .await
            .unwrap()
            .unwrap();
        notes.push((number, place(&at)));
    }
    notes
}

/// Everything that was committed before the end of the backup is there, and
/// what is there is one moment.
async fn check(restored: &Fixture, notes: &Notes, end: &str) -> u64 {
    let before = notes
        .iter()
        .filter(|note| note.1 <= place(end))
        .map(|note| note.0)
        .max();
    let query = "SELECT count(*) || ' ' || coalesce(max(n), 0) || ' ' || (SELECT count(*) FROM b) \
                 || ' ' || (SELECT coalesce(max(n), 0) FROM b) FROM a";
    let found = restored.value(query).await.unwrap();
    let found: Vec<u64> = found.split(' ').map(|n| n.parse().unwrap()).collect();
    assert!(found.iter().all(|count| *count == found[0]), "{found:?}");
    assert!(found[0] >= before.unwrap(), "{found:?} {before:?}");
    found[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_made_under_load_have_every_commit() {
    let source = Arc::new(Fixture::start().await);
    source
        .sql(
            "postgres",
            &[
                "CREATE TABLE a (n int PRIMARY KEY, v text)",
                "CREATE TABLE b (n int)",
                "CREATE ROLE tenant LOGIN PASSWORD 'tenants_word'",
                "CREATE ROLE replicator LOGIN REPLICATION SUPERUSER PASSWORD 'old_word'",
                "ALTER SYSTEM SET work_mem = '7MB'",
                "ALTER SYSTEM SET primary_conninfo = 'host=192.0.2.1 password=secret'",
            ],
        )
        .await;
    source.datastore.enable_root(None).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(Arc::clone(&source), Arc::clone(&stop)));
    let mut chain = Chain::default();
    let full = chain.back_up(&source.datastore).await;
    let keys: Vec<_> = full.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "checkpoint_location",
            "label",
            "start_segment",
            "start_wal_file",
            "stop_segment",
            "stop_wal_file"
        ]
    );
    let first = chain.back_up(&source.datastore).await;
    source
        .sql("postgres", &["CREATE TABLE later AS SELECT 7 AS n"])
        .await;
    let second = chain.back_up(&source.datastore).await;
    // Of the full backup again, not of the newest.
    let mut aside = chain.first(1);
    let third = aside.back_up(&source.datastore).await;
    stop.store(true, Ordering::Relaxed);
    let notes = writer.await.unwrap();
    assert!(first.keys().eq(full.keys()), "{first:?}");
    // No slot is left behind, and no backup goes on.
    let slots = source
        .value("SELECT count(*) FROM pg_replication_slots")
        .await;
    assert_eq!(slots.as_deref(), Some("0"));
    source
        .sql(
            "postgres",
            &["INSERT INTO a VALUES (1000000, 'after the last backup')"],
        )
        .await;

    let mut last = 0;
    for (chain, end) in [
        (chain.first(1), &full),
        (chain.first(2), &first),
        (chain, &second),
        (aside, &third),
    ] {
        let (restored, found) = chain.restore().await;
        assert!(found.root_enabled);
        let count = check(&restored, &notes, &end["stop_segment"]).await;
        assert!(count >= last && count < 1_000_000, "{count} {last}");
        last = count;
        check_restored(&restored).await;
        let site = restored.stop().await;
        // Data is never restored over.
        let error = site.datastore.unpack_restore(&site.request(), &chain).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("never restored over data"), "{text}");
    }
    let source = Arc::into_inner(source).unwrap();
    source.stop().await;
}

/// A server of its own, with nothing of the other's.
async fn check_restored(restored: &Fixture) {
    for (query, expected) in [
        ("SELECT pg_is_in_recovery()", "f"),
        ("SHOW work_mem", "7MB"),
        ("SHOW primary_conninfo", ""),
        ("SELECT timeline_id > 1 FROM pg_control_checkpoint()", "t"),
        (
            "SELECT count(*) FROM pg_roles WHERE rolname = 'replicator'",
            "0",
        ),
    ] {
        assert_eq!(restored.value(query).await.unwrap(), expected, "{query}");
    }
    restored
        .login("tenant", "tenants_word", "postgres")
        .await
        .unwrap();
    let layout = &restored.settings().layout;
    let data = layout.data_dir();
    for name in [
        "recovery.signal",
        "standby.signal",
        "backup_manifest",
        "backup_label",
    ] {
        assert!(!data.join(name).exists(), "{name}");
    }
    let names = names_in(&layout.mount_point);
    assert_eq!(names, ["data"], "{names:?}");
    let recovery = names_in(&layout.include_dir);
    assert!(
        recovery.iter().all(|name| !name.contains("recovery")),
        "{recovery:?}"
    );
    // WAL of the other server's timeline is of no use here.
    let archive = names_in(&layout.wal_archive());
    let whole = |name: &&String| name.len() == 24 && name.starts_with("00000001");
    assert_eq!(archive.iter().find(whole), None, "{archive:?}");
    check_modes(&data, restored.settings().account.uid);
}

/// Nothing is open to others.
fn check_modes(dir: &std::path::Path, uid: u32) {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        // The server makes and removes files meanwhile.
        let Ok(found) = entry.metadata() else {
            continue;
        };
        assert_eq!(found.uid(), uid, "{:?}", entry.path());
        assert_eq!(found.mode() & 0o077, 0, "{:?}", entry.path());
        if found.is_dir() {
            check_modes(&entry.path(), uid);
        }
    }
}

/// A copy has a history of its own, and can be backed up like any server; a
/// replica's data comes with its role.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_can_be_backed_up() {
    let source = Fixture::start().await;
    source
        .sql("postgres", &["CREATE TABLE t AS SELECT 1 AS n"])
        .await;
    let mut chain = Chain::default();
    chain.back_up(&source.datastore).await;
    chain.back_up(&source.datastore).await;
    let (copy, found) = chain.restore().await;
    assert!(!found.root_enabled);
    // A backup of the other server is not in the copy's archive.
    let request = BackupRequest {
        id: "stranger".into(),
        parent: Some(chain.links[0].metadata.clone()),
    };
    let error = copy.datastore.start_backup(&request).await.err().unwrap();
    assert!(error.to_string().contains("make a full backup"), "{error}");
    copy.sql("postgres", &["INSERT INTO t VALUES (2)"]).await;
    let mut own = Chain::default();
    own.back_up(&copy.datastore).await;
    copy.sql("postgres", &["INSERT INTO t VALUES (3)"]).await;
    let last = own.back_up(&copy.datastore).await;
    assert!(last["stop_wal_file"].starts_with("00000002"), "{last:?}");
    let (second, _) = own.restore().await;
    let sum = second.value("SELECT sum(n) FROM t").await;
    assert_eq!(sum.as_deref(), Some("6"));
    second.stop().await;
    copy.stop().await;
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_backed_up_is_told_before() {
    let source = Fixture::start().await;
    let place = source.path("elsewhere");
    std::fs::create_dir(&place).unwrap();
    let account = &source.settings().account;
    std::os::unix::fs::chown(&place, Some(account.uid), Some(account.gid)).unwrap();
    let create = format!("CREATE TABLESPACE far LOCATION '{}'", place.display());
    source.sql("postgres", &[&create]).await;
    let refused = async |id: &str| {
        let request = BackupRequest {
            id: id.into(),
            parent: None,
        };
        source.datastore.start_backup(&request).await.err().unwrap()
    };
    let error = refused("b-1").await;
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(error.to_string().contains("far"), "{error}");
    assert_eq!(refused("../b").await.kind(), ErrorKind::BadRequest);
    source.sql("postgres", &["DROP TABLESPACE far"]).await;

    // Given up in the middle, nothing stays.
    let request = Chain::default().request();
    let mut backup = source.datastore.start_backup(&request).await.unwrap();
    let mut some = vec![0; 100_000];
    backup.reader().read_exact(&mut some).await.unwrap();
    backup.abort().await;
    let left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'";
    while source.value(left).await.as_deref() != Some("0") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut chain = Chain::default();
    chain.back_up(&source.datastore).await;
    source.stop().await;
}

/// What a restore is interrupted at, and a new one that begins again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_restore_is_begun_again() {
    let source = Fixture::start().await;
    source
        .sql("postgres", &["CREATE TABLE t AS SELECT 1 AS n"])
        .await;
    let mut chain = Chain::default();
    chain.back_up(&source.datastore).await;
    chain.back_up(&source.datastore).await;
    let site = Site::new();
    let mut broken = chain.clone();
    broken.breaks = true;
    let text = broken.refused(&site).await;
    assert!(
        text.contains("link-1") && text.contains("checksum differs"),
        "{text}"
    );
    let text = site.datastore.start().await.unwrap_err().to_string();
    assert!(text.contains("incomplete"), "{text}");
    let (restored, _) = chain.restore_into(site).await;
    assert_eq!(
        restored.value("SELECT n FROM t").await.as_deref(),
        Some("1")
    );
    restored.stop().await;
    source.stop().await;
}

/// By hand only the data comes; whatever start is next recovers it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpacked_data_can_be_started() {
    let source = Fixture::start().await;
    source
        .sql("postgres", &["CREATE TABLE t AS SELECT 1 AS n"])
        .await;
    let mut chain = Chain::default();
    chain.back_up(&source.datastore).await;
    source.sql("postgres", &["INSERT INTO t VALUES (2)"]).await;
    chain.back_up(&source.datastore).await;
    source.stop().await;
    let site = Site::new();
    let text = site.datastore.unpack(&chain).await.unwrap_err().to_string();
    assert!(text.contains("write it first"), "{text}");
    let layout = &site.settings().layout;
    std::fs::create_dir_all(layout.base_config.parent().unwrap()).unwrap();
    std::fs::write(&layout.base_config, site.template()).unwrap();
    site.datastore.unpack(&chain).await.unwrap();
    assert_eq!(names_in(&layout.mount_point), ["data"]);
    let mut process = site.spawn();
    site.wait_healthy(&mut process).await;
    let recovering = "SELECT pg_is_in_recovery()";
    while site.value(recovering).await.as_deref() != Some("f") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let sum = site.value("SELECT sum(n) FROM t").await;
    assert_eq!(sum.as_deref(), Some("3"));
    process.stop().await;
}
