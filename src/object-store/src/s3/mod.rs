//! S3, and what speaks its language.
//!
//! S3 takes metadata when an upload begins, before they are known, and its
//! ETags are not the checksums we promise. Both are in a small document
//! `<name>.manifest.json`, written last: an object of ours without one is not
//! complete.

mod bucket;
mod connector;
mod failure;
mod upload;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, IdentityCache, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use hyper::Uri;
use secrecy::{ExposeSecret as _, SecretString};

use self::bucket::{Buckets, found, is_sidecar, size};
use self::failure::failure;
use crate::checksum::{hex, is_md5, md5_of, unquoted};
use crate::http::{ClientSettings, Http, host};
use crate::sidecar::{Sidecar, corrupt};
use crate::{
    Error, ErrorKind, Leftover, Listed, Metadata, ObjectInfo, ObjectName, ObjectStore, ReadPart,
    Result, Stored, Upload, names, ranges,
};

/// The region that a bucket is in when none is said.
const USUAL_REGION: &str = "us-east-1";

/// An S3 endpoint and the way in.
#[derive(Debug, Clone)]
pub struct S3Access {
    /// URL, such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// `<endpoint>/<bucket>/` instead of `<bucket>.<endpoint>/`.
    pub path_style: bool,
    /// Access key id.
    pub key: String,
    /// Secret access key.
    pub secret: SecretString,
    /// How to speak to it.
    pub client: ClientSettings,
}

/// Buckets of an S3 endpoint.
#[derive(Debug)]
pub struct S3 {
    buckets: Arc<Buckets>,
    region: String,
}

impl S3 {
    /// The endpoint of `access`; nothing is asked of it yet.
    pub fn new(access: &S3Access) -> Result<Self> {
        let endpoint = access.endpoint.trim_end_matches('/').to_owned();
        let usable = endpoint.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
        });
        if !usable || access.region.is_empty() {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("S3 needs an endpoint http(s)://host and a region, got {endpoint:?}"),
            ));
        }
        let http = Http::new(&access.client)?;
        let secret = access.secret.expose_secret();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(access.region.clone()))
            .endpoint_url(&endpoint)
            .force_path_style(access.path_style)
            .credentials_provider(Credentials::new(
                &access.key,
                secret,
                None,
                None,
                "trove-guestagent",
            ))
            .identity_cache(IdentityCache::no_cache())
            // Ours are in the HTTP client and in `retry`.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Content-MD5 is what every store knows.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .http_client(connector::Connector(http.clone()))
            .build();
        Ok(Self {
            buckets: Arc::new(Buckets {
                client: aws_sdk_s3::Client::from_conf(config),
                http,
                retry: access.client.retry,
                endpoint,
            }),
            region: access.region.clone(),
        })
    }

    /// What is known of an object. One that somebody else put there has no
    /// document beside it, and no parts that could be verified.
    async fn look(&self, object: &ObjectName) -> Result<Sidecar> {
        let head = self.buckets.head(object).await?;
        let size = size(object, &head)?;
        let tag = unquoted(head.e_tag().unwrap_or_default()).to_owned();
        if let Some(sidecar) = self.buckets.sidecar(object).await? {
            if sidecar.size == size && sidecar.tag == tag {
                return Ok(sidecar);
            }
            let text = "it is not what its manifest says: it was replaced or cut off";
            return Err(corrupt(object, text));
        }
        let metadata = head
            .metadata()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.to_ascii_lowercase().replace('-', "_"), value.clone()))
            .collect();
        Ok(Sidecar::whole(size, tag.clone(), metadata, tag))
    }
}

