use std::os::unix::fs::{PermissionsExt as _, symlink};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Local, check_name};
use crate::{ErrorKind, Metadata, ObjectName, ObjectStore as _};

fn object(name: &str) -> ObjectName {
    ObjectName {
        container: "backups".to_owned(),
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn a_missing_directory_is_not_made() {
    let root = tempfile::tempdir().unwrap();
    let store = Local::new(root.path().join("not-mounted"));
    let error = store.ensure_container("backups").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(!root.path().join("not-mounted").exists());
}

#[tokio::test]
async fn links_out_of_the_store_are_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let store = Local::new(root.path());
    store.ensure_container("backups").await.unwrap();
    let inside = root.path().join("backups");
    symlink(outside.path().join("secret"), inside.join("link")).unwrap();
    assert!(store.head(&object("link")).await.is_err());
    assert!(store.read(&object("link"), 0..1).await.is_err());
    assert_eq!(store.list("backups", "").await.unwrap(), []);

    symlink(outside.path(), root.path().join("away")).unwrap();
    let error = store.ensure_container("away").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let away = ObjectName {
        container: "away".to_owned(),
        name: "secret".to_owned(),
    };
    assert!(store.head(&away).await.is_err());
    assert!(store.begin(&away).await.is_err());
}

#[tokio::test]
async fn objects_are_for_their_owner_only() {
    let root = tempfile::tempdir().unwrap();
    let store = Local::new(root.path());
    store.ensure_container("backups").await.unwrap();
    let body = Bytes::from_static(b"data");
    let stored = store
        .put(&object("a"), body, &Metadata::new())
        .await
        .unwrap();
    assert!(
        stored.location.ends_with("/backups/a"),
        "{}",
        stored.location
    );
    for path in ["backups/a", "backups/.a.json"] {
        let mode = std::fs::metadata(root.path().join(path))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{path}");
    }
}

#[tokio::test]
async fn what_was_cut_off_is_corrupt() {
    let root = tempfile::tempdir().unwrap();
    let store = Local::new(root.path());
    store.ensure_container("backups").await.unwrap();
    let body = Bytes::from_static(b"data");
    store
        .put(&object("a"), body, &Metadata::new())
        .await
        .unwrap();
    std::fs::write(root.path().join("backups/a"), "dat").unwrap();
    let error = store.head(&object("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_hole_between_parts_is_found() {
    let root = tempfile::tempdir().unwrap();
    let store = Local::new(root.path());
    store.ensure_container("backups").await.unwrap();
    let upload = store.begin(&object("a")).await.unwrap();
    let one = upload
        .put_part(0, 0, Bytes::from_static(b"1"))
        .await
        .unwrap();
    let two = upload
        .put_part(1, 5, Bytes::from_static(b"2"))
        .await
        .unwrap();
    let error = upload
        .finish(vec![one, two], &Metadata::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    upload.abort().await.unwrap();
    assert_eq!(
        std::fs::read_dir(root.path().join("backups"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn files_that_others_put_there_can_be_read() {
    let root = tempfile::tempdir().unwrap();
    let store = Local::new(root.path());
    store.ensure_container("backups").await.unwrap();
    std::fs::write(root.path().join("backups/foreign"), "abc").unwrap();
    let info = store.head(&object("foreign")).await.unwrap();
    assert_eq!(info.checksum, "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(info.size, 3);
}

proptest! {
    #[test]
    fn accepted_names_stay_where_they_are(name in "[./a-z\\x00]{0,12}") {
        if check_name("an object", &name).is_ok() {
            let path = std::path::Path::new("/store/c").join(&name);
            prop_assert_eq!(path.parent(), Some(std::path::Path::new("/store/c")));
            prop_assert!(path.components().all(|part| part.as_os_str() != ".."));
            prop_assert!(!name.starts_with('.'));
        }
    }
}
