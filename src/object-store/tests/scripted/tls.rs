//! Which servers are believed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::{
    ClientSettings, ErrorKind, FixedToken, ObjectName, ObjectStore as _, RetryPolicy, Swift,
    SwiftAccess,
};

use crate::server::{Scripted, answer};

fn ca_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls/ca.pem")
}

async fn size(client: ClientSettings) -> object_store::Result<u64> {
    let server = Scripted::start_tls(vec![answer(200, &[("Content-Length", "7")], b"")]).await;
    let store = Swift::new(&SwiftAccess {
        storage_url: format!("{}/v1/A", server.url),
        tokens: Arc::new(FixedToken::new("t")),
        client: ClientSettings {
            retry: RetryPolicy {
                tries: 1,
                ..RetryPolicy::default()
            },
            ..client
        },
    })?;
    let object = ObjectName {
        container: "c".to_owned(),
        name: "o".to_owned(),
    };
    Ok(store.head(&object).await?.size)
}

#[tokio::test]
async fn a_named_authority_is_trusted() {
    let client = ClientSettings {
        ca_file: Some(ca_file()),
        ..ClientSettings::default()
    };
    assert_eq!(size(client).await.unwrap(), 7);
}

#[tokio::test]
async fn anybody_is_trusted_when_that_is_asked_for() {
    let client = ClientSettings {
        insecure: true,
        ..ClientSettings::default()
    };
    assert_eq!(size(client).await.unwrap(), 7);
}

#[tokio::test]
async fn nobody_else_is_trusted() {
    let error = size(ClientSettings::default()).await.unwrap_err();
    // A machine without any authority says so.
    let expected = [ErrorKind::Connection, ErrorKind::Configuration];
    assert!(expected.contains(&error.kind()), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn an_unusable_file_of_authorities_is_named() {
    for path in ["/nowhere/ca.pem", "/dev/null"] {
        let client = ClientSettings {
            ca_file: Some(path.into()),
            ..ClientSettings::default()
        };
        let error = size(client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(path), "{error}");
    }
}
