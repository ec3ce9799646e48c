//! A client that writes without a pause, and what its source's switch asks of
//! everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::managed::Managed;

pub(crate) const COUNT: &str = "SELECT count(*) FROM t";

pub(crate) const STREAMING: &str = "SELECT status FROM pg_stat_wal_receiver";

/// Writes numbers one by one, wherever it is told to, and counts those that
/// were promised.
pub(crate) struct Writer {
    port: Arc<AtomicU16>,
    promised: Arc<AtomicI32>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn start(source: &Managed) -> Self {
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

    pub(crate) fn promised(&self) -> i32 {
        self.promised.load(Ordering::SeqCst)
    }

    /// Waits for `count` more.
    pub(crate) async fn more(&self, count: i32) {
        let (wanted, started) = (self.promised() + count, Instant::now());
        while self.promised() < wanted {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "nothing is written"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn move_to(&self, source: &Managed) {
        self.port.store(source.settings().port, Ordering::SeqCst);
    }

    pub(crate) async fn end(self) -> i32 {
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

pub(crate) async fn connect(port: u16) -> Option<tokio_postgres::Client> {
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
pub(crate) async fn promote(old: &Managed, new: &Managed, others: &[&Managed]) -> Duration {
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
pub(crate) async fn agree(promised: i32, source: &Managed, replicas: &[&Managed]) {
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
