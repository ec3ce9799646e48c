//! Two servers that follow each other in turn. Their unit does not exist: what
//! needs a restart fails here, so nothing of a promotion does.

use std::time::{Duration, Instant};

use datastore::{Endpoint, ErrorKind, ReplicaContext, Secret, User};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::{Map, Value};

use crate::chain::Chain;
use crate::ds;
use crate::harness::{Fixture, Product, Site};

const SOON: Duration = Duration::from_secs(30);
const TENANT: &str = "tenant";
const WORD: &str = "tenants_Word1";

fn site(product: Product, server_id: u32) -> Site {
    let mut site = Site::new(product);
    site.server_id = server_id;
    site.extra = match product {
        Product::Mysql => "skip-name-resolve\ngtid_mode = ON\nenforce_gtid_consistency = ON\n",
        Product::Mariadb => "skip-name-resolve\nlog_slave_updates = ON\n",
    };
    site
}

/// What the control plane has the source tell its replicas.
async fn context(source: &Fixture, copied: bool) -> ReplicaContext {
    let mut dataset = Map::new();
    if copied {
        dataset.insert("snapshot_id".into(), Value::from("x"));
    }
    ReplicaContext {
        source: Endpoint {
            host: "127.0.0.1".into(),
            port: ds(source).port().await.unwrap(),
        },
        account: ds(source).replication_account().await.unwrap(),
        position: ds(source).source_position().await.unwrap(),
        dataset,
        tls: None,
    }
}

async fn value(fixture: &Fixture, query: &str) -> String {
    let mut admin = fixture.admin().await;
    let value: Option<String> = admin.query_first(query).await.unwrap();
    admin.disconnect().await.unwrap();
    value.unwrap_or_default()
}

async fn until(fixture: &Fixture, query: &str, wanted: &str) {
    let started = Instant::now();
    loop {
        let mut admin = fixture.admin().await;
        let found: mysql_async::Result<Option<String>> = admin.query_first(query).await;
        admin.disconnect().await.unwrap();
        if found
            .as_ref()
            .is_ok_and(|found| found.as_deref() == Some(wanted))
        {
            return;
        }
        assert!(started.elapsed() < SOON, "{query}: {found:?}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn tenant(fixture: &Fixture) -> Conn {
    fixture.login_tcp(TENANT, WORD).await.unwrap()
}

/// The number of the error that a statement ends with.
async fn refused(connection: &mut Conn, statement: &str) -> u16 {
    match connection.query_drop(statement).await {
        Err(mysql_async::Error::Server(error)) => error.code,
        other => panic!("{statement}: {other:?}"),
    }
}

const READ_ONLY: u16 = 1290;
const COUNT: &str = "SELECT CAST(COUNT(*) AS CHAR) FROM shop.t";

async fn source(product: Product) -> Fixture {
    let source = Fixture::start_site(site(product, 1)).await;
    source
        .sql(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (n INT AUTO_INCREMENT PRIMARY KEY)",
            "INSERT INTO shop.t VALUES ()",
            &format!("CREATE USER {TENANT}@'%' IDENTIFIED BY '{WORD}'"),
            &format!("GRANT ALL ON *.* TO {TENANT}@'%' WITH GRANT OPTION"),
            // What upstream's agents leave behind.
            "CREATE USER slave_01234567@'%' IDENTIFIED BY 'Xx_1xxxxxxx'",
        ])
        .await;
    // No restart: it has a binary log already.
    ds(&source).enable_as_source("").await.unwrap();
    source
}

/// A replica on a copy of the data.
async fn replica(source: &Fixture, product: Product) -> Fixture {
    let mut chain = Chain::default();
    chain.back_up(ds(source)).await;
    // In the binary log and not in the copy.
    source.sql(&["INSERT INTO shop.t VALUES ()"]).await;
    let (replica, _) = chain.restore_into(site(product, 2)).await;
    let context = context(source, true).await;
    ds(&replica)
        .attach_replica(&context, "", false)
        .await
        .unwrap();
    until(&replica, COUNT, "2").await;
    replica
}

async fn nobody_writes_to(replica: &Fixture) {
    let mut tenant = tenant(replica).await;
    assert_eq!(
        refused(&mut tenant, "INSERT INTO shop.t VALUES ()").await,
        READ_ONLY
    );
    tenant.disconnect().await.unwrap();
    let user = User {
        name: "of_a_replica".into(),
        host: None,
        password: Some(Secret::new("Secret_123")),
        databases: Vec::new(),
        is_root: false,
    };
    let error = ds(replica).create_users(&[user]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest, "{error}");
    assert!(error.to_string().contains("read only"), "{error}");
    let error = ds(replica).set_read_only(false).await.unwrap_err();
    assert!(error.to_string().contains("detach"), "{error}");
    assert!(ds(replica).enable_as_source("").await.is_err());
}

/// What the control plane does, step by step.
async fn promote(old: &Fixture, new: &Fixture) {
    ds(old).set_read_only(true).await.unwrap();
    let latest = ds(old).latest_transaction().await.unwrap();
    assert!(!latest.is_empty());
    ds(new).wait_for_transaction(&latest, SOON).await.unwrap();
    let user = ds(new).detach_replica(true).await.unwrap();
    let account = ds(old).replication_account().await.unwrap();
    assert_eq!(user, Some(account.name.clone()));
    // Not before it is told to be the source.
    assert_eq!(
        refused(&mut tenant(new).await, "INSERT INTO shop.t VALUES ()").await,
        READ_ONLY
    );
    // Asked again, nothing happens.
    assert_eq!(ds(new).detach_replica(true).await.unwrap(), None);
    ds(new).enable_as_source("").await.unwrap();
    ds(new).set_read_only(false).await.unwrap();
    tenant(new)
        .await
        .query_drop("INSERT INTO shop.t VALUES ()")
        .await
        .unwrap();
    let context = context(new, false).await;
    assert_eq!(context.account, account, "one account for all");
    ds(old).attach_replica(&context, "", false).await.unwrap();
    ds(old).demote_source().await.unwrap();
}

async fn story(product: Product) {
    let first = source(product).await;
    let second = replica(&first, product).await;
    nobody_writes_to(&second).await;
    let kept = second
        .settings()
        .layout
        .credentials_dir()
        .join("replication");
    assert!(kept.join("read-only.cnf").exists() && kept.join("slave-replication.cnf").exists());

    // A copy of it is a copy of the source.
    let mut chain = Chain::default();
    chain.back_up(ds(&second)).await;

    // Waiting ends, whatever happens.
    let never = match product {
        Product::Mysql => "3e11fa47-71ca-11e1-9e33-c80aa9429562:1",
        Product::Mariadb => "0-1-99999",
    };
    let started = Instant::now();
    let patience = Duration::from_secs(2);
    let error = ds(&second)
        .wait_for_transaction(never, patience)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));
    assert!(
        ds(&second)
            .wait_for_transaction("nonsense", patience)
            .await
            .is_err()
    );
    assert!(
        ds(&first)
            .wait_for_transaction(never, patience)
            .await
            .is_err()
    );

    // A tenant that holds locks does not hold a promotion up.
    let mut holder = tenant(&first).await;
    holder.query_drop("LOCK TABLES shop.t WRITE").await.unwrap();
    promote(&first, &second).await;
    assert!(
        holder
            .query_drop("INSERT INTO shop.t VALUES ()")
            .await
            .is_err()
    );
    drop(holder);
    until(&first, COUNT, "3").await;
    nobody_writes_to(&first).await;
    // Accounts of earlier sources are gone, everywhere.
    let accounts = "SELECT CAST(COUNT(*) AS CHAR) FROM mysql.user WHERE User LIKE 'slave%'";
    until(&second, accounts, "1").await;
    until(&first, accounts, "1").await;

    promote(&second, &first).await;
    until(&second, COUNT, "4").await;
    Chain::default().back_up(ds(&second)).await;
    frozen_and_going_on(&first, &second).await;
    errant(&first, &second, product).await;
    second.stop().await;
    first.stop().await;
}

