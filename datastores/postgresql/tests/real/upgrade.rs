//! From one release series to the next. `POSTGRES_BINARIES` names the
//! directories of all series; the one under test goes to the next newer.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use datastore::{ErrorKind, ServiceStatus};
use postgresql::Settings;

use crate::chain::Chain;
use crate::harness::programs;
use crate::managed::Managed;

const ROWS: &str = "SELECT count(*) || ' ' || sum(n) || ' ' || max(nextval('s')) FROM t";
const COUNT: &str = "SELECT count(*) || ' ' || sum(n) FROM t";

/// The series of a directory such as `/usr/lib/postgresql/17/bin`.
fn series(programs: &Path) -> u32 {
    let name = programs.parent().unwrap().file_name().unwrap();
    name.to_str().unwrap().parse().unwrap()
}

/// All series, oldest first.
fn installed() -> Vec<(u32, PathBuf)> {
    let text = std::env::var("POSTGRES_BINARIES")
        .expect("set POSTGRES_BINARIES: directories of programs, with colons between them");
    let mut found: Vec<_> = text
        .split(':')
        .map(|dir| (series(Path::new(dir)), PathBuf::from(dir)))
        .collect();
    found.sort();
    found
}

/// The series under test and the next one, or itself.
fn step() -> (u32, u32) {
    let own = series(&programs());
    let next = installed()
        .into_iter()
        .map(|found| found.0)
        .find(|&major| major > own);
    (own, next.unwrap_or(own))
}

/// A server of the series under test, with all the others beside it.
async fn server(extra: &'static str) -> Managed {
    let server = site(extra);
    prepared(server).await
}

fn site(extra: &'static str) -> Managed {
    Managed::with(extra, |settings: &mut Settings| {
        let layout = &mut settings.layout;
        let versions = layout.mount_point.parent().unwrap().join("versions");
        std::fs::create_dir(&versions).unwrap();
        for (major, programs) in installed() {
            let home = programs.parent().unwrap();
            symlink(home, versions.join(major.to_string())).unwrap();
        }
        layout.versions_dir = versions;
        layout.programs_dir = None;
    })
}

async fn prepared(server: Managed) -> Managed {
    let version = step().0.to_string();
    let server = server.prepared_with(Some(version)).await;
    server
        .sql(
            "postgres",
            &[
                "INSERT INTO t SELECT generate_series(1, 20000)",
                "CREATE INDEX ON t ((n % 7))",
                "CREATE SEQUENCE s START 500",
                "CREATE DATABASE other",
                "ALTER SYSTEM SET work_mem = '9MB'",
                "SELECT pg_reload_conf()",
            ],
        )
        .await;
    server
        .sql("other", &["CREATE TABLE o AS SELECT 1 AS n"])
        .await;
    server
}

/// Whether the server is what it was, and nothing of an upgrade is left.
async fn check(server: &Managed, major: u32) {
    let layout = &server.settings().layout;
    assert_eq!(server.ds().status().await, ServiceStatus::Healthy);
    let number = server.value("SHOW server_version_num").await.unwrap();
    assert_eq!(number.parse::<u32>().unwrap() / 10_000, major);
    assert_eq!(server.value(COUNT).await.unwrap(), "20000 200010000");
    assert_eq!(server.value("SHOW work_mem").await.unwrap(), "9MB");
    assert_eq!(server.value("SHOW data_checksums").await.unwrap(), "on");
    assert_eq!(
        server.value("SHOW listen_addresses").await.unwrap(),
        "127.0.0.1"
    );
    let tenant = server.login("tenant", "word", "postgres").await.unwrap();
    tenant
        .batch_execute("SELECT count(*) FROM t")
        .await
        .unwrap();
    let text = std::fs::read_to_string(layout.data_dir().join("PG_VERSION")).unwrap();
    assert_eq!(text.trim(), major.to_string());
    assert!(!server.has_mark(".upgrading") && !server.has_mark(".upgrade"));
    for name in ["pgdata.new", "pgdata.old", "wal_archive.old"] {
        assert!(!layout.volume_dir().join(name).exists(), "{name}");
    }
    let link = std::fs::read_link(&layout.programs_link).unwrap();
    assert_eq!(series(&link), major);
}

/// Servers of some series keep an option of every column that others have
/// never heard of, and whose dumps they cannot read.
const FOREIGN: &str = "pg_attver";

