//! How XtraBackup is used. It is not to be had here: what runs is a DOUBLE, a
//! script that takes the documented options, writes the documented log lines
//! and produces streams with MariaDB's mbstream. It knows nothing of data; so
//! these cases show which calls are made and how their answers are judged, and
//! not that real data comes back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use datastore::{Archive, BackupRequest, ErrorKind};
use tokio::io::AsyncReadExt;

use crate::chain::Chain;
use crate::harness::{Fixture, Product, Site};

/// The double. `@...@` are filled in.
const DOUBLE: &str = r#"#!/bin/sh
if [ "$1" = --version ]; then
    echo "xtrabackup version @OWN@ based on MySQL server @SERVER@ Linux (x86_64)" >&2
    exit 0
fi
echo "$*" >>@CALLS@
for argument; do
    case "$argument" in
    --defaults-file=*) stat -c '%a %u' "${argument#*=}" >>@CALLS@.modes ;;
    --target-dir=*) target=${argument#*=} ;;
    --incremental-lsn=*) lsn=${argument#*=} ;;
    esac
done
case "$*" in
*--backup*)
    cd "$target" || exit 1
    if [ -n "$lsn" ]; then kind=incremental; else kind=full-backuped; fi
    echo "backup_type = $kind" >xtrabackup_checkpoints
    echo "server_version = @SERVER@" >xtrabackup_info
    @MBSTREAM@ -c xtrabackup_checkpoints xtrabackup_info
    echo "The latest check point (for incremental): '$((${lsn:-1000} + 1))'" >&2
    ;;
*--prepare*)
    [ -f "$target/xtrabackup_checkpoints" ] || exit 1
    ;;
esac
@END@
"#;
const GOOD_END: &str = "echo '2026-11-22T08:04:27 0 [Note] [Xtrabackup] completed OK!' >&2";

struct Double<'a> {
    site: &'a Site,
    own: &'a str,
    server: &'a str,
    end: &'a str,
}

