//! Sources and replicas, two or three servers beside each other.

use std::time::Duration;

use datastore::ErrorKind;

use crate::managed::Managed;
use crate::writer::{COUNT, STREAMING, Writer, agree, promote};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_and_back_loses_nothing() {
    let first = Managed::source().await;
    let second = first.replica().await;
    let third = first.replica().await;
    let writer = Writer::start(&first);
    writer.more(100).await;
    let taken = promote(&first, &second, &[&third]).await;
    println!("writable after {} ms", taken.as_millis());
    writer.move_to(&second);
    writer.more(100).await;
    // Nobody was rewound, because nobody had gone another way.
    for server in [&first, &third] {
        assert!(!server.log().contains("entering single-user"));
        assert_eq!(
            server
                .value("SELECT received_tli FROM pg_stat_wal_receiver")
                .await
                .unwrap(),
            "2"
        );
    }
    let taken = promote(&second, &first, &[&third]).await;
    println!("writable after {} ms", taken.as_millis());
    writer.move_to(&first);
    writer.more(100).await;
    let promised = writer.end().await;
    agree(promised, &first, &[&second, &third]).await;
    // A restart changes nothing about who is what.
    for replica in [&second, &third] {
        replica.ds().restart().await.unwrap();
        replica.until(STREAMING, "streaming").await;
    }
    first.sql("postgres", &["INSERT INTO t VALUES (-1)"]).await;
    for replica in [&second, &third] {
        replica
            .until("SELECT count(*) FROM t WHERE n = -1", "1")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_means_everybody() {
    let source = Managed::source().await;
    let root = source.ds().enable_root(None).await.unwrap();
    let password = root.password.unwrap();
    source.ds().set_read_only(true).await.unwrap();
    source.ds().set_read_only(true).await.unwrap();
    let write = "INSERT INTO t VALUES (1)";
    for restart in [false, true] {
        if restart {
            source.ds().restart().await.unwrap();
        }
        for (user, password) in [("tenant", "word"), ("root", password.expose())] {
            let client = source.login(user, password, "postgres").await.unwrap();
            let insisting = format!("SET default_transaction_read_only = off; {write}");
            let error = client.batch_execute(&insisting).await.unwrap_err();
            assert!(error.as_db_error().unwrap().message().contains("read-only"));
        }
    }
    let error = source
        .ds()
        .wait_for_transaction("0/zz", Duration::ZERO)
        .await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::BadRequest);
    source.ds().set_read_only(false).await.unwrap();
    source.sql("postgres", &[write]).await;
    assert_eq!(
        source
            .value("SELECT timeline_id FROM pg_control_checkpoint()")
            .await
            .unwrap(),
        "1"
    );
    // It has no one to follow.
    assert_eq!(
        source.ds().demote_source().await.unwrap_err().kind(),
        ErrorKind::BadRequest
    );
    source.ds().detach_replica(false).await.unwrap();
    source.sql("postgres", &["INSERT INTO t VALUES (2)"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_source_is_replaced_by_the_most_current() {
    let old = Managed::source().await;
    let (second, third) = (old.replica().await, old.replica().await);
    let writer = Writer::start(&old);
    writer.more(100).await;
    let seen = writer.promised();
    for replica in [&second, &third] {
        replica
            .until(&format!("SELECT count(*) > {seen} FROM t"), "t")
            .await;
    }
    old.kill();
    let promised = writer.end().await;
    let mut found = Vec::new();
    for replica in [&second, &third] {
        let last = replica.ds().last_transaction().await.unwrap();
        found.push((last.source.unwrap(), last.number));
    }
    assert_eq!(found[0].0, found[1].0);
    let (new, other) = match found[0].1 >= found[1].1 {
        true => (&second, &third),
        false => (&third, &second),
    };
    new.ds().detach_replica(true).await.unwrap();
    assert!(new.recovers().await, "nobody knows yet that it is the one");
    new.ds().enable_as_source("").await.unwrap();
    new.ds().set_read_only(false).await.unwrap();
    other.ds().detach_replica(true).await.unwrap();
    other
        .ds()
        .attach_replica(&new.context().await, "", false)
        .await
        .unwrap();
    let kept: i32 = new.value(COUNT).await.unwrap().parse().unwrap();
    assert!(
        kept >= seen,
        "{kept} of {seen} seen and {promised} promised"
    );
    new.sql("postgres", &["INSERT INTO t VALUES (-1)"]).await;
    other.until(COUNT, &(kept + 1).to_string()).await;
    agree(seen, new, &[other]).await;
}

/// What nobody has decided for ten minutes is decided: for the control plane
/// it is a server of its own already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_never_comes_is_not_waited_for() {
    let source = Managed::source().await;
    let replica = source.replica().await;
    replica.ds().detach_replica(true).await.unwrap();
    replica.ds().restart().await.unwrap();
    replica.ds().housekeeping().await.unwrap();
    assert!(replica.recovers().await);
    let mark = replica.settings().layout.mount_point.join(".detached");
    let file = std::fs::File::options().write(true).open(&mark).unwrap();
    let past = std::time::SystemTime::now() - Duration::from_secs(700);
    file.set_modified(past).unwrap();
    replica.ds().housekeeping().await.unwrap();
    assert!(!replica.recovers().await);
    replica.sql("postgres", &["INSERT INTO t VALUES (1)"]).await;
    // A failed source that has been made read only is opened by the same word.
    source.ds().set_read_only(true).await.unwrap();
    source.ds().set_read_only(false).await.unwrap();
    assert!(!source.recovers().await && !source.has_mark(".read-only"));
}