/// Who is asked for the last transaction gets no more of them.
async fn frozen_and_going_on(source: &Fixture, replica: &Fixture) {
    let before = ds(replica).last_transaction().await.unwrap();
    assert!(before.source.is_some() && before.number > 0, "{before:?}");
    source.sql(&["INSERT INTO shop.t VALUES ()"]).await;
    assert_eq!(ds(replica).last_transaction().await.unwrap(), before);
    assert_eq!(value(replica, COUNT).await, "4");
    // Nothing is done about it while the failover may still be going on.
    ds(replica).housekeeping().await.unwrap();
    assert_eq!(ds(replica).last_transaction().await.unwrap(), before);
    let mark = replica.settings().layout.mount_point.join(".failover");
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let file = std::fs::File::open(&mark).unwrap();
    file.set_modified(old).unwrap();
    ds(replica).housekeeping().await.unwrap();
    until(replica, COUNT, "5").await;
    assert!(!mark.exists());
    let after = ds(replica).last_transaction().await.unwrap();
    assert_eq!(after.source, before.source);
    assert!(after.number > before.number);
}

/// Who has something of its own is not let in.
async fn errant(source: &Fixture, replica: &Fixture, product: Product) {
    let open = match product {
        Product::Mysql => "SET GLOBAL super_read_only = 0",
        Product::Mariadb => "DO 0",
    };
    replica.sql(&[open, "CREATE TABLE shop.own (n INT)"]).await;
    ds(replica).detach_replica(true).await.unwrap();
    let context = context(source, false).await;
    let error = ds(replica)
        .attach_replica(&context, "", true)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest, "{error}");
    let text = error.to_string();
    assert!(text.contains("make a new one"), "{text}");
    assert!(!text.contains(context.account.password.expose()), "{text}");

    // A source that is not there, or not one.
    let mut wrong = context.clone();
    wrong.source.port = 1;
    let error = ds(replica)
        .attach_replica(&wrong, "", true)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_servers_follow_each_other() {
    story(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_servers_follow_each_other() {
    story(Product::Mariadb).await;
}
