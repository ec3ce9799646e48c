//! OpenStack Swift, and what speaks its language (radosgw).

mod account;
mod capabilities;
mod expiring;
mod headers;
mod listing;
mod manifest;
mod remove;
mod upload;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use hyper::Method;
use hyper::header::{CONTENT_RANGE, ETAG, HeaderValue, RANGE};
use tokio::sync::OnceCell;

use self::account::{Account, Call};
use crate::checksum::{hex, is_md5, md5_of, unquoted};
use crate::http::{ClientSettings, header};
use crate::retry::Failure;
use crate::token::TokenSource;
use crate::{
    Error, ErrorKind, Leftover, Listed, Metadata, ObjectInfo, ObjectName, ObjectStore, ReadPart,
    Result, Stored, Upload, names, ranges,
};

/// A Swift account and the way in.
#[derive(Debug, Clone)]
pub struct SwiftAccess {
    /// URL of the account, such as `https://swift/v1/AUTH_<project>`.
    pub storage_url: String,
    /// Tokens that open it.
    pub tokens: Arc<dyn TokenSource>,
    /// How to speak to it.
    pub client: ClientSettings,
}

/// A Swift account.
#[derive(Debug)]
pub struct Swift {
    account: Arc<Account>,
    max_parts: OnceCell<u32>,
}

impl Swift {
    /// The account of `access`; nothing is asked of it yet.
    pub fn new(access: &SwiftAccess) -> Result<Self> {
        let account = Account::new(&access.storage_url, access.tokens.clone(), &access.client)?;
        Ok(Self {
            account: Arc::new(account),
            max_parts: OnceCell::new(),
        })
    }

    /// The headers of an object, and what they say.
    async fn look(&self, object: &ObjectName) -> Result<(hyper::HeaderMap, ObjectInfo)> {
        let call = Call::object(Method::HEAD, object);
        let answer = self.account.ask(&call).await?;
        let info = headers::info(&self.account.what(&call), &answer.headers)?;
        Ok((answer.headers, info))
    }
}

#[async_trait]
impl ObjectStore for Swift {
    async fn ensure_container(&self, container: &str) -> Result<()> {
        let made = self
            .account
            .ask(&Call::container(Method::PUT, container))
            .await;
        let Err(error) = made else {
            return Ok(());
        };
        // Someone who may not make containers may still use this one.
        if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Unexpected)
            && let Ok(_exists) = self
                .account
                .ask(&Call::container(Method::HEAD, container))
                .await
        {
            return Ok(());
        }
        Err(error)
    }

    fn resolve(&self, location: &str) -> Result<ObjectName> {
        names::resolve(location)
    }

    async fn head(&self, object: &ObjectName) -> Result<ObjectInfo> {
        Ok(self.look(object).await?.1)
    }

    async fn list(&self, container: &str, prefix: &str) -> Result<Vec<Listed>> {
        listing::list(&self.account, container, prefix).await
    }

    async fn parts(&self, object: &ObjectName, range_size: u64) -> Result<Vec<ReadPart>> {
        let (headers, info) = self.look(object).await?;
        if headers::is_static_large(&headers) {
            let mut call = Call::object(Method::GET, object);
            // Not `format=raw`: it hides which parts are manifests themselves,
            // and so which checksums are not those of bytes.
            call.query = "multipart-manifest=get".to_owned();
            let answer = self.account.ask(&call).await?;
            if let Some(parts) = manifest::read(&answer.body, info.size) {
                return Ok(parts);
            }
            tracing::warn!(
                "{object}: cannot use its manifest, reading it without checksums of its parts"
            );
            return Ok(ranges::split(object, info.size, range_size, None));
        }
        let plain = is_md5(&info.checksum) && !headers::is_dynamic_large(&headers);
        let md5 = plain.then_some(info.checksum);
        Ok(ranges::split(object, info.size, range_size, md5))
    }

    async fn read(
        &self,
        object: &ObjectName,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else {
            return Ok(stream::empty().boxed());
        };
        let length = range.end - range.start;
        let mut call = Call::object(Method::GET, object);
        let bytes = format!("bytes={}-{last}", range.start);
        let bytes = HeaderValue::from_str(&bytes)
            .map_err(|error| Error::new(ErrorKind::Unexpected, format!("{object}: {error}")))?;
        call.headers.insert(RANGE, bytes);
        let what = format!(
            "{} (bytes {}-{last})",
            self.account.what(&call),
            range.start
        );
        let response = self
            .account
            .open(&call)
            .await
            .map_err(|failure| failure.error)?;
        let announced = header(response.headers(), CONTENT_RANGE.as_str());
        let expected = format!("bytes {}-{last}/", range.start);
        // A store that ignores ranges sends all: fine if all was asked for.
        let whole = response.status() == 200 && range.start == 0;
        if !whole && !announced.starts_with(&expected) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{what}: the store answered with another range: {announced:?}"),
            ));
        }
        let host = self.account.host();
        let http = self.account.http();
        Ok(http.stream(what, host, response.into_body(), length))
    }

    async fn put(&self, object: &ObjectName, body: Bytes, metadata: &Metadata) -> Result<Stored> {
        let md5 = hex(&md5_of(&body).await?);
        let mut call = Call::object(Method::PUT, object);
        call.headers = headers::to_headers(metadata)?;
        call.body = body;
        store(&self.account, &call, &md5).await?;
        self.account
            .confirm(object, call.body.len() as u64, &md5)
            .await
    }

    async fn begin(&self, object: &ObjectName) -> Result<Box<dyn Upload>> {
        let max_parts = *self
            .max_parts
            .get_or_init(|| capabilities::max_parts(&self.account))
            .await;
        Ok(Box::new(upload::SwiftUpload::new(
            self.account.clone(),
            object.clone(),
            max_parts,
        )))
    }

    async fn delete(&self, object: &ObjectName) -> Result<()> {
        remove::object(&self.account, object).await
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        remove::parts(&self.account, &leftover.object).await
    }
}

/// Sends bytes whose MD5 is known: Swift compares it before it stores them,
/// and we compare what it says it stored.
async fn store(account: &Account, call: &Call, md5: &str) -> Result<()> {
    let mut call = call.clone();
    let etag = HeaderValue::from_str(md5)
        .map_err(|error| Error::new(ErrorKind::Unexpected, format!("{md5}: {error}")))?;
    call.headers.insert(ETAG, etag);
    account
        .repeat(|| async {
            let answer = account.once(&call).await?;
            let stored = unquoted(answer.header(ETAG.as_str())).to_owned();
            if stored == md5 {
                return Ok(());
            }
            Err(Failure::from(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{}: Swift stored bytes with the checksum {stored:?}, sent were some with {md5}",
                    account.what(&call)
                ),
            )))
        })
        .await
}

impl Account {
    /// Looks whether the object is there as it was sent.
    async fn confirm(&self, object: &ObjectName, size: u64, checksum: &str) -> Result<Stored> {
        let mut call = Call::object(Method::HEAD, object);
        // A replica that has not heard of it yet must not answer for all.
        call.headers
            .insert("x-newest", HeaderValue::from_static("true"));
        let answer = self.ask(&call).await?;
        let found = headers::info(&self.what(&call), &answer.headers)?;
        if found.size != size || found.checksum != checksum {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{object}: Swift has {} bytes with checksum {}, sent were {size} with {checksum}",
                    found.size, found.checksum
                ),
            ));
        }
        Ok(Stored {
            checksum: found.checksum,
            location: format!("{}/{object}", self.url),
            size,
        })
    }
}
