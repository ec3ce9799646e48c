//! A local directory does what every store must.

#![allow(clippy::unwrap_used)]

mod conformance;

use object_store::Local;

#[tokio::test]
async fn a_directory_is_a_store() {
    let directory = tempfile::tempdir().unwrap();
    conformance::run(&Local::new(directory.path()), "backups").await;
    let left = std::fs::read_dir(directory.path().join("backups")).unwrap();
    assert_eq!(left.count(), 0, "hidden files stay");
}
