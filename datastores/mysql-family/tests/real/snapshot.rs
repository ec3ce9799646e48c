//! Locks for snapshots, and volumes made from them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mysql_async::prelude::Queryable;

use crate::chain::checksums;
use crate::harness::{Fixture, Product, Site};

/// The volume as a snapshot has it: of a server that holds still.
fn snapshot(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .status();
    assert!(copied.unwrap().success());
}

async fn locked_and_taken_over(product: Product) {
    let source = Fixture::start(product).await;
    source
        .sql(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.a (id INT AUTO_INCREMENT PRIMARY KEY)",
            "INSERT INTO shop.a VALUES (1), (2), (3)",
            "CREATE USER root@'%' IDENTIFIED BY 'tenants_root'",
        ])
        .await;
    // A replica of others.
    let replicates: &[&str] = match product {
        Product::Mysql => {
            &["CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 9"]
        }
        Product::Mariadb => &[
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 9",
            "CHANGE MASTER 'its other' TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 10",
        ],
    };
    source.sql(replicates).await;
    let layout = source.settings().layout.clone();
    let lock = source.datastore.lock_for_snapshot().await.unwrap();
    let position = lock.position();
    let file = position["log_file"].as_str().unwrap();
    assert!(file.starts_with("binlog."), "{position:?}");
    let offset = position["log_position"].as_u64().unwrap();
    let gtid = position["log_executed_gtid_set"].as_str().unwrap();
    let text = std::fs::read_to_string(layout.data_dir().join("xtrabackup_binlog_info")).unwrap();
    assert_eq!(text, format!("{file}\t{offset}\t{gtid}\n"));

    // Who writes waits; when the lock is released, it goes on.
    let mut admin = source.admin().await;
    let expected = checksums(&mut admin, "shop.a").await;
    let write = tokio::spawn(async move {
        let result = admin.query_drop("INSERT INTO shop.a VALUES (4)").await;
        admin.disconnect().await.unwrap();
        result
    });
    waiting(&source).await;
    let copy = source.path("snapshot");
    std::fs::create_dir(&copy).unwrap();
    snapshot(&layout.mount_point, &copy);
    assert!(!write.is_finished());
    lock.release().await.unwrap();
    write.await.unwrap().unwrap();

    // A lock that is dropped is released, too.
    let lock = source.datastore.lock_for_snapshot().await.unwrap();
    drop(lock);
    let insert = source.sql(&["INSERT INTO shop.a VALUES (5)"]);
    tokio::time::timeout(Duration::from_secs(10), insert)
        .await
        .unwrap();
    // A new root disk, and a volume made from the snapshot.
    let site = source.stop().await;
    std::fs::remove_dir_all(site.path("etc")).unwrap();
    std::fs::remove_dir_all(&layout.mount_point).unwrap();
    std::fs::rename(&copy, &layout.mount_point).unwrap();
    take_over(site, &expected).await;
}

/// Waits until the server knows of a statement that waits for the lock.
async fn waiting(source: &Fixture) {
    let mut admin = source.admin().await;
    let query = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                 WHERE INFO LIKE 'INSERT%' AND STATE LIKE 'Waiting for%lock'";
    while admin.query_first::<u64, _>(query).await.unwrap() != Some(1) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    admin.disconnect().await.unwrap();
}

async fn take_over(site: Site, expected: &[(String, Option<u64>)]) {
    let layout = site.settings().layout.clone();
    let passwords = std::fs::read_to_string(layout.credentials_dir().join("os_admin.cnf")).unwrap();
    std::fs::create_dir(layout.mount_point.join(".backup-old")).unwrap();
    let upgrade_info = layout.data_dir().join("mysql_upgrade_info");
    if site.product == Product::Mariadb {
        std::fs::write(&upgrade_info, "10.5.0-MariaDB\n").unwrap();
    }
    site.datastore
        .take_over_snapshot(&site.request())
        .await
        .unwrap();
    assert!(!layout.credentials_dir().join("os_admin.cnf").exists());
    assert!(!layout.mount_point.join(".backup-old").exists());
    // Until it is done, it is not started, and never mistaken for leftovers.
    let text = site.datastore.start().await.unwrap_err().to_string();
    assert!(text.contains("incomplete"), "{text}");
    let text = site.datastore.install(&site.request()).await.unwrap_err();
    assert!(text.to_string().contains("holds data"), "{text}");
    let (restored, found) = Fixture::start_restored(site).await;
    assert!(found.root_enabled);
    let mut admin = restored.admin().await;
    assert_eq!(checksums(&mut admin, "shop.a").await, expected);
    let query = match restored.product {
        Product::Mysql => "SHOW REPLICA STATUS",
        Product::Mariadb => "SHOW ALL SLAVES STATUS",
    };
    let sources: Vec<mysql_async::Row> = admin.query(query).await.unwrap();
    assert!(sources.is_empty(), "{sources:?}");
    if restored.product == Product::Mariadb {
        let version = restored.datastore.version().await.unwrap();
        let upgraded = std::fs::read_to_string(&upgrade_info).unwrap();
        assert!(version.starts_with(upgraded.trim()), "{upgraded}");
    }
    admin.disconnect().await.unwrap();
    assert!(!layout.mount_point.join(".taking-over").exists());
    let now = std::fs::read_to_string(layout.credentials_dir().join("os_admin.cnf")).unwrap();
    assert_ne!(now, passwords);
    restored.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    locked_and_taken_over(Product::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql() {
    locked_and_taken_over(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_without_data_is_refused() {
    let site = Site::new(Product::Mariadb);
    let error = site.datastore.take_over_snapshot(&site.request()).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("there is no data"), "{text}");
    assert!(
        !site
            .settings()
            .layout
            .mount_point
            .join(".taking-over")
            .exists()
    );
}
