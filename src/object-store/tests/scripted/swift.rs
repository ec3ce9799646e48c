//! A Swift that fails in every way there is: which error comes out, after how
//! many requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::server::{Scripted, Step, answer, owned, status};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{
    ClientSettings, ErrorKind, FixedToken, Metadata, ObjectName, ObjectStore as _, PartReceipt,
    RetryPolicy, Swift, SwiftAccess, TokenSource,
};
use secrecy::{ExposeSecret as _, SecretString};

const ABC: &str = "900150983cd24fb0d6963f7d28e17f72";
const OTHER: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn settings() -> ClientSettings {
    ClientSettings {
        stall_timeout: Duration::from_millis(300),
        retry: RetryPolicy {
            tries: 3,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(2),
        },
        ..ClientSettings::default()
    }
}

fn store_with(server: &Scripted, tokens: Arc<dyn TokenSource>) -> Swift {
    Swift::new(&SwiftAccess {
        storage_url: format!("{}/v1/A", server.url),
        tokens,
        client: settings(),
    })
    .unwrap()
}

fn store(server: &Scripted) -> Swift {
    store_with(server, Arc::new(FixedToken::new("t0ken")))
}

fn object() -> ObjectName {
    ObjectName {
        container: "c".to_owned(),
        name: "o.tar".to_owned(),
    }
}

fn stored(etag: &str) -> Step {
    answer(201, &[("ETag", etag)], b"")
}

fn seen(etag: &str, length: &str) -> Step {
    answer(200, &[("ETag", etag), ("Content-Length", length)], b"")
}

async fn put(server: &Scripted) -> object_store::Result<object_store::Stored> {
    let body = Bytes::from_static(b"abc");
    store(server).put(&object(), body, &Metadata::new()).await
}

/// Puts three bytes against a server that only knows `steps`: the kind of the
/// error and the number of requests.
async fn failed_put(steps: Vec<Step>) -> (ErrorKind, usize) {
    let server = Scripted::start(steps).await;
    let error = put(&server).await.unwrap_err();
    assert!(!error.to_string().contains("t0ken"), "{error}");
    assert!(error.to_string().contains("c/o.tar"), "{error}");
    (error.kind(), server.asked().len())
}

#[tokio::test]
async fn a_store_that_recovers_gets_the_same_bytes_again() {
    let server = Scripted::start(vec![
        status(503),
        Step::CutRequest,
        stored(ABC),
        seen(ABC, "3"),
    ])
    .await;
    let stored = put(&server).await.unwrap();
    assert_eq!(stored.checksum, ABC);
    assert_eq!(stored.location, format!("{}/v1/A/c/o.tar", server.url));
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[2].line, "PUT /v1/A/c/o.tar");
    assert_eq!(asked[2].body, b"abc");
    assert_eq!(asked[2].header("etag"), ABC);
    assert_eq!(asked[2].header("x-auth-token"), "t0ken");
    assert!(
        asked[2]
            .header("user-agent")
            .starts_with("trove-guestagent/")
    );
}

#[tokio::test]
async fn what_may_pass_is_tried_three_times() {
    for (step, kind) in [
        (status(500), ErrorKind::Unavailable),
        (status(503), ErrorKind::Unavailable),
        (status(408), ErrorKind::Connection),
        (status(499), ErrorKind::Connection),
        (status(422), ErrorKind::Corrupt),
        (stored(OTHER), ErrorKind::Corrupt),
        (Step::CutRequest, ErrorKind::Connection),
        (Step::Stall, ErrorKind::Connection),
    ] {
        let result = failed_put(vec![step.clone(); 9]).await;
        assert_eq!(result, (kind, 3), "{step:?}");
    }
}

#[tokio::test]
async fn what_cannot_pass_is_tried_once() {
    for (code, kind) in [
        (400, ErrorKind::Unexpected),
        (401, ErrorKind::Unauthorized),
        (403, ErrorKind::Forbidden),
        (404, ErrorKind::NotFound),
        (413, ErrorKind::Full),
        (507, ErrorKind::Full),
    ] {
        assert_eq!(failed_put(vec![status(code); 9]).await, (kind, 1), "{code}");
    }
}

#[tokio::test]
async fn a_wish_to_slow_down_is_honoured() {
    let slow = answer(429, &[("Retry-After", "1")], b"");
    let server = Scripted::start(vec![slow.clone(), stored(ABC), seen(ABC, "3")]).await;
    let begun = Instant::now();
    put(&server).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let now = answer(429, &[("Retry-After", "0")], b"");
    assert_eq!(failed_put(vec![now; 9]).await, (ErrorKind::Throttled, 3));
}

#[tokio::test]
async fn what_is_there_afterwards_is_compared() {
    for look in [seen(OTHER, "3"), seen(ABC, "2")] {
        let result = failed_put(vec![stored(ABC), look]).await;
        assert_eq!(result, (ErrorKind::Corrupt, 2));
    }
}