#[async_trait]
impl ObjectStore for S3 {
    async fn ensure_container(&self, container: &str) -> Result<()> {
        let client = &self.buckets.client;
        let what = format!("HEAD {container}");
        let there = self.buckets.repeat(|| async {
            let sent = client.head_bucket().bucket(container).send().await;
            sent.map_err(|error| failure(&what, error))
        });
        if found(there.await)?.is_some() {
            return Ok(());
        }
        let place = (self.region != USUAL_REGION).then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(self.region.as_str()))
                .build()
        });
        let what = format!("PUT {container}");
        let made = self.buckets.repeat(|| async {
            let request = client.create_bucket().bucket(container);
            let request = request.set_create_bucket_configuration(place.clone());
            match request.send().await {
                Ok(_) => Ok(()),
                // Somebody was faster, or our first try did arrive.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_bucket_already_owned_by_you()) =>
                {
                    Ok(())
                }
                Err(error) => Err(failure(&what, error)),
            }
        });
        made.await
    }

    fn resolve(&self, location: &str) -> Result<ObjectName> {
        names::resolve(location)
    }

    async fn head(&self, object: &ObjectName) -> Result<ObjectInfo> {
        self.look(object).await.map(Sidecar::info)
    }

    async fn list(&self, container: &str, prefix: &str) -> Result<Vec<Listed>> {
        let what = format!("GET {container}");
        let mut listed = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = self.buckets.repeat(|| async {
                let request = self.buckets.client.list_objects_v2();
                let request = request.bucket(container).prefix(prefix);
                let sent = request.set_continuation_token(next.clone()).send().await;
                sent.map_err(|error| failure(&what, error))
            });
            let page = page.await?;
            listed.extend(page.contents().iter().filter_map(|entry| {
                let name = entry.key().filter(|name| !is_sidecar(name))?.to_owned();
                let size = entry.size().and_then(|size| u64::try_from(size).ok())?;
                Some(Listed { name, size })
            }));
            match page.next_continuation_token() {
                Some(token) => next = Some(token.to_owned()),
                None => return Ok(listed),
            }
        }
    }

    async fn parts(&self, object: &ObjectName, range_size: u64) -> Result<Vec<ReadPart>> {
        let sidecar = self.look(object).await?;
        if sidecar.parts.len() > 1 {
            return Ok(sidecar.read_parts(object));
        }
        let md5 = sidecar.parts.into_iter().next().map(|part| part.md5);
        let md5 = md5.filter(|md5| is_md5(md5));
        Ok(ranges::split(object, sidecar.size, range_size, md5))
    }

    async fn read(
        &self,
        object: &ObjectName,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else {
            return Ok(stream::empty().boxed());
        };
        let bytes = format!("bytes={}-{last}", range.start);
        let what = format!("GET {object} ({bytes})");
        let answer = self.buckets.get(object, Some(bytes)).await;
        let answer = answer.map_err(|failure| failure.error)?;
        let announced = answer.content_range().unwrap_or_default();
        if !announced.starts_with(&format!("bytes {}-{last}/", range.start)) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{what}: the store answered with another range: {announced:?}"),
            ));
        }
        let endpoint: Option<Uri> = self.buckets.endpoint.parse().ok();
        let host = endpoint.as_ref().map(host).unwrap_or_default();
        let body = answer.body.into_inner();
        let http = &self.buckets.http;
        Ok(http.stream(what, host, body, range.end - range.start))
    }

    async fn put(&self, object: &ObjectName, body: Bytes, metadata: &Metadata) -> Result<Stored> {
        let md5 = hex(&md5_of(&body).await?);
        let length = body.len() as u64;
        let tag = self.buckets.put(object, body).await?;
        let head = self.buckets.head(object).await?;
        if size(object, &head)? != length || unquoted(head.e_tag().unwrap_or_default()) != tag {
            return Err(corrupt(object, "the store has other bytes than were sent"));
        }
        let sidecar = Sidecar::whole(length, md5.clone(), metadata.clone(), tag);
        self.buckets.put_sidecar(object, &sidecar).await?;
        Ok(Stored {
            checksum: md5,
            location: self.buckets.location(object),
            size: length,
        })
    }

    async fn begin(&self, object: &ObjectName) -> Result<Box<dyn Upload>> {
        let upload = upload::S3Upload::begin(self.buckets.clone(), object.clone()).await?;
        Ok(Box::new(upload))
    }

    async fn delete(&self, object: &ObjectName) -> Result<()> {
        self.buckets.remove_all(object).await
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        upload::remove(&self.buckets, leftover).await
    }
}
