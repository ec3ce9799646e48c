//! Backups of MariaDB by its own tool, and what can go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datastore::{Archive, ErrorKind};
use mysql_async::prelude::Queryable;
use tokio::io::AsyncReadExt;

use crate::chain::{Chain, checksums, names_in};
use crate::harness::{Fixture, Product, Site};

const TABLES: &str =
    "shop.a, shop.b, shop.old, shop.sorted, shop.squeezed, shop.empty, shop.made_later";

async fn fill(fixture: &Fixture) {
    fixture
        .sql(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.a (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(500))",
            "CREATE TABLE shop.b LIKE shop.a",
            "CREATE TABLE shop.old (id INT, v TEXT) ENGINE = MyISAM",
            "INSERT INTO shop.old VALUES (1, 'one')",
            // Files of every kind that a tool sends in its own way.
            "CREATE TABLE shop.sorted (id INT, v TEXT) ENGINE = Aria",
            "INSERT INTO shop.sorted VALUES (1, 'one')",
            "CREATE TABLE shop.squeezed (v TEXT) ENGINE = InnoDB PAGE_COMPRESSED = 1",
            "INSERT INTO shop.squeezed SELECT REPEAT('x', 8000) FROM information_schema.COLLATIONS",
            "CREATE TABLE shop.empty (id INT) ENGINE = MyISAM",
            "INSERT INTO shop.a (v) SELECT REPEAT('x', 500) FROM information_schema.COLLATIONS",
            "INSERT INTO shop.b (v) SELECT v FROM shop.a",
            "CREATE USER tenant@'%' IDENTIFIED BY 'tenants_word'",
            "GRANT ALL ON shop.* TO tenant@'%'",
            "CREATE USER ''@'%' IDENTIFIED BY 'anonymous'",
            "CREATE USER os_admin@'10.0.0.%' IDENTIFIED BY 'from_afar'",
        ])
        .await;
}

/// Writes the same row into two tables, transaction by transaction.
async fn write(fixture: &Fixture, stop: &AtomicBool) -> u32 {
    let mut admin = fixture.admin().await;
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        for statement in [
            "START TRANSACTION",
            "INSERT INTO shop.a (v) VALUES (UUID())",
            "INSERT INTO shop.b (v) SELECT v FROM shop.a ORDER BY id DESC LIMIT 1",
            "COMMIT",
        ] {
            admin.query_drop(statement).await.unwrap();
        }
        written += 1;
    }
    admin.disconnect().await.unwrap();
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_made_under_load_comes_back() {
    let source = Arc::new(Fixture::start(Product::Mariadb).await);
    fill(&source).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (source, stop) = (Arc::clone(&source), Arc::clone(&stop));
        async move { write(&source, &stop).await }
    });
    let mut chain = Chain::default();
    let full = chain.back_up(source.datastore.as_ref()).await;
    assert_eq!(full["backup_tool"], "mariadb-backup");
    for key in ["lsn", "binlog_file", "binlog_position", "gtid"] {
        assert!(full.contains_key(key), "{key}: {full:?}");
    }
    source
        .sql(&["CREATE TABLE shop.made_later AS SELECT 7 AS n"])
        .await;
    let first = chain.back_up(source.datastore.as_ref()).await;
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 0);
    source
        .sql(&["DELETE FROM shop.a ORDER BY id LIMIT 5"])
        .await;
    chain.back_up(source.datastore.as_ref()).await;
    let lsn = |text: &str| text.parse::<u64>().unwrap();
    assert!(lsn(&first["lsn"]) >= lsn(&full["lsn"]));
    assert!(chain.bytes[2].len() < chain.bytes[0].len());
    assert!(
        chain
            .links
            .iter()
            .all(|link| link.archive == Archive::Xbstream)
    );
    let volume = source.settings().layout.mount_point.clone();
    assert_eq!(names_in(&volume), ["conf.d", "data"]);
    let mut admin = source.admin().await;
    let expected = checksums(&mut admin, TABLES).await;
    assert!(
        expected.iter().all(|(_, sum)| sum.is_some()),
        "{expected:?}"
    );
    admin.disconnect().await.unwrap();

    // A full backup taken in the middle of writes is one moment of them.
    let (restored, _) = chain.first(1).restore(Product::Mariadb).await;
    let mut admin = restored.admin().await;
    let counts: Option<(u64, u64)> = admin
        .query_first("SELECT (SELECT COUNT(*) FROM shop.a), (SELECT COUNT(*) FROM shop.b)")
        .await
        .unwrap();
    let (a, b) = counts.unwrap();
    assert!(a == b && a > 0, "{a} {b}");
    admin.disconnect().await.unwrap();
    restored.stop().await;

    // The whole chain is the last moment.
    let (restored, found) = chain.restore(Product::Mariadb).await;
    assert!(!found.root_enabled);
    let mut admin = restored.admin().await;
    assert_eq!(checksums(&mut admin, TABLES).await, expected);
    let users: Vec<(String, String)> = admin
        .query(
            "SELECT User, Host FROM mysql.user WHERE User IN ('', 'os_admin', 'tenant') ORDER BY 1",
        )
        .await
        .unwrap();
    let users: Vec<_> = users
        .iter()
        .map(|(u, h)| (u.as_str(), h.as_str()))
        .collect();
    assert_eq!(users, [("os_admin", "localhost"), ("tenant", "%")]);
    admin.disconnect().await.unwrap();
    let tenant = restored.login_tcp("tenant", "tenants_word").await.unwrap();
    tenant.disconnect().await.unwrap();
    let layout = restored.settings().layout.clone();
    assert_eq!(names_in(&layout.mount_point), ["conf.d", "data"]);
    assert!(layout.data_dir().join("xtrabackup_binlog_info").exists());
    check_modes(&layout.data_dir(), restored.settings().account.uid);
    let site = restored.stop().await;

    // Data is never restored over.
    let error = site.datastore.unpack_restore(&site.request(), &chain).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("never restored over data"), "{text}");
    Arc::into_inner(source).unwrap().stop().await;
}

