//! Backups of MySQL by its clone plugin.

use datastore::{Archive, ErrorKind};
use mysql_async::prelude::Queryable;
use tokio::io::AsyncReadExt;

use crate::chain::{Chain, checksums, names_in};
use crate::ds;
use crate::harness::{Fixture, Product, Site};

const PLUGINS: &str = "SELECT COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'";

async fn fill(fixture: &Fixture) {
    fixture
        .sql(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.a (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(500))",
            "INSERT INTO shop.a (v) SELECT REPEAT('x', 500) FROM information_schema.COLLATIONS",
            "INSERT INTO shop.a (v) SELECT v FROM shop.a",
            "CREATE USER tenant@'%' IDENTIFIED BY 'tenants_word'",
            "CREATE USER root@'%' IDENTIFIED BY 'tenants_root'",
            "CREATE USER root@'127.0.0.1' IDENTIFIED BY ''",
            "INSTALL COMPONENT 'file://component_validate_password'",
            // Data of a replica.
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 9",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_comes_back() {
    let source = Fixture::start(Product::Mysql).await;
    fill(&source).await;
    let volume = source.settings().layout.mount_point.clone();
    // What a crash has left.
    std::fs::create_dir_all(volume.join(".clone-old/data")).unwrap();
    let mut chain = Chain::default();
    let metadata = chain.back_up(source.datastore.as_ref()).await;
    assert_eq!(metadata["backup_tool"], "clone");
    assert_eq!(chain.links[0].archive, Archive::Tar);
    assert_eq!(names_in(&volume), ["conf.d", "data"]);
    let mut admin = source.admin().await;
    let plugins: Option<u64> = admin.query_first(PLUGINS).await.unwrap();
    assert_eq!(plugins, Some(0), "the plugin is gone again");
    let expected = checksums(&mut admin, "shop.a").await;
    let uuid: Option<String> = admin.query_first("SELECT @@server_uuid").await.unwrap();
    admin.disconnect().await.unwrap();
    // Increments and other engines are beyond it.
    let error = source.datastore.start_backup(&chain.request()).await;
    let error = error.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(error.to_string().contains("percona-xtrabackup"), "{error}");
    source
        .sql(&["CREATE TABLE shop.old (id INT) ENGINE = MyISAM"])
        .await;
    let request = Chain::default().request();
    let error = source.datastore.start_backup(&request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(error.to_string().contains("shop.old (MyISAM)"), "{error}");
    source.sql(&["DROP TABLE shop.old"]).await;

    // Aborted and dropped ones leave nothing.
    let mut backup = source.datastore.start_backup(&request).await.unwrap();
    let mut reader = backup.reader();
    reader.read_exact(&mut [0; 1000]).await.unwrap();
    backup.abort().await;
    drop(reader);
    assert_eq!(names_in(&volume), ["conf.d", "data"]);
    drop(source.datastore.start_backup(&request).await.unwrap());
    assert_eq!(names_in(&volume), ["conf.d", "data"]);
    source.stop().await;

    let (restored, found) = chain.restore(Product::Mysql).await;
    assert!(found.root_enabled);
    let mut admin = restored.admin().await;
    assert_eq!(checksums(&mut admin, "shop.a").await, expected);
    let plugins: Option<u64> = admin.query_first(PLUGINS).await.unwrap();
    assert_eq!(plugins, Some(0));
    let other: Option<String> = admin.query_first("SELECT @@server_uuid").await.unwrap();
    assert_ne!(other, uuid);
    let replica: Option<mysql_async::Row> = admin.query_first("SHOW REPLICA STATUS").await.unwrap();
    assert!(replica.is_none());
    let roots: Vec<String> = admin
        .query("SELECT Host FROM mysql.user WHERE User = 'root' ORDER BY 1")
        .await
        .unwrap();
    assert_eq!(roots, ["%", "localhost"]);
    admin.disconnect().await.unwrap();
    let layout = restored.settings().layout.clone();
    let position = layout.data_dir().join("xtrabackup_binlog_info");
    let position = std::fs::read_to_string(position).unwrap();
    assert!(position.starts_with("binlog."), "{position}");
    restored.stop().await;
}

/// An archive without its end is no backup, although its format would allow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_without_their_end_are_refused() {
    let source = Fixture::start(Product::Mysql).await;
    fill(&source).await;
    let mut chain = Chain::default();
    chain.back_up(source.datastore.as_ref()).await;
    source.stop().await;
    let site = Site::new(Product::Mysql);
    let whole = chain.bytes[0].clone();
    // The terminator (two blocks), the last file and its header.
    for cut in [1_000_000, whole.len() - 1024 - 1024, 0] {
        chain.bytes[0] = whole[..cut].to_vec();
        let error = site.datastore.unpack_restore(&site.request(), &chain).await;
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("Cannot restore link-0: "), "{text}");
        assert!(site.datastore.start().await.is_err());
    }
    chain.bytes[0] = whole;
    let (restored, _) = chain.restore_into(site).await;
    restored.stop().await;
}

const DONORS: &str = "SELECT COUNT(*) FROM mysql.global_grants WHERE PRIV = 'BACKUP_ADMIN' \
     AND USER LIKE 'slave|_%' ESCAPE '|'";

async fn count(fixture: &Fixture, query: &str) -> u64 {
    let mut admin = fixture.admin().await;
    let found: Option<u64> = admin.query_first(query).await.unwrap();
    admin.disconnect().await.unwrap();
    found.unwrap()
}

/// The account of replicas may clone from the offer on, for some hours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_offers_itself() {
    let source = Fixture::start(Product::Mysql).await;
    // As it is configured.
    assert!(!ds(&source).offer_clone("192.0.2.7").await.unwrap());
    let donor = source.with_settings(|settings| settings.clone_replicas = true);
    // What it cannot do is left to a backup.
    assert!(!donor.offer_clone("2001:db8::7").await.unwrap());
    source
        .sql(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.old (n INT) ENGINE = MyISAM",
        ])
        .await;
    assert!(!donor.offer_clone("192.0.2.7").await.unwrap());
    source.sql(&["DROP TABLE shop.old"]).await;
    assert_eq!(
        (count(&source, DONORS).await, count(&source, PLUGINS).await),
        (0, 0)
    );

    assert!(donor.offer_clone("192.0.2.7").await.unwrap());
    assert_eq!(
        (count(&source, DONORS).await, count(&source, PLUGINS).await),
        (1, 1)
    );
    assert!(count(&source, "SELECT @@GLOBAL.max_allowed_packet").await >= 2 << 20);
    // A backup leaves the plugin to replicas.
    Chain::default().back_up(donor.as_ref()).await;
    donor.housekeeping().await.unwrap();
    assert_eq!(
        (count(&source, DONORS).await, count(&source, PLUGINS).await),
        (1, 1)
    );

    let mark = source.settings().layout.mount_point.join(".donor");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(13 * 3600);
    std::fs::File::open(&mark)
        .unwrap()
        .set_modified(old)
        .unwrap();
    donor.housekeeping().await.unwrap();
    assert_eq!(count(&source, DONORS).await, 0);
    assert!(!mark.exists());
    Chain::default().back_up(donor.as_ref()).await;
    assert_eq!(count(&source, PLUGINS).await, 0);
    source.stop().await;
}