#[tokio::test]
async fn a_large_body_that_nobody_takes_is_a_stall() {
    let server = Scripted::start(vec![Step::StallBody; 9]).await;
    let upload = store(&server).begin(&object()).await;
    // The request for the capabilities stands still first, and is no error.
    let upload = upload.unwrap();
    assert_eq!(upload.max_parts(), 1000);
    let body = Bytes::from(vec![1; 32 * 1024 * 1024]);
    let error = upload.put_part(0, 0, body).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.to_string().contains("stood still"), "{error}");
    assert_eq!(server.asked().len(), 1 + 3);
}

#[tokio::test]
async fn nobody_listening_is_a_connection_error() {
    let server = Scripted::start(vec![]).await;
    let url = server.url.clone();
    drop(server);
    let store = Swift::new(&SwiftAccess {
        storage_url: url.clone(),
        tokens: Arc::new(FixedToken::new("t")),
        client: settings(),
    })
    .unwrap();
    let error = store.head(&object()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    let host = url.strip_prefix("http://").unwrap();
    assert!(error.to_string().contains(host), "{error}");
}

async fn read(step: Step) -> object_store::Result<Vec<u8>> {
    let server = Scripted::start(vec![step]).await;
    let result = async {
        let stream = store(&server).read(&object(), 2..12).await?;
        let pieces: Vec<Bytes> = stream.try_collect().await?;
        Ok(pieces.concat())
    }
    .await;
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "reading is not repeated inside");
    assert_eq!(asked[0].header("range"), "bytes=2-11");
    result
}

