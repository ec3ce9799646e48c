//! What replicas need of their source.

use std::time::Duration;

use datastore::{ErrorKind, ReplicaContext, TlsMode};

use crate::chain::Chain;
use crate::managed::{Managed, with_password};
use crate::tls::material;
use crate::writer::{COUNT, connect};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_away_gets_everything() {
    let source =
        Managed::source_with("wal_keep_size = 0\nmin_wal_size = 32MB\nmax_wal_size = 48MB\n").await;
    source.ds().enable_as_source("").await.unwrap();
    let mut chain = Chain::default();
    chain.back_up(source.ds()).await;
    let much = "CREATE TABLE x AS SELECT n, repeat('x', 500) FROM generate_series(1, 100000) n";
    let grow: [&str; 4] = [much, "DROP TABLE x", "CHECKPOINT", "SELECT pg_switch_wal()"];
    // It takes its time to be made, and the source goes on.
    source.sql("postgres", &grow).await;
    source.sql("postgres", &["CHECKPOINT"]).await;
    let replica = source.replica_of(&chain).await;
    source.sql("postgres", &["INSERT INTO t VALUES (1)"]).await;
    replica.until(COUNT, "1").await;
    replica.ds().stop(Duration::from_secs(60)).await.unwrap();
    source.sql("postgres", &grow).await;
    source
        .sql("postgres", &["CHECKPOINT", "INSERT INTO t VALUES (2)"])
        .await;
    replica.ds().start().await.unwrap();
    replica.until(COUNT, "2").await;
    let bound = source.value("SHOW max_slot_wal_keep_size").await.unwrap();
    assert_ne!(bound, "-1");

    // One that is away for longer than the volume allows is given up.
    replica.ds().stop(Duration::from_secs(60)).await.unwrap();
    source
        .sql(
            "postgres",
            &[
                "ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'",
                "SELECT pg_reload_conf()",
            ],
        )
        .await;
    source.sql("postgres", &grow).await;
    source.sql("postgres", &grow).await;
    source.until("SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost' AND slot_name <> 'trove_new_replicas'", "1").await;
    source.ds().housekeeping().await.unwrap();
    assert_eq!(
        source
            .value("SELECT count(*) FROM pg_replication_slots")
            .await
            .unwrap(),
        "0"
    );
    replica.ds().start().await.unwrap();
    // It asks for its slot again; what it has missed is gone, and it says so.
    replica.ds().housekeeping().await.unwrap();
    assert_eq!(
        source
            .value("SELECT count(*) FROM pg_replication_slots")
            .await
            .unwrap(),
        "1"
    );
    assert_eq!(replica.value(COUNT).await.unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_not_there_is_named() {
    let source = Managed::source().await;
    source.ds().enable_as_source("").await.unwrap();
    let mut chain = Chain::default();
    chain.back_up(source.ds()).await;
    let context = source.context().await;
    let account = source.ds().replication_account().await.unwrap();
    assert_eq!(account, context.account, "it stays");
    let secret = account.password.expose();

    let replica = Managed::nothing();
    let mut wrong = with_password(&context, "wrong'word\\");
    let request = replica.replica_request(wrong.clone());
    let error = replica
        .ds()
        .restore(&request, &chain)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("password authentication failed"), "{error}");
    wrong = context.clone();
    wrong.source.port = 1;
    let request = replica.replica_request(wrong.clone());
    let error = replica
        .ds()
        .restore(&request, &chain)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("127.0.0.1:1") && error.contains("refused"),
        "{error}"
    );
    assert!(!error.contains(secret));

    // Somebody else's source.
    let stranger = Managed::source().await;
    stranger.ds().enable_as_source("").await.unwrap();
    let error = stranger
        .ds()
        .attach_replica(&context, "", true)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest, "{error}");
    assert!(!stranger.recovers().await);

    let request = replica.replica_request(context.clone());
    replica.ds().restore(&request, &chain).await.unwrap();
    // A replica cannot be a source, and nobody may write to it.
    let error = replica.ds().enable_as_source("").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest);
    assert!(replica.ds().set_read_only(false).await.is_err());
    replica.ds().set_read_only(true).await.unwrap();
    let text = std::fs::read_to_string(replica.settings().layout.volume_dir().join("replica.conf"))
        .unwrap();
    assert!(!text.contains(secret));

    // Detached, it is a server of its own that the source forgets.
    source.sql("postgres", &["INSERT INTO t VALUES (1)"]).await;
    replica.until(COUNT, "1").await;
    replica.ds().detach_replica(false).await.unwrap();
    replica.ds().detach_replica(false).await.unwrap();
    replica.sql("postgres", &["INSERT INTO t VALUES (2)"]).await;
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name <> 'trove_new_replicas'";
    assert_eq!(source.value(slots).await.unwrap(), "0");
    replica.ds().restart().await.unwrap();
    assert!(!replica.recovers().await);
    assert!(
        !replica
            .settings()
            .layout
            .data_dir()
            .join("standby.signal")
            .exists()
    );
    assert_eq!(replica.value("SHOW primary_conninfo").await.unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_account_of_replicas_can_read_wal_and_little_else() {
    let source = Managed::source().await;
    let account = source.ds().replication_account().await.unwrap();
    source.ds().enable_as_source("").await.unwrap();
    let word = account.password.expose();
    let client = source.login(&account.name, word, "postgres").await.unwrap();
    for statement in [
        "SELECT * FROM t",
        "CREATE ROLE x",
        "SELECT * FROM pg_authid",
    ] {
        assert!(
            client.batch_execute(statement).await.is_err(),
            "{statement}"
        );
    }
    client
        .batch_execute("SELECT pg_read_binary_file('PG_VERSION')")
        .await
        .unwrap();
    assert!(
        source
            .login(&account.name, word, "template1")
            .await
            .is_err()
    );
    assert!(source.login(&account.name, "", "postgres").await.is_err());
    let file = source.settings().layout.data_dir().join(".replpass");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), word);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // Upstream's account becomes ours, with its password.
    source
        .sql(
            "postgres",
            &["ALTER ROLE replicator SUPERUSER PASSWORD 'old'"],
        )
        .await;
    std::fs::write(&file, "as upstream has it").unwrap();
    source.sql("postgres", &["SET password_encryption = 'md5'; ALTER ROLE replicator PASSWORD 'as upstream has it'"]).await;
    let taken = source.ds().replication_account().await.unwrap();
    assert_eq!(taken.password.expose(), "as upstream has it");
    let query = "SELECT rolsuper FROM pg_roles WHERE rolname = 'replicator'";
    assert_eq!(source.value(query).await.unwrap(), "f");
    source
        .login("replicator", "as upstream has it", "postgres")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_as_large_as_its_source() {
    let large = "max_connections = 150\nmax_prepared_transactions = 7\nwal_keep_size = 80\n";
    let source = Managed::source_with(large).await;
    source.ds().enable_as_source("").await.unwrap();
    let mut chain = Chain::default();
    chain.back_up(source.ds()).await;
    let replica = Managed::nothing();
    let request = replica.replica_request(source.context().await);
    replica.ds().restore(&request, &chain).await.unwrap();
    assert_eq!(replica.value("SHOW max_connections").await.unwrap(), "150");
    replica.ds().restart().await.unwrap();
    // By itself it is what its own configuration says.
    replica.ds().detach_replica(false).await.unwrap();
    replica.ds().restart().await.unwrap();
    assert_eq!(replica.value("SHOW max_connections").await.unwrap(), "100");
}

