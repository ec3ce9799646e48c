//! What every store must do, whoever made it.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use md5::{Digest as _, Md5};
use object_store::{ErrorKind, Leftover, Metadata, ObjectName, ObjectStore, PartReceipt};

/// The smallest part that S3 takes, but for the last one.
const PART: usize = 5 * 1024 * 1024;

/// Runs all of it in a container of its own.
pub(crate) async fn run(store: &dyn ObjectStore, container: &str) {
    store.ensure_container(container).await.unwrap();
    store.ensure_container(container).await.unwrap();
    small_object(store, container).await;
    empty_object(store, container).await;
    large_object(store, container).await;
    one_part(store, container).await;
    unfinished(store, container).await;
    replaced(store, container).await;
    missing(store, container).await;
    listings(store, container).await;
}

fn object(container: &str, name: &str) -> ObjectName {
    ObjectName {
        container: container.to_owned(),
        name: name.to_owned(),
    }
}

fn metadata() -> Metadata {
    Metadata::from([
        ("datastore".to_owned(), "mysql".to_owned()),
        ("datastore_version".to_owned(), "8.4".to_owned()),
        (
            "parent_location".to_owned(),
            "http://swift:8080/v1/AUTH_1/backups/a.xbstream.gz".to_owned(),
        ),
    ])
}

/// Bytes that differ from place to place.
fn pattern(length: usize, seed: u8) -> Bytes {
    (0..length)
        .map(|index| (index as u8).wrapping_mul(31) ^ (index >> 8) as u8 ^ seed)
        .collect()
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Reads an object part by part and compares every checksum there is.
async fn read_all(store: &dyn ObjectStore, object: &ObjectName, range_size: u64) -> Vec<u8> {
    let mut all = Vec::new();
    for part in store.parts(object, range_size).await.unwrap() {
        let bytes = read(store, &part.object, part.range.clone()).await;
        assert_eq!(bytes.len() as u64, part.range.end - part.range.start);
        if let Some(expected) = part.md5 {
            assert_eq!(md5(&bytes), expected);
        }
        all.extend(bytes);
    }
    all
}

async fn read(
    store: &dyn ObjectStore,
    object: &ObjectName,
    range: std::ops::Range<u64>,
) -> Vec<u8> {
    let stream = store.read(object, range).await.unwrap();
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    pieces.concat()
}

async fn small_object(store: &dyn ObjectStore, container: &str) {
    let object = object(container, "small.tar.gz");
    let body = pattern(100_000, 1);
    let stored = store.put(&object, body.clone(), &metadata()).await.unwrap();
    assert_eq!(stored.checksum, md5(&body));
    assert_eq!(stored.size, 100_000);
    assert_eq!(store.resolve(&stored.location).unwrap(), object);

    let info = store.head(&object).await.unwrap();
    assert_eq!(info.checksum, stored.checksum);
    assert_eq!(info.size, 100_000);
    assert_eq!(info.metadata, metadata());

    let whole = store.parts(&object, 1 << 30).await.unwrap();
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].md5.as_ref(), Some(&stored.checksum));
    assert_eq!(read_all(store, &object, 1 << 30).await, body);
    assert_eq!(read_all(store, &object, 33_333).await, body);
    assert_eq!(read(store, &object, 10..20).await, body[10..20]);
    assert_eq!(read(store, &object, 10..10).await, b"");

    store.delete(&object).await.unwrap();
    assert_eq!(store.list(container, "small").await.unwrap(), []);
}

async fn empty_object(store: &dyn ObjectStore, container: &str) {
    let object = object(container, "empty");
    let stored = store.put(&object, Bytes::new(), &metadata()).await.unwrap();
    assert_eq!(stored.checksum, md5(b""));
    assert_eq!(read_all(store, &object, 10).await, b"");
    store.delete(&object).await.unwrap();
}