/// Nothing is open to others.
fn check_modes(dir: &std::path::Path, uid: u32) {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        assert_eq!(found.uid(), uid, "{:?}", entry.path());
        assert_eq!(found.mode() & 0o7, 0, "{:?}", entry.path());
        if found.is_dir() {
            check_modes(&entry.path(), uid);
        }
    }
}

/// Command lines and environments of all processes.
fn what_processes_show() -> Vec<u8> {
    let mut shown = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        for name in ["cmdline", "environ"] {
            shown.extend(std::fs::read(entry.path().join(name)).unwrap_or_default());
        }
    }
    shown
}

fn contains(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|part| part == word.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_backups_that_fail() {
    let source = Fixture::start(Product::Mariadb).await;
    fill(&source).await;
    let volume = source.settings().layout.mount_point.clone();
    let datastore = source.datastore.as_ref();
    let mut chain = Chain::default();

    // While it runs, nobody sees the password; then it is aborted.
    let mut backup = datastore.start_backup(&chain.request()).await.unwrap();
    let mut reader = backup.reader();
    let mut some = vec![0; 1000];
    reader.read_exact(&mut some).await.unwrap();
    let options = volume.join(".backup-backup-0/options.cnf");
    let text = std::fs::read_to_string(&options).unwrap();
    let password = text
        .lines()
        .find_map(|line| line.strip_prefix("password = "))
        .unwrap()
        .trim_matches('"');
    let shown = what_processes_show();
    let argument = options.to_str().unwrap();
    assert!(contains(&shown, argument));
    assert!(!contains(&shown, password));
    backup.abort().await;
    assert_eq!(names_in(&volume), ["conf.d", "data"]);
    assert!(!contains(&what_processes_show(), argument));
    // What the pipe still held, but no more.
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();

    // The tool is killed by somebody else.
    let mut backup = datastore.start_backup(&chain.request()).await.unwrap();
    let mut reader = backup.reader();
    reader.read_exact(&mut some).await.unwrap();
    kill_by_argument(&options);
    reader.read_to_end(&mut rest).await.unwrap();
    let error = backup.finish().await.unwrap_err().to_string();
    assert!(
        error.contains("mariadb-backup") && error.contains("signal: 9"),
        "{error}"
    );
    assert_eq!(names_in(&volume), ["conf.d", "data"]);

    // Dropped without a word.
    let mut backup = datastore.start_backup(&chain.request()).await.unwrap();
    backup.reader().read_exact(&mut some).await.unwrap();
    drop(backup);
    assert_eq!(names_in(&volume), ["conf.d", "data"]);

    // An increment that begins nowhere.
    let full = chain.back_up(datastore).await;
    let mut request = chain.request();
    request.parent.as_mut().unwrap().remove("lsn");
    let error = datastore.start_backup(&request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::BadRequest);
    // The tool itself notices one from before the server's time.
    let mut wrong = full.clone();
    wrong.insert("lsn".into(), "1".into());
    request.parent = Some(wrong.clone());
    let mut backup = datastore.start_backup(&request).await.unwrap();
    backup.reader().read_to_end(&mut rest).await.unwrap();
    let text = backup.finish().await.unwrap_err().to_string();
    assert!(text.contains("incremental backup is impossible"), "{text}");
    // The restore notices one that does not fit the chain.
    let later = full["lsn"].parse::<u64>().unwrap() + 1;
    wrong.insert("lsn".into(), later.to_string());
    chain.links[0].metadata = wrong;
    chain.back_up(datastore).await;
    let site = Site::new(Product::Mariadb);
    let error = site.datastore.unpack_restore(&site.request(), &chain).await;
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("Cannot restore link-1: "), "{text}");
    let layout = &site.settings().layout;
    assert!(layout.mount_point.join(".restoring").exists());
    // It is not started, however the agent is asked.
    for result in [site.datastore.start().await, site.datastore.restart().await] {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("incomplete"), "{text}");
    }
    // The next restore starts over.
    let (restored, _) = chain.first(1).restore_into(site).await;
    restored.stop().await;
    source.stop().await;
}

/// Kills the processes that have this path in their command line.
fn kill_by_argument(path: &std::path::Path) {
    use nix::sys::signal::{Signal, kill};
    let mut found = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if contains(&line, path.to_str().unwrap()) {
            let pid = entry.file_name().to_str().unwrap().parse().unwrap();
            kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            found += 1;
        }
    }
    assert_eq!(found, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_that_do_not_fit_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let source = Fixture::start(Product::Mariadb).await;
    let tools = source.path("other-tools");
    std::fs::create_dir(&tools).unwrap();
    let other = source.with_settings(|settings| settings.layout.tools_dir = Some(tools.clone()));
    let request = Chain::default().request();
    let refused = async || {
        other
            .start_backup(&request)
            .await
            .err()
            .unwrap()
            .to_string()
    };
    let text = refused().await;
    assert!(text.contains("install mariadb-backup"), "{text}");
    // A double: it only tells a version, of a server that is not here.
    let script = "#!/bin/sh\necho 'mariadb-backup based on MariaDB server 10.2.3-MariaDB' >&2\n";
    std::fs::write(tools.join("mariadb-backup"), script).unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(tools.join("mariadb-backup"), executable).unwrap();
    let text = refused().await;
    assert!(
        text.contains("is made for MariaDB 10.2.3, but the server is MariaDB"),
        "{text}"
    );
    source.stop().await;
}