/// A source that demands TLS has replicas that use it, and that demand it, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_have_the_tls_of_their_source() {
    let source = Managed::source().await;
    source.ds().enable_as_source("").await.unwrap();
    for mode in [TlsMode::Enforced, TlsMode::Mtls] {
        let material = material();
        source
            .ds()
            .set_tls(Some(mode), Some(&material))
            .await
            .unwrap();
        let mut chain = Chain::default();
        chain.back_up(source.ds()).await;
        let context = ReplicaContext {
            tls: Some((mode, material)),
            ..source.context().await
        };
        let replica = Managed::nothing();
        let request = replica.replica_request(context);
        replica.ds().restore(&request, &chain).await.unwrap();
        let encrypted =
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)";
        assert_eq!(source.value(encrypted).await.unwrap(), "t");
        assert!(replica.ds().tls_enabled().await.unwrap());
        assert!(connect(replica.settings().port).await.is_none(), "{mode:?}");

        // A switch, and a rewind, say nothing about TLS.
        replica.ds().detach_replica(true).await.unwrap();
        replica.ds().enable_as_source("").await.unwrap();
        source
            .sql(
                "postgres",
                &[
                    "CREATE TABLE x AS SELECT generate_series(1, 1000) AS n",
                    "DROP TABLE x",
                ],
            )
            .await;
        let context = replica.context().await;
        source
            .ds()
            .attach_replica(&context, "", false)
            .await
            .unwrap();
        source.ds().demote_source().await.unwrap();
        assert_eq!(replica.value(encrypted).await.unwrap(), "t");
        assert!(source.ds().tls_enabled().await.unwrap());
        // And back, for the next mode.
        source.ds().detach_replica(false).await.unwrap();
        source.ds().enable_as_source("").await.unwrap();
    }
}
