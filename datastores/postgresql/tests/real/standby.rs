//! Backups of a replica, and replicas of backups.

use datastore::{
    BackupRequest, Datastore, Endpoint, ErrorKind, PrepareRequest, ReplicaContext, ReplicaRequest,
    ReplicationAccount, Secret,
};
use serde_json::Map;

use crate::chain::{Chain, place};
use crate::harness::{Fixture, Site};

/// What a replica is asked for with.
fn replica_of(source: &Fixture, site: &Site) -> PrepareRequest {
    let context = ReplicaContext {
        source: Endpoint {
            host: "127.0.0.1".into(),
            port: source.settings().port,
        },
        account: ReplicationAccount {
            name: "replicator".into(),
            password: Secret::new("word"),
        },
        position: Map::new(),
        dataset: Map::new(),
        tls: None,
    };
    let config = String::new();
    PrepareRequest {
        replica: Some(ReplicaRequest { context, config }),
        ..site.request()
    }
}

/// A server that follows the source, made of a backup of it.
async fn replica(source: &Fixture, chain: &Chain) -> Fixture {
    let site = Site::new();
    let request = replica_of(source, &site);
    let recovery = site
        .datastore
        .unpack_restore(&request, chain)
        .await
        .unwrap();
    let conninfo = format!(
        "primary_conninfo = 'host=127.0.0.1 port={} user=replicator password=word'\n",
        source.settings().port
    );
    let include_dir = &site.settings().layout.include_dir;
    std::fs::write(include_dir.join("50-system-009-follow.conf"), conninfo).unwrap();
    let (replica, _) = Fixture::start_restored(site, &recovery).await;
    assert_eq!(
        replica.value("SELECT pg_is_in_recovery()").await.unwrap(),
        "t"
    );
    replica
}

/// Waits until a query answers what is expected.
async fn until(fixture: &Fixture, query: &str, expected: &str) {
    while fixture.value(query).await.as_deref() != Some(expected) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_can_be_backed_up() {
    let source = Fixture::start().await;
    source
        .sql(
            "postgres",
            &[
                "CREATE TABLE t AS SELECT 1 AS n",
                "CREATE ROLE replicator LOGIN REPLICATION SUPERUSER PASSWORD 'word'",
            ],
        )
        .await;
    let mut chain = Chain::default();
    chain.back_up(&source.datastore).await;
    source.sql("postgres", &["INSERT INTO t VALUES (2)"]).await;
    chain.back_up(&source.datastore).await;
    let replica = replica(&source, &chain).await;
    source.sql("postgres", &["INSERT INTO t VALUES (3)"]).await;
    until(&replica, "SELECT sum(n) FROM t", "6").await;

    // It has no WAL of its own, and a full backup like any server.
    let request = BackupRequest {
        id: "increment".into(),
        parent: Some(chain.links[0].metadata.clone()),
    };
    let error = replica
        .datastore
        .start_backup(&request)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    let mut own = Chain::default();
    let full = own.back_up(&replica.datastore).await;
    assert!(
        place(&full["stop_segment"]) >= place(&full["start_segment"]),
        "{full:?}"
    );
    let lock = replica.datastore.lock_for_snapshot().await.unwrap();
    lock.release().await.unwrap();

    // A copy of the replica follows nobody.
    let (copy, _) = own.restore().await;
    assert_eq!(copy.value("SELECT sum(n) FROM t").await.unwrap(), "6");
    assert_eq!(copy.value("SELECT pg_is_in_recovery()").await.unwrap(), "f");
    copy.sql("postgres", &["INSERT INTO t VALUES (4)"]).await;
    copy.stop().await;

    // When it becomes a server itself, its history goes on.
    replica
        .sql(
            "postgres",
            &["SELECT pg_promote()", "INSERT INTO t VALUES (10)"],
        )
        .await;
    own.back_up(&replica.datastore).await;
    let (copy, _) = own.restore().await;
    assert_eq!(copy.value("SELECT sum(n) FROM t").await.unwrap(), "16");
    copy.stop().await;
    replica.stop().await;
    source.stop().await;
}
