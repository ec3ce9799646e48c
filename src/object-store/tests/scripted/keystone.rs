//! Finding Swift, with a Keystone that answers as told.

use std::time::Duration;

use crate::server::{Scripted, Step, answer, status};
use object_store::{
    ClientSettings, EndpointFilter, ErrorKind, Identity, Keystone, KeystoneAccess, Project,
    RetryPolicy, SwiftSearch, TokenSource as _, find_swift,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

fn client() -> ClientSettings {
    ClientSettings {
        retry: RetryPolicy {
            tries: 2,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(1),
        },
        ..ClientSettings::default()
    }
}

fn search() -> SwiftSearch {
    SwiftSearch {
        swift_url: String::new(),
        configured_url: String::new(),
        catalog: Value::Null,
        endpoint: EndpointFilter {
            region: "one".to_owned(),
            ..EndpointFilter::default()
        },
        project_id: "p1".to_owned(),
        auth_url: String::new(),
        token: "users-t0ken".into(),
        client: client(),
    }
}

fn logged_in(token: &str) -> Step {
    let body = json!({"token": {"catalog": [{"type": "object-store", "endpoints": [
        {"region": "one", "interface": "public", "url": "http://swift/v1/AUTH_p1"},
    ]}]}});
    answer(
        201,
        &[("X-Subject-Token", token)],
        body.to_string().as_bytes(),
    )
}

#[tokio::test]
async fn nobody_is_asked_when_it_is_known() {
    let catalog = json!([{"type": "object-store", "endpoints": [
        {"region": "one", "publicURL": "http://catalog/v1/AUTH_p1"},
    ]}]);
    for (swift_url, configured_url, expected) in [
        (
            "http://request/v1/A",
            "http://option/v1/AUTH_",
            "http://request/v1/A",
        ),
        ("", "http://option/v1/AUTH_", "http://option/v1/AUTH_p1"),
        ("", "", "http://catalog/v1/AUTH_p1"),
    ] {
        let found = find_swift(&SwiftSearch {
            swift_url: swift_url.to_owned(),
            configured_url: configured_url.to_owned(),
            catalog: catalog.clone(),
            ..search()
        })
        .await
        .unwrap();
        assert_eq!(found.storage_url, expected);
        let token = found.tokens.token().await.unwrap();
        assert_eq!(token.expose_secret(), "users-t0ken");
    }
}

#[tokio::test]
async fn keystone_is_asked_last() {
    let server = Scripted::start(vec![status(503), logged_in("scoped")]).await;
    let found = find_swift(&SwiftSearch {
        auth_url: format!("{}/v3", server.url),
        ..search()
    })
    .await
    .unwrap();
    assert_eq!(found.storage_url, "http://swift/v1/AUTH_p1");
    assert_eq!(
        found.tokens.token().await.unwrap().expose_secret(),
        "scoped"
    );
    assert_eq!(server.lines(), ["POST /v3/auth/tokens"; 2]);
    let asked: Value = serde_json::from_slice(&server.asked()[1].body).unwrap();
    let expected = json!({"auth": {
        "identity": {"methods": ["token"], "token": {"id": "users-t0ken"}},
        "scope": {"project": {"id": "p1"}},
    }});
    assert_eq!(asked, expected);
    // A token cannot be renewed with itself.
    let renewed = found.tokens.renew(&"scoped".into()).await.unwrap();
    assert!(renewed.is_none());
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let error = find_swift(&search()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("auth_url"), "{error}");

    let server = Scripted::start(vec![logged_in("t")]).await;
    let mut search = SwiftSearch {
        auth_url: server.url.clone(),
        ..search()
    };
    search.endpoint.region = "elsewhere".to_owned();
    let error = find_swift(&search).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("\"elsewhere\""), "{error}");
}

#[tokio::test]
async fn a_refused_token_is_not_shown() {
    let echo = answer(401, &[], b"users-t0ken is expired");
    let server = Scripted::start(vec![echo]).await;
    let error = find_swift(&SwiftSearch {
        auth_url: server.url.clone(),
        ..search()
    })
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(!error.to_string().contains("t0ken"), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_password_renews_tokens_once_for_all() {
    let server = Scripted::start(vec![logged_in("one"), logged_in("two")]).await;
    let keystone = Keystone::new(KeystoneAccess {
        auth_url: server.url.clone(),
        identity: Identity::Password {
            user: "op".to_owned(),
            domain: "Default".to_owned(),
            password: "s3cret".into(),
        },
        project: Project::Name {
            name: "admin".to_owned(),
            domain: "Default".to_owned(),
        },
        client: client(),
    })
    .unwrap();
    let first = keystone.token().await.unwrap();
    assert_eq!(first.expose_secret(), "one");
    // Two requests that were refused at the same time.
    let (a, b) = tokio::join!(keystone.renew(&first), keystone.renew(&first));
    for renewed in [a, b] {
        assert_eq!(renewed.unwrap().unwrap().expose_secret(), "two");
    }
    assert_eq!(keystone.token().await.unwrap().expose_secret(), "two");
    assert_eq!(server.asked().len(), 2);
    let asked: Value = serde_json::from_slice(&server.asked()[0].body).unwrap();
    assert_eq!(
        asked["auth"]["identity"]["password"]["user"],
        json!({"name": "op", "domain": {"name": "Default"}, "password": "s3cret"})
    );
    assert_eq!(
        asked["auth"]["scope"]["project"],
        json!({"name": "admin", "domain": {"name": "Default"}})
    );
    assert!(!format!("{keystone:?}").contains("s3cret"));
}
