//! The tenant's log.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::Duration;

use datastore::{Datastore as _, ErrorKind};

use crate::harness::{Fixture, user};
use crate::{ds, kind_of};

/// Waits until the collector has written `words`.
async fn wait_for(path: &PathBuf, words: &str) -> String {
    for _ in 0..100 {
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.contains(words) {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{words} is not in {}", path.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_begins_with_a_restart_and_then_is_switched() {
    let fixture = Fixture::start().await;
    let path = ds(&fixture).logs()[0].path.clone();
    assert!(!ds(&fixture).log_enabled("general").await.unwrap());
    assert!(ds(&fixture).set_log("general", true).await.unwrap());
    assert!(ds(&fixture).log_enabled("general").await.unwrap());
    fixture.sql("postgres", &["SELECT 'too early'"]).await;

    let site = fixture.stop().await;
    let mut process = site.spawn();
    site.wait_healthy(&mut process).await;
    site.sql("postgres", &["SELECT 'während'"]).await;
    site.datastore
        .create_users(&[user("logged", "s3cret-canary", &[])])
        .await
        .unwrap();
    site.sql("postgres", &["SELECT 'last'"]).await;
    let text = wait_for(&path, "'last'").await;
    assert!(
        text.contains("'während'") && !text.contains("too early"),
        "{text}"
    );
    assert!(
        !text.contains("s3cret-canary") && !text.contains("logged"),
        "{text}"
    );

    // Off and on without a restart.
    assert!(!site.datastore.set_log("general", false).await.unwrap());
    assert!(!site.datastore.log_enabled("general").await.unwrap());
    site.sql("postgres", &["SELECT 'hidden'"]).await;
    assert!(!site.datastore.set_log("general", true).await.unwrap());
    site.sql("postgres", &["SELECT 'again'"]).await;
    assert!(!wait_for(&path, "'again'").await.contains("'hidden'"));

    // Too large: begun anew, under the same name.
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(257 << 20).unwrap();
    site.datastore.housekeeping().await.unwrap();
    site.sql("postgres", &["SELECT 'in the new file'"]).await;
    wait_for(&path, "'in the new file'").await;
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    let refused = site.datastore.set_log("nonsense", true).await;
    assert_eq!(kind_of(refused), ErrorKind::BadRequest);
    process.stop().await;
}