fn are_dumps_foreign(next: u32) -> bool {
    let knows = |major: u32| {
        let found = installed()
            .into_iter()
            .find(|found| found.0 == major)
            .unwrap();
        let bytes = std::fs::read(found.1.join("postgres")).unwrap();
        bytes
            .windows(FOREIGN.len())
            .any(|part| part == FOREIGN.as_bytes())
    };
    knows(step().0) && !knows(next)
}

/// Takes that option off all columns, behind the server's back: it puts it back
/// at every change.
async fn make_plain(server: &Managed, next: u32) {
    if !are_dumps_foreign(next) {
        return;
    }
    let reset = format!(
        "UPDATE pg_attribute SET attoptions = NULL \
         WHERE attrelid >= 16384 AND attoptions::text LIKE '{{{FOREIGN}=%}}'"
    );
    for database in ["postgres", "other"] {
        server.sql(database, &[&reset]).await;
    }
}

/// Waits for the statistics that are made after an upgrade.
async fn wait_analysed(server: &Managed) {
    let started = Instant::now();
    while server.has_mark(".not-analysed") {
        assert!(started.elapsed() < Duration::from_secs(60), "no statistics");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let query = "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 't'";
    assert_eq!(server.value(query).await.unwrap(), "t");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_goes_to_the_next_series() {
    let (own, next) = step();
    let server = server("").await;
    let ds = server.ds();
    let settings = server.value(ROWS).await;
    let mut chain = Chain::default();
    chain.back_up(ds).await;
    chain.back_up(ds).await;

    // The same version is no work, and there is no way back.
    let pid = ds.main_pid().await;
    ds.upgrade(&own.to_string()).await.unwrap();
    ds.upgrade(&ds.version().await.unwrap()).await.unwrap();
    for (target, word) in [
        (format!("{own}.99"), "is not installed"),
        ("99".to_owned(), "is not installed"),
        ("9.6".to_owned(), "no way back"),
        (format!("{own}.0"), "no way back"),
        ("latest".to_owned(), "names no version"),
    ] {
        let text = ds.upgrade(&target).await.unwrap_err().to_string();
        assert!(text.contains(word), "{target}: {text}");
    }
    assert_eq!(ds.main_pid().await, pid);
    check(&server, own).await;
    if next == own {
        return;
    }

    if are_dumps_foreign(next) {
        // Nobody knows before it is tried, and the old server comes back.
        let error = ds.upgrade(&next.to_string()).await.unwrap_err();
        assert!(error.to_string().contains(FOREIGN), "{error}");
        check(&server, own).await;
        make_plain(&server, next).await;
    }
    let started = Instant::now();
    ds.upgrade(&next.to_string()).await.unwrap();
    println!("{own} to {next}: {} ms", started.elapsed().as_millis());
    check(&server, next).await;
    wait_analysed(&server).await;
    assert_ne!(server.value(ROWS).await, settings, "the sequence goes on");
    let other = server.admin("other").await;
    other.batch_execute("SELECT n FROM o").await.unwrap();
    ds.restart().await.unwrap();
    check(&server, next).await;

    // Nothing can be added to backups of the old data; a new chain can begin.
    let request = chain.request();
    let refused = match ds.start_backup(&request).await {
        Err(error) => error,
        Ok(_) => panic!("an increment of the old data was begun"),
    };
    assert!(refused.to_string().contains("full backup"), "{refused}");
    let mut chain = Chain::default();
    chain.back_up(ds).await;
    server
        .sql("postgres", &["CREATE TABLE later (n int)"])
        .await;
    chain.back_up(ds).await;
}

/// What cannot be taken over is named, and the server is not even stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_upgrade_changes_nothing() {
    let (own, next) = step();
    if next == own {
        // There is nothing to go to: the other test has tried.
        let server = server("").await;
        server.ds().upgrade("99").await.unwrap_err();
        return check(&server, own).await;
    }
    let server = server("").await;
    make_plain(&server, next).await;
    let (ds, pid) = (server.ds(), server.ds().main_pid().await);
    server.sql("other", &["CREATE TABLE bad (p regproc)"]).await;
    let error = ds.upgrade(&next.to_string()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(error.to_string().contains("public.bad.p"), "{error}");
    assert_eq!(ds.main_pid().await, pid);
    check(&server, own).await;
    let rules = std::fs::read_to_string(&server.settings().layout.ident_file).unwrap();
    assert_eq!(rules.lines().count(), 2);
    server.sql("other", &["DROP TABLE bad"]).await;

    // The new server does not start: the old one comes back.
    let refuse = server.path("refuse-start");
    std::fs::write(&refuse, "").unwrap();
    ds.upgrade(&next.to_string()).await.unwrap_err();
    assert!(!refuse.exists());
    check(&server, own).await;

    // Replicas could not follow, and cannot go themselves.
    let replica = server.replica_like(|settings| {
        settings.layout.versions_dir = server.settings().layout.versions_dir.clone();
        settings.layout.programs_dir = None;
    });
    let replica = replica.await;
    for server in [&server, &replica] {
        let error = server.ds().upgrade(&next.to_string()).await.unwrap_err();
        assert!(error.to_string().contains("replica"), "{error}");
    }
}

/// The agent dies at a moment that the volume shows: its successor finds the
/// old data or the new, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_upgrade_is_settled() {
    let (own, next) = step();
    let server = server("").await;
    make_plain(&server, next).await;
    let layout = server.settings().layout.clone();
    let decided = || !server.has_mark(".upgrading");
    let is_down = || !server.path("main.pid").exists();
    let aside = layout.volume_dir().join("pgdata.old");
    let made = layout.volume_dir().join("pgdata.new/PG_VERSION");
    let catalogues = layout.volume_dir().join("pgdata.new/pg_upgrade_output.d");
    let alone = || {
        let names = std::fs::read_dir(&layout.include_dir).unwrap();
        let is_own = |name: std::ffi::OsString| name.to_string_lossy().ends_with("-upgrade.conf");
        names.flatten().any(|entry| is_own(entry.file_name()))
    };
    let moments: [(&str, &(dyn Fn() -> bool + Sync), u32); 6] = [
        ("new data is made", &|| made.exists(), own),
        (
            "checking",
            &|| made.exists() && catalogues.exists() && !is_down(),
            own,
        ),
        (
            "converting",
            &|| is_down() && catalogues.exists() && !decided(),
            own,
        ),
        ("moved", &|| aside.exists() && !decided(), own),
        (
            "new server",
            &|| aside.exists() && !decided() && !is_down(),
            own,
        ),
        ("decided", &|| alone() && decided(), next),
    ];
    for (name, moment, expected) in moments {
        let target = next.to_string();
        let work = server.ds().upgrade(&target);
        let wait = async {
            while next != own && !moment() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = wait => {}
            done = work => panic!("{name}: not seen, and then {done:?}"),
        }
        let resumed = server.ds().resume().await.unwrap();
        assert_eq!(resumed, next != own, "{name}");
        server.ds().housekeeping().await.unwrap();
        check(&server, expected).await;
    }
    if next != own {
        wait_analysed(&server).await;
    }
}

/// A volume without room for a second copy, of memory.
struct SmallVolume(PathBuf);

impl SmallVolume {
    fn on(path: PathBuf, mebibytes: u32) -> Self {
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path);
        assert!(mount.status().unwrap().success(), "mounting needs root");
        Self(path)
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        // What could not be removed with something mounted there.
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
        if !std::thread::panicking() {
            assert!(unmounted.unwrap().success());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_shared_without_room() {
    let (own, next) = step();
    let server = site("");
    let layout = server.settings().layout.clone();
    let _volume = SmallVolume::on(layout.mount_point.clone(), 600);
    let server = prepared(server).await;
    make_plain(&server, next).await;
    let free = || {
        let found = nix::sys::statvfs::statvfs(&layout.mount_point).unwrap();
        found.fragment_size() * found.blocks_available()
    };
    // Enough for new catalogues, and not for the tables.
    let ballast = layout.mount_point.join("ballast");
    let file = std::fs::File::create(&ballast).unwrap();
    for (left, shared) in [(100 << 20, false), (180 << 20, true)] {
        file.set_len(0).unwrap();
        nix::fcntl::posix_fallocate(&file, 0, (free() - left).try_into().unwrap()).unwrap();
        let upgraded = server.ds().upgrade(&next.to_string()).await;
        if next == own {
            upgraded.unwrap();
            continue;
        }
        if !shared {
            let text = upgraded.unwrap_err().to_string();
            assert!(text.contains("enlarge the volume"), "{text}");
            check(&server, own).await;
            continue;
        }
        upgraded.unwrap();
    }
    check(&server, next).await;
}
