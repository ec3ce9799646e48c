//! An S3 that fails: which error comes out, after how many requests.

use std::time::Duration;

use crate::server::{Scripted, Step, answer, owned, status};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{
    ClientSettings, ErrorKind, Metadata, ObjectName, ObjectStore as _, RetryPolicy, S3, S3Access,
};

const ABC: &str = "900150983cd24fb0d6963f7d28e17f72";

fn store(server: &Scripted) -> S3 {
    S3::new(&S3Access {
        endpoint: server.url.clone(),
        region: "us-east-1".to_owned(),
        path_style: true,
        key: "key".to_owned(),
        secret: "s3cret".into(),
        client: ClientSettings {
            stall_timeout: Duration::from_millis(300),
            retry: RetryPolicy {
                tries: 3,
                first_pause: Duration::from_millis(1),
                longest_pause: Duration::from_millis(2),
            },
            ..ClientSettings::default()
        },
    })
    .unwrap()
}

fn object() -> ObjectName {
    ObjectName {
        container: "c".to_owned(),
        name: "o.tar".to_owned(),
    }
}

fn refused(status: u16, code: &str) -> Step {
    let body = format!("<Error><Code>{code}</Code><Message>why</Message></Error>");
    answer(
        status,
        &[("Content-Type", "application/xml")],
        body.as_bytes(),
    )
}

fn stored() -> Step {
    answer(200, &[("ETag", &format!("\"{ABC}\""))], b"")
}

fn seen(length: &str) -> Step {
    let etag = format!("\"{ABC}\"");
    answer(200, &[("ETag", &etag), ("Content-Length", length)], b"")
}

async fn put(server: &Scripted) -> object_store::Result<object_store::Stored> {
    let body = Bytes::from_static(b"abc");
    store(server).put(&object(), body, &Metadata::new()).await
}

#[tokio::test]
async fn a_store_that_recovers_gets_the_same_bytes_again() {
    let server = Scripted::start(vec![
        refused(503, "SlowDown"),
        Step::CutRequest,
        stored(),
        seen("3"),
        stored(),
    ])
    .await;
    let stored = put(&server).await.unwrap();
    assert_eq!(stored.checksum, ABC);
    assert_eq!(stored.location, format!("{}/c/o.tar", server.url));
    let asked = server.asked();
    assert_eq!(asked[2].body, b"abc");
    // MD5 of "abc", in base64: the store compares it.
    assert_eq!(asked[2].header("content-md5"), "kAFQmDzST7DWlj99KOF/cg==");
    assert_eq!(asked[4].line, "PUT /c/o.tar.manifest.json?x-id=PutObject");
    assert!(
        asked[2]
            .header("user-agent")
            .starts_with("trove-guestagent/")
    );
}

#[tokio::test]
async fn failures_have_their_kinds_and_are_repeated_where_it_helps() {
    for (step, kind, requests) in [
        (refused(503, "SlowDown"), ErrorKind::Throttled, 3),
        (refused(500, "InternalError"), ErrorKind::Unavailable, 3),
        (refused(400, "BadDigest"), ErrorKind::Corrupt, 3),
        (Step::CutRequest, ErrorKind::Connection, 3),
        (Step::Stall, ErrorKind::Connection, 3),
        (
            refused(403, "InvalidAccessKeyId"),
            ErrorKind::Unauthorized,
            1,
        ),
        (refused(403, "AccessDenied"), ErrorKind::Forbidden, 1),
        (refused(403, "QuotaExceeded"), ErrorKind::Full, 1),
        (refused(404, "NoSuchBucket"), ErrorKind::NotFound, 1),
        (status(507), ErrorKind::Full, 1),
    ] {
        let server = Scripted::start(vec![step.clone(); 9]).await;
        let error = put(&server).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{step:?}: {error}");
        assert_eq!(server.asked().len(), requests, "{step:?}");
        assert!(error.to_string().contains("c/o.tar"), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn what_is_there_afterwards_is_compared() {
    let server = Scripted::start(vec![stored(), seen("2")]).await;
    let error = put(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(server.asked().len(), 2, "nothing is written beside it");
}

#[tokio::test]
async fn a_read_that_is_cut_is_an_error() {
    let range = ("Content-Range", "bytes 2-11/20");
    for (step, kind) in [
        (
            Step::CutAnswer {
                headers: owned(&[range]),
                announced: 10,
                body: b"01234".to_vec(),
            },
            ErrorKind::Connection,
        ),
        (answer(206, &[range], b"01234"), ErrorKind::Corrupt),
        (answer(200, &[], b"0123456789"), ErrorKind::Corrupt),
        (refused(404, "NoSuchKey"), ErrorKind::NotFound),
    ] {
        let server = Scripted::start(vec![step.clone()]).await;
        let result: object_store::Result<Vec<Bytes>> = async {
            store(&server)
                .read(&object(), 2..12)
                .await?
                .try_collect()
                .await
        }
        .await;
        assert_eq!(result.unwrap_err().kind(), kind, "{step:?}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_lost_answer_to_the_joining_is_no_failure() {
    let begun = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId>\
                  </InitiateMultipartUploadResult>";
    let server = Scripted::start(vec![
        answer(200, &[], begun),
        stored(),
        // Joined, but nobody heard of it.
        Step::CutAnswer {
            headers: vec![],
            announced: 100,
            body: vec![],
        },
        refused(404, "NoSuchUpload"),
        seen("3"),
        seen("3"),
        stored(),
    ])
    .await;
    let upload = store(&server).begin(&object()).await.unwrap();
    assert_eq!(upload.leftover().upload_id, "u1");
    let part = upload
        .put_part(0, 0, Bytes::from_static(b"abc"))
        .await
        .unwrap();
    let stored = upload.finish(vec![part], &Metadata::new()).await.unwrap();
    assert_eq!(stored.size, 3);
    assert_eq!(server.asked().len(), 7);
}
