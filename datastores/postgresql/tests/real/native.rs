//! Increments of changed blocks.

use postgresql::Increments;

use crate::chain::{Chain, names_in};
use crate::harness::{Fixture, Site};

const COUNT: &str = "SELECT count(*) || ' ' || sum(n) FROM t";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_blocks_come_back() {
    let site = Site::with(|settings| settings.increments = Increments::Blocks);
    let request = site.request();
    let source = Fixture::prepare(site, &request).await;
    source
        .sql(
            "postgres",
            &["CREATE TABLE t AS SELECT n, repeat('x', 500) AS v FROM generate_series(1, 50000) n"],
        )
        .await;
    // The first look at new rows would change their blocks.
    source.sql("postgres", &["VACUUM FREEZE t"]).await;
    let version = source.datastore.installed_version(None).await.unwrap();
    let blocks = version.major >= 17;
    let mut chain = Chain::default();
    let mut counts = Vec::new();
    for number in 0..3 {
        let metadata = chain.back_up(&source.datastore).await;
        let kind = metadata.get("increment").map(String::as_str);
        assert_eq!(kind, (blocks && number > 0).then_some("blocks"), "{number}");
        counts.push(source.value(COUNT).await.unwrap());
        let change = format!("INSERT INTO t VALUES ({number}, 'y'), (7, 'z')");
        source
            .sql("postgres", &[&change, "DELETE FROM t WHERE n = 100"])
            .await;
    }
    if blocks {
        assert!(chain.bytes[1].len() + (20 << 20) < chain.bytes[0].len());
        // Without its parent's manifest, WAL is what is left.
        let manifests = source
            .settings()
            .layout
            .mount_point
            .join("backup-manifests");
        assert_eq!(names_in(&manifests), ["backup-0", "backup-1", "backup-2"]);
        std::fs::remove_dir_all(&manifests).unwrap();
    }
    let last = chain.back_up(&source.datastore).await;
    assert_eq!(last.get("increment"), None);
    counts.push(source.value(COUNT).await.unwrap());
    for (count, expected) in (1..).zip(&counts) {
        let (restored, _) = chain.first(count).restore().await;
        assert_eq!(
            restored.value(COUNT).await.as_ref(),
            Some(expected),
            "{count} links"
        );
        let names = names_in(&restored.settings().layout.mount_point);
        assert_eq!(names, ["data"], "{count} links");
        restored.stop().await;
    }
    if blocks {
        // Each link needs the one before it.
        let mut hole = chain.first(3);
        hole.links.remove(1);
        hole.bytes.remove(1);
        let text = hole.refused(&Site::new()).await;
        assert!(text.contains("cannot be combined"), "{text}");
    }
    source.stop().await;
}