async fn large_object(store: &dyn ObjectStore, container: &str) {
    let object = object(container, "large.xbstream.zst");
    let bodies = [pattern(PART, 1), pattern(PART, 2), pattern(77_777, 3)];
    let upload = store.begin(&object).await.unwrap();
    assert!(upload.max_parts() >= 3);
    assert_eq!(upload.leftover().object, object);
    // All at once, the last one first.
    let part = PART as u64;
    let (two, one, zero) = tokio::join!(
        upload.put_part(2, 2 * part, bodies[2].clone()),
        upload.put_part(1, part, bodies[1].clone()),
        upload.put_part(0, 0, bodies[0].clone()),
    );
    let receipts: Vec<PartReceipt> = vec![zero.unwrap(), one.unwrap(), two.unwrap()];
    for (receipt, body) in receipts.iter().zip(&bodies) {
        assert_eq!(receipt.md5, md5(body));
        assert_eq!(receipt.size, body.len() as u64);
    }
    assert_eq!(
        store.head(&object).await.unwrap_err().kind(),
        ErrorKind::NotFound,
        "not before it is finished"
    );
    let stored = upload.finish(receipts, &metadata()).await.unwrap();
    let md5s: String = bodies.iter().map(|body| md5(body)).collect();
    assert_eq!(stored.checksum, md5(md5s.as_bytes()));
    assert_eq!(stored.size, 2 * part + 77_777);

    let info = store.head(&object).await.unwrap();
    assert_eq!(info.checksum, stored.checksum);
    assert_eq!(info.size, stored.size);
    assert_eq!(info.metadata, metadata());
    let parts = store.parts(&object, 1000).await.unwrap();
    assert_eq!(parts.len(), 3, "as it was stored");
    assert!(parts.iter().all(|part| part.md5.is_some()));
    assert_eq!(read_all(store, &object, 1000).await, bodies.concat());
    let border = part - 5..part + 5;
    let whole = bodies.concat();
    assert_eq!(
        read(store, &object, border).await,
        whole[PART - 5..PART + 5]
    );

    // What is complete is no leftover.
    store.remove_leftover(&upload.leftover()).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(read_all(store, &object, 1000).await, whole);

    store.delete(&object).await.unwrap();
    assert_eq!(store.list(container, "large").await.unwrap(), []);
}

async fn one_part(store: &dyn ObjectStore, container: &str) {
    let object = object(container, "single.tar");
    let body = pattern(1000, 9);
    let upload = store.begin(&object).await.unwrap();
    let receipt = upload.put_part(0, 0, body.clone()).await.unwrap();
    let stored = upload
        .finish(vec![receipt], &Metadata::new())
        .await
        .unwrap();
    assert_eq!(stored.checksum, md5(md5(&body).as_bytes()));
    assert_eq!(store.head(&object).await.unwrap().checksum, stored.checksum);
    assert_eq!(read_all(store, &object, 100).await, body);
    store.delete(&object).await.unwrap();
}

async fn unfinished(store: &dyn ObjectStore, container: &str) {
    let object = object(container, "gone.tar");
    let neighbour = self::object(container, "gone_0000000x");
    store
        .put(&neighbour, Bytes::from_static(b"n"), &Metadata::new())
        .await
        .unwrap();
    for by_leftover in [false, true] {
        let upload = store.begin(&object).await.unwrap();
        upload.put_part(0, 0, pattern(PART, 1)).await.unwrap();
        if by_leftover {
            // What another process knows of it after a crash.
            let text = serde_json::to_string(&upload.leftover()).unwrap();
            let leftover: Leftover = serde_json::from_str(&text).unwrap();
            store.remove_leftover(&leftover).await.unwrap();
            // Once more: it may crash again.
            store.remove_leftover(&leftover).await.unwrap();
        } else {
            upload.abort().await.unwrap();
        }
        let left = store.list(container, "gone").await.unwrap();
        assert_eq!(left.len(), 1, "only the neighbour stays: {left:?}");
        let late = upload.finish(vec![], &Metadata::new()).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Corrupt);
    }
    store.delete(&neighbour).await.unwrap();
}

async fn replaced(store: &dyn ObjectStore, container: &str) {
    let object = object(container, "twice");
    store
        .put(&object, pattern(10, 1), &metadata())
        .await
        .unwrap();
    let second = pattern(20, 2);
    store
        .put(&object, second.clone(), &Metadata::new())
        .await
        .unwrap();
    let info = store.head(&object).await.unwrap();
    assert_eq!((info.size, info.checksum), (20, md5(&second)));
    assert_eq!(info.metadata, Metadata::new());
    store.delete(&object).await.unwrap();
}

async fn missing(store: &dyn ObjectStore, container: &str) {
    let object = object(container, "never-there");
    assert_eq!(
        store.head(&object).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        store.parts(&object, 10).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let read = store.read(&object, 0..1).await;
    assert_eq!(
        read.err().map(|error| error.kind()),
        Some(ErrorKind::NotFound)
    );
    store.delete(&object).await.unwrap();
}

async fn listings(store: &dyn ObjectStore, container: &str) {
    for name in ["l-b", "l-a", "m"] {
        store
            .put(&object(container, name), pattern(3, 0), &Metadata::new())
            .await
            .unwrap();
    }
    let listed = store.list(container, "l-").await.unwrap();
    let names: Vec<(&str, u64)> = listed
        .iter()
        .map(|listed| (listed.name.as_str(), listed.size))
        .collect();
    assert_eq!(names, [("l-a", 3), ("l-b", 3)]);
    for name in ["l-b", "l-a", "m"] {
        store.delete(&object(container, name)).await.unwrap();
    }
    assert_eq!(store.list(container, "").await.unwrap(), []);
}