impl Double<'_> {
    /// Puts the double where the site looks for tools.
    fn install(&self) {
        let tools = self.site.path("tools");
        std::fs::create_dir_all(&tools).unwrap();
        let mbstream = Product::mariadb_tools().join("mbstream");
        let mbstream = mbstream.to_str().unwrap();
        let text = DOUBLE
            .replace("@OWN@", self.own)
            .replace("@SERVER@", self.server)
            .replace("@CALLS@", self.site.path("tmp/calls").to_str().unwrap())
            .replace("@MBSTREAM@", mbstream)
            .replace("@END@", self.end);
        write_program(&tools.join("xtrabackup"), &text);
    }
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The calls made so far, which are forgotten.
fn calls(site: &Site) -> Vec<String> {
    let path = site.path("tmp/calls");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Runs a backup to its verdict.
async fn verdict(site: &Site, request: &BackupRequest) -> String {
    let mut backup = site.datastore.start_backup(request).await.unwrap();
    let mut bytes = Vec::new();
    backup.reader().read_to_end(&mut bytes).await.unwrap();
    backup.finish().await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_double_is_called_as_the_manual_says() {
    let source = Fixture::start(Product::Mysql).await;
    let version = source.datastore.version().await.unwrap();
    let series = version.split('.').take(2).collect::<Vec<_>>().join(".");
    let server = format!("{series}.0");
    let bad_status = format!("{GOOD_END}; exit 3");
    let double = |own, end| Double {
        site: &source,
        own,
        server: &server,
        end,
    };
    double("8.0.26-18", GOOD_END).install();
    let mut chain = Chain::default();
    let metadata = chain.back_up(source.datastore.as_ref()).await;
    assert_eq!(metadata["lsn"], "1001");
    assert_eq!(metadata["backup_tool"], "xtrabackup");
    assert_eq!(chain.links[0].archive, Archive::Xbstream);
    chain.back_up(source.datastore.as_ref()).await;
    // Newer ones have no --incremental.
    double("8.0.27-19", GOOD_END).install();
    chain.back_up(source.datastore.as_ref()).await;
    let seen = calls(&source);
    let volume = source.settings().layout.mount_point.display().to_string();
    for (index, line) in seen.iter().enumerate() {
        let scratch = format!("{volume}/.backup-backup-{index}");
        let start = format!("--defaults-file={scratch}/options.cnf --backup --stream=xbstream ");
        assert!(line.starts_with(&start), "{line}");
        let target = format!(" --datadir={volume}/data --target-dir={scratch}/target ");
        assert!(line.contains(&target), "{line}");
        assert!(
            !line.contains("password") && !line.contains("--no-server"),
            "{line}"
        );
    }
    assert!(!seen[0].contains("--incremental"), "{}", seen[0]);
    assert!(
        seen[1].ends_with(" --incremental --incremental-lsn=1001"),
        "{}",
        seen[1]
    );
    assert!(seen[2].ends_with(" --incremental-lsn=1002"), "{}", seen[2]);
    assert!(!seen[2].contains("--incremental "), "{}", seen[2]);
    let modes = std::fs::read_to_string(source.path("tmp/calls.modes")).unwrap();
    let uid = source.settings().account.uid;
    assert!(
        modes.lines().all(|line| line == format!("600 {uid}")),
        "{modes}"
    );

    // Status and last line must both be good, and the check point known.
    let full = Chain::default().request();
    double("9.0.0-1", "echo 'Error: no space' >&2").install();
    let text = verdict(&source, &full).await;
    assert!(
        text.contains("ended without success") && text.contains("Error: no space"),
        "{text}"
    );
    double("9.0.0-1", &bad_status).install();
    let text = verdict(&source, &full).await;
    assert!(text.contains("exit status: 3"), "{text}");
    let text = silent_verdict(&source, &full).await;
    assert!(text.contains("does not tell its check point"), "{text}");

    // One for another server: clones instead, but nothing can be added.
    Double {
        server: "8.0.35",
        ..double("8.0.35-30", GOOD_END)
    }
    .install();
    let error = source.datastore.start_backup(&chain.request()).await;
    let error = error.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(
        error.to_string().contains("is made for MySQL 8.0.35"),
        "{error}"
    );
    let backup = source.datastore.start_backup(&full).await.unwrap();
    assert_eq!(backup.archive(), Archive::Tar);
    backup.abort().await;
    source.stop().await;
    restores(&chain, &server).await;
}

/// The verdict on a double that tells no check point.
async fn silent_verdict(site: &Site, request: &BackupRequest) -> String {
    let path = site.path("tools/xtrabackup");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("; exit 3", "");
    write_program(&path, &text.replace("The latest check point", "Nothing"));
    verdict(site, request).await
}

/// What is applied in which order.
async fn restores(chain: &Chain, server: &str) {
    let site = Site::new(Product::Mysql);
    let double = |end| Double {
        site: &site,
        own: "9.0.0-1",
        server,
        end,
    };
    double(GOOD_END).install();
    let unpack = async |chain: &Chain| {
        let request = site.request();
        site.datastore.unpack_restore(&request, chain).await
    };
    unpack(&chain.first(1)).await.unwrap();
    let seen = calls(&site);
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with("--prepare ") && !seen[0].contains("--apply-log-only"));
    // Left unstarted, it is a leftover.
    unpack(chain).await.unwrap();
    let seen = calls(&site);
    let volume = site.settings().layout.mount_point.display().to_string();
    let with = |line: &String| {
        let increment = line
            .split_once("--incremental-dir=")
            .map(|(_, dir)| dir.to_owned());
        (line.contains("--apply-log-only"), increment)
    };
    let expected = [
        (true, None),
        (true, Some(format!("{volume}/.increment-1"))),
        (true, Some(format!("{volume}/.increment-2"))),
        (false, None),
    ];
    assert_eq!(seen.iter().map(with).collect::<Vec<_>>(), expected);
    // One that says no.
    double("echo 'Error: page is corrupted' >&2").install();
    let text = unpack(chain).await.unwrap_err().to_string();
    assert!(text.starts_with("Cannot restore link-0: "), "{text}");
    assert!(text.contains("page is corrupted"), "{text}");
    assert!(site.datastore.start().await.is_err());
}
