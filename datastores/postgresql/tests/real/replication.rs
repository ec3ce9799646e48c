//! Sources and replicas, two or three servers beside each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use datastore::ErrorKind;
use tokio::task::JoinHandle;

use crate::chain::Chain;
use crate::managed::{Managed, with_password};

const COUNT: &str = "SELECT count(*) FROM t";
const STREAMING: &str = "SELECT status FROM pg_stat_wal_receiver";

/// Writes numbers one by one, wherever it is told to, and counts those that
/// were promised.
struct Writer {
    port: Arc<AtomicU16>,
    promised: Arc<AtomicI32>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(source: &Managed) -> Self {
        let port = Arc::new(AtomicU16::new(source.settings().port));
        let (promised, stop) = (
            Arc::new(AtomicI32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let task = tokio::spawn(write(port.clone(), promised.clone(), stop.clone()));
        Self {
            port,
            promised,
            stop,
            task,
        }
    }

    fn promised(&self) -> i32 {
        self.promised.load(Ordering::SeqCst)
    }

    /// Waits for `count` more.
    async fn more(&self, count: i32) {
        let (wanted, started) = (self.promised() + count, Instant::now());
        while self.promised() < wanted {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "nothing is written"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn move_to(&self, source: &Managed) {
        self.port.store(source.settings().port, Ordering::SeqCst);
    }

    async fn end(self) -> i32 {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        self.promised.load(Ordering::SeqCst)
    }
}

async fn write(port: Arc<AtomicU16>, promised: Arc<AtomicI32>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        let port_now = port.load(Ordering::SeqCst);
        if let Some(client) = connect(port_now).await {
            while !stop.load(Ordering::SeqCst) && port.load(Ordering::SeqCst) == port_now {
                let next = promised.load(Ordering::SeqCst) + 1;
                let insert = "INSERT INTO t VALUES ($1) ON CONFLICT DO NOTHING";
                let numbers: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&next];
                let attempt = client.execute(insert, &numbers);
                match tokio::time::timeout(Duration::from_secs(5), attempt).await {
                    Ok(Ok(_)) => promised.store(next, Ordering::SeqCst),
                    _ => break,
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn connect(port: u16) -> Option<tokio_postgres::Client> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .ok()?;
    let mut config = tokio_postgres::Config::new();
    config.user("tenant").password("word").dbname("postgres");
    let (client, connection) = config
        .connect_raw(stream, tokio_postgres::NoTls)
        .await
        .ok()?;
    tokio::spawn(connection);
    Some(client)
}

/// What the control plane asks of everybody to make `new` the source; how long
/// until the new one may be written to.
async fn promote(old: &Managed, new: &Managed, others: &[&Managed]) -> Duration {
    let started = Instant::now();
    old.ds().set_read_only(true).await.unwrap();
    let last = old.ds().latest_transaction().await.unwrap();
    let patience = Duration::from_secs(60);
    new.ds()
        .wait_for_transaction(&last, patience)
        .await
        .unwrap();
    new.ds().detach_replica(true).await.unwrap();
    new.ds().enable_as_source("").await.unwrap();
    new.ds().set_read_only(false).await.unwrap();
    let taken = started.elapsed();
    for other in others {
        other.ds().detach_replica(true).await.unwrap();
        other
            .ds()
            .attach_replica(&new.context().await, "", true)
            .await
            .unwrap();
    }
    old.ds()
        .attach_replica(&new.context().await, "", false)
        .await
        .unwrap();
    old.ds().demote_source().await.unwrap();
    taken
}

/// Everything promised is on all servers, which agree.
async fn agree(promised: i32, source: &Managed, replicas: &[&Managed]) {
    let query = format!("SELECT count(*) FROM t WHERE n BETWEEN 1 AND {promised}");
    assert_eq!(source.value(&query).await.unwrap(), promised.to_string());
    let all = source.value(COUNT).await.unwrap();
    for replica in replicas {
        replica.until(COUNT, &all).await;
        assert!(replica.recovers().await);
        assert_eq!(replica.value(STREAMING).await.unwrap(), "streaming");
        assert!(!replica.has_mark(".read-only") && !replica.has_mark(".detached"));
    }
    assert!(!source.recovers().await);
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name <> 'trove_new_replicas'";
    let active = format!("{slots} AND active");
    assert_eq!(
        source.value(slots).await.unwrap(),
        replicas.len().to_string()
    );
    assert_eq!(
        source.value(&active).await.unwrap(),
        replicas.len().to_string()
    );
    for replica in replicas {
        assert_eq!(replica.value(slots).await.unwrap(), "0");
    }
}

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
