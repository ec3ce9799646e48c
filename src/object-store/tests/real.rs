//! The stores against real servers, which environment variables name; a
//! missing one is a failure, not a reason to skip.

#![allow(clippy::unwrap_used)]

mod conformance;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use object_store::{
    ClientSettings, ErrorKind, FixedToken, Metadata, ObjectName, ObjectStore as _, S3, S3Access,
    Swift, SwiftAccess,
};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must name a real store"))
}

/// A container that no other run has.
fn container(prefix: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{prefix}-{}", now.as_nanos())
}

fn swift(token: String) -> Swift {
    Swift::new(&SwiftAccess {
        storage_url: variable("SWIFT_URL"),
        tokens: Arc::new(FixedToken::new(token)),
        client: ClientSettings::default(),
    })
    .unwrap()
}

fn s3_access() -> S3Access {
    S3Access {
        endpoint: variable("S3_ENDPOINT"),
        region: variable("S3_REGION"),
        path_style: true,
        key: variable("S3_KEY"),
        secret: variable("S3_SECRET").into(),
        client: ClientSettings::default(),
    }
}

#[tokio::test]
async fn swift_is_a_store() {
    let store = swift(variable("SWIFT_TOKEN"));
    conformance::run(&store, &container("conformance")).await;
}

#[tokio::test]
async fn swift_refuses_a_token_also_when_a_part_is_large() {
    let container = container("refused");
    let allowed = swift(variable("SWIFT_TOKEN"));
    allowed.ensure_container(&container).await.unwrap();
    let refused = swift("AUTH_tkof-nobody".to_owned());
    let object = ObjectName {
        container,
        name: "part".to_owned(),
    };
    let body = Bytes::from(vec![1; 32 * 1024 * 1024]);
    let error = refused
        .put(&object, body, &Metadata::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(!error.to_string().contains("of-nobody"), "{error}");
}

#[tokio::test]
async fn s3_is_a_store() {
    let store = S3::new(&s3_access()).unwrap();
    conformance::run(&store, &container("conformance-s3")).await;
}

#[tokio::test]
async fn s3_refuses_a_wrong_secret() {
    let store = S3::new(&S3Access {
        secret: "wr0ng".into(),
        ..s3_access()
    })
    .unwrap();
    let error = store.list(&container("refused"), "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(!error.to_string().contains("wr0ng"), "{error}");
}
