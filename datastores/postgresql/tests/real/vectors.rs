//! Backups that another program made of another server; see the README beside
//! the files.

use std::io::Read;

use datastore::BackupMetadata;

use crate::chain::Chain;
use crate::harness::{Fixture, Site};

/// Rows and their sum on the server the backups were made of, and the places
/// where they end.
const LINKS: [(&str, &str, &str, &str); 3] = [
    (
        "full",
        "2000|-95481392827058588443",
        "0/2000138",
        "000000010000000000000002",
    ),
    (
        "increment-1",
        "2500|-138846765551245864440",
        "0/4000100",
        "000000010000000000000004",
    ),
    (
        "increment-2",
        "1667|137642934317832449121",
        "0/6000100",
        "000000010000000000000006",
    ),
];
const MAJOR: &str = "15";
const SUM: &str = "SELECT count(*) || '|' || sum(hashtextextended(t::text, 0)) FROM t";

pub(crate) fn chain() -> Chain {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut chain = Chain::default();
    for (name, _, place, file) in LINKS {
        let archive = std::fs::File::open(dir.join(format!("{name}.tar.gz"))).unwrap();
        let mut bytes = Vec::new();
        flate2::read::MultiGzDecoder::new(archive)
            .read_to_end(&mut bytes)
            .unwrap();
        let pairs = [("stop_segment", place), ("stop_wal_file", file)];
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let metadata: BackupMetadata = pairs.into_iter().map(pair).collect();
        chain.push(bytes, metadata);
    }
    chain
}

/// Overwrites most of a file of the archive.
fn spoil(archive: &mut [u8], name: &str) {
    let mut headers = archive.windows(name.len()).enumerate();
    let header = headers.find(|(at, window)| at % 512 == 0 && *window == name.as_bytes());
    let begin = header.unwrap().0 + 512 + (16 << 10);
    archive[begin..begin + (15 << 20)].fill(0);
}

/// A server of another release series refuses them, and names both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_of_others_come_back() {
    let site = Site::new();
    let version = site.datastore.installed_version(None).await.unwrap();
    if version.major.to_string() != MAJOR {
        let text = chain().refused(&site).await;
        let both = text.contains("PostgreSQL 15,") && text.contains(&version.to_string());
        assert!(both, "{text}");
        return;
    }
    for (count, (name, sum, ..)) in (1..).zip(LINKS) {
        let (restored, found) = chain().first(count).restore().await;
        assert!(!found.root_enabled);
        assert_eq!(restored.value(SUM).await.as_deref(), Some(sum), "{name}");
        restored.stop().await;
    }
    // Without metadata, as of a replica, all that is there comes back.
    let mut silent = chain();
    for link in &mut silent.links {
        link.metadata.clear();
    }
    let (restored, _) = silent.restore().await;
    assert_eq!(restored.value(SUM).await.as_deref(), Some(LINKS[2].1));
    restored.stop().await;
    // An increment that was made of another parent leaves a hole.
    let mut hole = chain();
    hole.links.remove(1);
    hole.bytes.remove(1);
    let site = Site::new();
    let text = hole.refused(&site).await;
    assert!(text.contains("000000010000000000000003"), "{text}");
    // WAL that cannot be read to the end of the chain is not taken for its end.
    let mut damaged = chain();
    spoil(&mut damaged.bytes[1], "000000010000000000000003");
    let site = Site::new();
    let recovery = site
        .datastore
        .unpack_restore(&site.request(), &damaged)
        .await;
    let recovery = recovery.unwrap();
    let text = Fixture::fail_restored(site, &recovery).await;
    assert!(text.contains("recovery ended at"), "{text}");
}
