//! Backups that another program made of another server; see the README beside
//! the files.

use std::io::Read;

use datastore::{Archive, BackupMetadata};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::chain::{Chain, checksums};
use crate::harness::{Product, Site};

/// Tables and their sums on the server the backups were made of.
const SUMS: [&[(&str, u64)]; 3] = [
    &[("v.t", 4_098_474_945)],
    &[("v.t", 2_562_386_319), ("v.u", 2_742_102_162)],
    &[("v.t", 3_860_985_447), ("v.u", 4_158_058_499)],
];
const NAMES: [&str; 3] = ["full", "increment-1", "increment-2"];

fn chain() -> Chain {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut chain = Chain::default();
    for name in NAMES {
        let file = std::fs::File::open(dir.join(format!("{name}.xbstream.gz"))).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(file)
            .read_to_end(&mut bytes)
            .unwrap();
        let metadata = BackupMetadata::from([("lsn".to_owned(), "44776".to_owned())]);
        chain.push(Archive::Xbstream, bytes, metadata);
    }
    chain
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_of_others_come_back() {
    for (count, sums) in (1..).zip(SUMS) {
        let (restored, found) = chain().first(count).restore(Product::Mariadb).await;
        assert!(!found.root_enabled);
        let mut admin = restored.admin().await;
        let tables: Vec<_> = sums.iter().map(|(table, _)| *table).collect();
        let found = checksums(&mut admin, &tables.join(", ")).await;
        let found: Vec<_> = found
            .iter()
            .map(|(table, sum)| (table.as_str(), sum.unwrap()))
            .collect();
        assert_eq!(found, sums, "{count} links");
        admin.disconnect().await.unwrap();
        restored.stop().await;
    }
}

/// Whatever is missing from a stream, the restore fails and says where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_backups_are_refused() {
    let site = Site::new(Product::Mariadb);
    let refused = async |chain: &Chain| {
        let error = site.datastore.unpack_restore(&site.request(), chain).await;
        let text = error.unwrap_err().to_string();
        assert!(
            site.settings()
                .layout
                .mount_point
                .join(".restoring")
                .exists()
        );
        assert!(text.starts_with("Cannot restore link-"), "{text}");
        text
    };
    for cut in [10, 1000, 4 << 20] {
        let mut short = chain().first(1);
        short.bytes[0].truncate(cut);
        refused(&short).await;
    }
    // Nothing at all.
    let mut empty = chain().first(1);
    empty.bytes[0].clear();
    let text = refused(&empty).await;
    assert!(text.contains("incomplete"), "{text}");
    // Complete, but its reader says that it is wrong.
    let mut broken = chain().first(2);
    broken.breaks = true;
    let text = refused(&broken).await;
    assert!(
        text.contains("link-1") && text.contains("checksum differs"),
        "{text}"
    );
    // An increment in the place of the full backup, and the other way round.
    let mut turned = chain().first(2);
    turned.bytes.swap(0, 1);
    let text = refused(&turned).await;
    assert!(text.contains("does not belong"), "{text}");
    // No xbstream at all.
    let mut noise = chain().first(1);
    noise.bytes[0] = b"<html>not found</html>".repeat(1000);
    let text = refused(&noise).await;
    assert!(text.contains("no xbstream"), "{text}");
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

/// The unpacking program says why it stops reading; the error tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_volume_is_told() {
    assert!(
        nix::unistd::getuid().is_root(),
        "run as root: a volume is mounted"
    );
    let site = Site::new(Product::Mariadb);
    let volume = SmallVolume::mount(&site.settings().layout.mount_point);
    let chain = chain();
    let error = site.datastore.unpack_restore(&site.request(), &chain).await;
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("link-0") && text.contains("No space left"),
        "{text}"
    );
    assert!(site.datastore.start().await.is_err());
    drop(volume);
}
