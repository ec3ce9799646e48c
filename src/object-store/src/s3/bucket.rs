//! Single requests to S3, repeated where that helps.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::failure::failure;
use crate::checksum::{md5_of, unquoted};
use crate::http::Http;
use crate::retry::{Failure, RetryPolicy, retry};
use crate::sidecar::Sidecar;
use crate::{Error, ErrorKind, ObjectName, Result};

/// What the documents beside objects are called.
const SIDECAR: &str = ".manifest.json";

/// Whether a name is that of such a document.
pub(super) fn is_sidecar(name: &str) -> bool {
    name.ends_with(SIDECAR)
}

/// A client and how to use it.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) client: Client,
    pub(super) http: Http,
    pub(super) retry: RetryPolicy,
    /// Without a slash at the end.
    pub(super) endpoint: String,
}

impl Buckets {
    /// Repeats `attempt` where that helps.
    pub(super) async fn repeat<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, Failure>>,
    {
        retry(&self.retry, attempt).await
    }

    pub(super) async fn head(&self, object: &ObjectName) -> Result<HeadObjectOutput> {
        let what = format!("HEAD {object}");
        self.repeat(|| async {
            let request = self.client.head_object();
            let request = request.bucket(&object.container).key(&object.name);
            request.send().await.map_err(|error| failure(&what, error))
        })
        .await
    }

    /// One GET; `range` as in HTTP.
    pub(super) async fn get(
        &self,
        object: &ObjectName,
        range: Option<String>,
    ) -> std::result::Result<GetObjectOutput, Failure> {
        let what = format!("GET {object}");
        let request = self.client.get_object();
        let request = request.bucket(&object.container).key(&object.name);
        let sent = request.set_range(range).send().await;
        sent.map_err(|error| failure(&what, error))
    }

    /// Sends bytes; the store compares their MD5 before it keeps them. What
    /// comes back is the store's tag for them.
    pub(super) async fn put(&self, object: &ObjectName, body: Bytes) -> Result<String> {
        let what = format!("PUT {object}");
        let md5 = BASE64_STANDARD.encode(md5_of(&body).await?);
        self.repeat(|| async {
            let request = self.client.put_object();
            let request = request.bucket(&object.container).key(&object.name);
            let request = request
                .content_md5(&md5)
                .body(ByteStream::from(body.clone()));
            // The MD5 is signed; hashing all bytes once more would add nothing.
            let sent = request.customize().disable_payload_signing().send().await;
            let stored = sent.map_err(|error| failure(&what, error))?;
            Ok(unquoted(stored.e_tag().unwrap_or_default()).to_owned())
        })
        .await
    }

    /// Removes one object; none is success.
    pub(super) async fn remove(&self, object: &ObjectName) -> Result<()> {
        let what = format!("DELETE {object}");
        let removed = self
            .repeat(|| async {
                let request = self.client.delete_object();
                let request = request.bucket(&object.container).key(&object.name);
                request.send().await.map_err(|error| failure(&what, error))
            })
            .await;
        found(removed).map(|_| ())
    }

    /// What is known of an object, if this agent has stored it and finished.
    pub(super) async fn sidecar(&self, object: &ObjectName) -> Result<Option<Sidecar>> {
        let beside = beside(object);
        let text = self
            .repeat(|| async {
                let answer = self.get(&beside, None).await?;
                let body = answer.body.collect().await;
                body.map(|body| body.into_bytes()).map_err(|error| {
                    let text = format!("GET {beside}: {error}");
                    Error::new(ErrorKind::Connection, text).into()
                })
            })
            .await;
        match found(text)? {
            Some(text) => Sidecar::parse(object, &text).map(Some),
            None => Ok(None),
        }
    }

    /// Writes what is known of an object: from now on it is complete.
    pub(super) async fn put_sidecar(&self, object: &ObjectName, sidecar: &Sidecar) -> Result<()> {
        let beside = beside(object);
        self.put(&beside, sidecar.to_bytes().into())
            .await
            .map(|_| ())
    }

    /// Removes an object and what is known of it; the object goes last, so
    /// that what is half removed can still be seen and removed.
    pub(super) async fn remove_all(&self, object: &ObjectName) -> Result<()> {
        self.remove(&beside(object)).await?;
        self.remove(object).await
    }

    pub(super) fn location(&self, object: &ObjectName) -> String {
        format!("{}/{object}", self.endpoint)
    }
}

fn beside(object: &ObjectName) -> ObjectName {
    ObjectName {
        container: object.container.clone(),
        name: format!("{}{SIDECAR}", object.name),
    }
}

/// Nothing instead of the error for what does not exist.
pub(super) fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The size that a HEAD says; none is no object.
pub(super) fn size(object: &ObjectName, head: &HeadObjectOutput) -> Result<u64> {
    head.content_length()
        .and_then(|size| u64::try_from(size).ok())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unexpected,
                format!("HEAD {object}: the answer has no size"),
            )
        })
}
