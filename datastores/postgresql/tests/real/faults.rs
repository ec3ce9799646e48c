//! What can go wrong with backups and restores, and what is told then.

use datastore::{BackupRequest, Datastore};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;

use crate::chain::{Chain, names_in};
use crate::harness::{Fixture, Site};

/// The tool that runs for this server, by the directory of its socket.
fn tool_of(source: &Fixture) -> Pid {
    let host = format!("--host={}", source.settings().layout.socket_dir.display());
    let processes = std::fs::read_dir("/proc").unwrap();
    let found = processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let arguments: Vec<&str> = line.split('\0').collect();
        arguments.contains(&host.as_str()).then_some(pid)
    });
    Pid::from_raw(found.unwrap())
}

/// What `start_backup` says.
async fn refusal(source: &Fixture, request: &BackupRequest) -> String {
    let error = source.datastore.start_backup(request).await.err().unwrap();
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_lacks_something_is_none() {
    let source = Fixture::start().await;
    source
        .sql(
            "postgres",
            &["CREATE TABLE t AS SELECT repeat('x', 500) AS v FROM generate_series(1, 100000)"],
        )
        .await;
    // The tool is killed: the stream just ends.
    let mut chain = Chain::default();
    let mut backup = source
        .datastore
        .start_backup(&chain.request())
        .await
        .unwrap();
    let mut reader = backup.reader();
    let mut some = vec![0; 1 << 20];
    reader.read_exact(&mut some).await.unwrap();
    kill(tool_of(&source), Signal::SIGKILL).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    drop(reader);
    let text = backup.finish().await.unwrap_err().to_string();
    assert!(
        text.contains("pg_basebackup made no backup") && text.contains("signal"),
        "{text}"
    );
    // The server ends it.
    let mut backup = source
        .datastore
        .start_backup(&chain.request())
        .await
        .unwrap();
    let mut reader = backup.reader();
    reader.read_exact(&mut some).await.unwrap();
    source
        .sql(
            "postgres",
            &["SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'"],
        )
        .await;
    reader.read_to_end(&mut rest).await.unwrap();
    drop(reader);
    let text = backup.finish().await.unwrap_err().to_string();
    assert!(text.contains("pg_basebackup made no backup"), "{text}");

    // WAL that is gone.
    let full = chain.back_up(&source.datastore).await;
    chain.back_up(&source.datastore).await;
    let archive = source.settings().layout.wal_archive();
    let next = chain.request();
    let parents = archive.join(&next.parent.as_ref().unwrap()["stop_wal_file"]);
    let aside = source.path("aside");
    std::fs::rename(&parents, &aside).unwrap();
    let text = refusal(&source, &next).await;
    assert!(
        text.contains("is not in the WAL archive") && text.contains("make a full backup"),
        "{text}"
    );
    // The full backup's chain has a hole there, too, later on.
    let of_full = BackupRequest {
        id: "of-full".into(),
        parent: Some(full.clone()),
    };
    assert!(
        refusal(&source, &of_full)
            .await
            .contains("make a full backup")
    );
    std::fs::copy(&aside, &parents).unwrap();
    // A parent without a place, and one that is no place.
    for metadata in ["", "0-1"] {
        let mut parent = full.clone();
        parent.remove("stop_segment");
        if !metadata.is_empty() {
            parent.insert("stop_segment".into(), metadata.into());
        }
        let request = BackupRequest {
            id: "x".into(),
            parent: Some(parent),
        };
        refusal(&source, &request).await;
    }
    // After all this one can be made.
    chain.back_up(&source.datastore).await;
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_backups_are_refused() {
    let source = Fixture::start().await;
    let mut chain = Chain::default();
    chain.back_up(&source.datastore).await;
    chain.back_up(&source.datastore).await;
    source.stop().await;
    let site = Site::new();
    let len = chain.bytes[0].len();
    for cut in [0, 10, 1024, len / 2, len - (20 << 20)] {
        let mut short = chain.first(1);
        short.bytes[0].truncate(cut / 512 * 512);
        let text = short.refused(&site).await;
        assert!(text.starts_with("Cannot restore link-0"), "{text}");
    }
    let mut turned = chain.clone();
    turned.bytes.swap(0, 1);
    let text = turned.refused(&site).await;
    assert!(text.contains("incomplete"), "{text}");
    let mut twice = chain.clone();
    twice.bytes[1] = twice.bytes[0].clone();
    let text = twice.refused(&site).await;
    assert!(
        text.contains("link-1") && text.contains("is no WAL"),
        "{text}"
    );
    let mut half = chain.clone();
    half.bytes[1].clear();
    let text = half.refused(&site).await;
    assert!(text.contains("it has no WAL"), "{text}");
    let mut noise = chain.first(1);
    noise.bytes[0] = b"<html>not found</html>".repeat(1000);
    noise.refused(&site).await;
    let names = names_in(&site.settings().layout.mount_point);
    assert!(
        names.iter().all(|name| !name.starts_with(".restore-")),
        "{names:?}"
    );
    // A volume that is too small says so.
    assert!(
        nix::unistd::getuid().is_root(),
        "run as root: a volume is mounted"
    );
    let site = Site::new();
    let volume = SmallVolume::mount(&site.settings().layout.mount_point);
    let text = chain.refused(&site).await;
    assert!(
        text.contains("link-0") && text.contains("No space left"),
        "{text}"
    );
    drop(volume);
}

/// A small volume, unmounted when dropped.
struct SmallVolume<'a>(&'a std::path::Path);

impl<'a> SmallVolume<'a> {
    fn mount(path: &'a std::path::Path) -> Self {
        let (kind, options) = ("tmpfs", Some("size=8m"));
        mount(Some(kind), path, Some(kind), MsFlags::empty(), options).unwrap();
        Self(path)
    }
}

impl Drop for SmallVolume<'_> {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).unwrap();
    }
}