#[tokio::test]
async fn a_read_that_is_cut_or_wrong_is_an_error() {
    let range = ("Content-Range", "bytes 2-11/20");
    let good = answer(206, &[range], b"0123456789");
    assert_eq!(read(good).await.unwrap(), b"0123456789");
    for (step, kind) in [
        (
            Step::CutAnswer {
                headers: owned(&[range]),
                announced: 10,
                body: b"01234".to_vec(),
            },
            ErrorKind::Connection,
        ),
        // It says that five bytes are all.
        (answer(206, &[range], b"01234"), ErrorKind::Corrupt),
        (answer(206, &[range], b"0123456789ab"), ErrorKind::Corrupt),
        // Another range, or all of it.
        (
            answer(206, &[("Content-Range", "bytes 0-9/20")], b"0123456789"),
            ErrorKind::Corrupt,
        ),
        (answer(200, &[], b"0123456789"), ErrorKind::Corrupt),
        (status(416), ErrorKind::Corrupt),
        (status(401), ErrorKind::Unauthorized),
        (status(404), ErrorKind::NotFound),
        (status(503), ErrorKind::Unavailable),
        (Step::Stall, ErrorKind::Connection),
    ] {
        let error = read(step.clone()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{step:?}: {error}");
    }
}

#[tokio::test]
async fn an_expired_token_is_told_from_a_wrong_one() {
    let server = Scripted::start(vec![status(401), seen(ABC, "3"), status(401)]).await;
    let store = store(&server);
    let error = store.head(&object()).await.unwrap_err();
    assert!(error.to_string().contains("does not accept"), "{error}");
    store.head(&object()).await.unwrap();
    let error = store.head(&object()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.to_string().contains("no longer accepts"), "{error}");
    assert!(error.to_string().contains("new token"), "{error}");
}

/// Gives one other token.
#[derive(Debug)]
struct TwoTokens;

#[async_trait]
impl TokenSource for TwoTokens {
    async fn token(&self) -> object_store::Result<SecretString> {
        Ok("first".into())
    }

    async fn renew(&self, rejected: &SecretString) -> object_store::Result<Option<SecretString>> {
        assert_eq!(rejected.expose_secret(), "first");
        Ok(Some("second".into()))
    }
}

#[tokio::test]
async fn a_source_of_tokens_is_asked_once() {
    for (last, kind) in [
        (seen(ABC, "3"), None),
        (status(401), Some(ErrorKind::Unauthorized)),
    ] {
        let server = Scripted::start(vec![status(401), last]).await;
        let result = store_with(&server, Arc::new(TwoTokens))
            .head(&object())
            .await;
        assert_eq!(result.err().map(|error| error.kind()), kind);
        let tokens: Vec<String> = server
            .asked()
            .iter()
            .map(|asked| asked.header("x-auth-token").to_owned())
            .collect();
        assert_eq!(tokens, ["first", "second"]);
    }
}

#[tokio::test]
async fn a_wrong_manifest_is_taken_back() {
    let server = Scripted::start(vec![
        answer(200, &[], br#"{"slo": {"max_manifest_segments": 7}}"#),
        stored(ABC),
        status(201),
        seen("\"wrong\"", "3"),
        status(204),
        // The abort looks for a complete object and for parts.
        status(404),
        answer(
            200,
            &[],
            br#"[{"name": "o_00000000", "bytes": 3}, {"name": "o_1", "bytes": 1}]"#,
        ),
        answer(200, &[], b"[]"),
        status(204),
    ])
    .await;
    let upload = store(&server).begin(&object()).await.unwrap();
    assert_eq!(upload.max_parts(), 7);
    let body = Bytes::from_static(b"abc");
    let receipt = upload.put_part(0, 0, body).await.unwrap();
    let error = upload
        .finish(vec![receipt], &Metadata::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    upload.abort().await.unwrap();
    assert_eq!(
        server.lines(),
        [
            "GET /info",
            "PUT /v1/A/c/o_00000000",
            "PUT /v1/A/c/o.tar?multipart-manifest=put",
            "HEAD /v1/A/c/o.tar",
            "DELETE /v1/A/c/o.tar",
            "HEAD /v1/A/c/o.tar",
            "GET /v1/A/c?format=json&limit=10000&prefix=o_",
            "GET /v1/A/c?format=json&limit=10000&prefix=o_&marker=o_1",
            "DELETE /v1/A/c/o_00000000",
        ]
    );
    let manifest = &server.asked()[2].body;
    let expected = format!(r#"[{{"path":"c/o_00000000","etag":"{ABC}","size_bytes":3}}]"#);
    assert_eq!(String::from_utf8_lossy(manifest), expected);
}

#[tokio::test]
async fn an_incomplete_list_of_parts_is_not_joined() {
    let server = Scripted::start(vec![status(404)]).await;
    let upload = store(&server).begin(&object()).await.unwrap();
    let late = PartReceipt {
        number: 1,
        size: 3,
        md5: ABC.to_owned(),
        tag: String::new(),
    };
    let error = upload
        .finish(vec![late], &Metadata::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(server.lines(), ["GET /info"]);
}

#[tokio::test]
async fn a_removal_that_the_body_says_failed_has_failed() {
    let large = answer(
        200,
        &[("X-Static-Large-Object", "True"), ("Content-Length", "3")],
        b"",
    );
    let refused = br#"{"Errors": [["/c/o_00000000", "403 Forbidden"]],
                       "Response Status": "400 Bad Request", "Response Body": ""}"#;
    let server = Scripted::start(vec![large, answer(200, &[], refused)]).await;
    let error = store(&server).delete(&object()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(
        server.lines()[1],
        "DELETE /v1/A/c/o.tar?multipart-manifest=delete"
    );
}

#[tokio::test]
async fn a_container_that_is_there_may_be_one_we_could_not_make() {
    let server = Scripted::start(vec![status(403), status(204)]).await;
    store(&server).ensure_container("c").await.unwrap();
    let server = Scripted::start(vec![status(403), status(403)]).await;
    let error = store(&server).ensure_container("c").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn objects_that_expire_say_when() {
    let hour = std::time::Duration::from_secs(3600);
    let server = Scripted::start(vec![stored(ABC), seen(ABC, "3")]).await;
    let metadata = Metadata::from([("lines".to_owned(), "7".to_owned())]);
    let body = Bytes::from_static(b"abc");
    store(&server)
        .put_expiring(&object(), body, &metadata, hour)
        .await
        .unwrap();
    let put = &server.asked()[0];
    assert_eq!(put.line, "PUT /v1/A/c/o.tar");
    assert_eq!(put.header("x-delete-after"), "3600");
    assert_eq!(put.header("x-object-meta-lines"), "7");
}

#[tokio::test]
async fn a_container_is_made_with_a_lifetime_only_when_it_is_missing() {
    let hour = std::time::Duration::from_secs(3600);
    let server = Scripted::start(vec![status(204)]).await;
    let made = store(&server).ensure_expiring_container("c", hour).await;
    made.unwrap();
    assert_eq!(server.lines(), ["HEAD /v1/A/c"]);
    let server = Scripted::start(vec![status(404), status(201)]).await;
    let made = store(&server).ensure_expiring_container("c", hour).await;
    made.unwrap();
    assert_eq!(server.lines(), ["HEAD /v1/A/c", "PUT /v1/A/c"]);
    assert_eq!(server.asked()[1].header("x-delete-after"), "3600");
    let server = Scripted::start(vec![status(403)]).await;
    let made = store(&server).ensure_expiring_container("c", hour).await;
    assert_eq!(made.unwrap_err().kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn a_small_object_is_read_as_a_whole() {
    let server = Scripted::start(vec![answer(200, &[], b"{}"), status(404)]).await;
    assert_eq!(store(&server).get(&object()).await.unwrap(), "{}");
    let error = store(&server).get(&object()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
