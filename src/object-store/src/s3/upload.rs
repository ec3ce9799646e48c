//! Multipart uploads.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::bucket::{Buckets, found, size};
use super::failure::failure;
use crate::checksum::{hex, md5_of, unquoted};
use crate::parts::check_complete;
use crate::sidecar::{Sidecar, corrupt};
use crate::{
    Error, ErrorKind, Leftover, Metadata, ObjectName, PartReceipt, Result, Stored, Upload,
};

/// S3's limit, the same everywhere.
const MAX_PARTS: u32 = 10_000;

#[derive(Debug)]
pub(super) struct S3Upload {
    buckets: Arc<Buckets>,
    object: ObjectName,
    id: String,
}

impl S3Upload {
    pub(super) async fn begin(buckets: Arc<Buckets>, object: ObjectName) -> Result<Self> {
        let what = format!("POST {object} (begin)");
        let begun = buckets.repeat(|| async {
            let request = buckets.client.create_multipart_upload();
            let request = request.bucket(&object.container).key(&object.name);
            request.send().await.map_err(|error| failure(&what, error))
        });
        let id = begun.await?.upload_id.unwrap_or_default();
        if id.is_empty() {
            return Err(Error::new(
                ErrorKind::Unexpected,
                format!("{what}: the answer has no upload id"),
            ));
        }
        Ok(Self {
            buckets,
            object,
            id,
        })
    }

    /// Joins the parts. The first answer can get lost: then the upload is gone
    /// and the object there, which the caller looks at anyway.
    async fn join(&self, parts: &[PartReceipt]) -> Result<()> {
        let completed = parts
            .iter()
            .map(|part| {
                CompletedPart::builder()
                    .part_number(number_of(part.number))
                    .e_tag(format!("\"{}\"", part.tag))
                    .build()
            })
            .collect();
        let completed = CompletedMultipartUpload::builder()
            .set_parts(Some(completed))
            .build();
        let what = format!("POST {} (join)", self.object);
        let joined = self.buckets.repeat(|| async {
            let request = self.buckets.client.complete_multipart_upload();
            let request = request
                .bucket(&self.object.container)
                .key(&self.object.name);
            let request = request
                .upload_id(&self.id)
                .multipart_upload(completed.clone());
            request.send().await.map_err(|error| failure(&what, error))
        });
        match joined.await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match found(self.buckets.head(&self.object).await)? {
                    Some(_) => Ok(()),
                    None => Err(error),
                }
            }
            other => other.map(|_| ()),
        }
    }
}

/// S3 counts parts from 1.
fn number_of(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX).saturating_add(1)
}

#[async_trait]
impl Upload for S3Upload {
    fn leftover(&self) -> Leftover {
        Leftover {
            object: self.object.clone(),
            upload_id: self.id.clone(),
        }
    }

    fn max_parts(&self) -> u32 {
        MAX_PARTS
    }

    async fn put_part(&self, number: u32, _offset: u64, body: Bytes) -> Result<PartReceipt> {
        let md5 = md5_of(&body).await?;
        let encoded = BASE64_STANDARD.encode(md5);
        let what = format!("PUT {} (part {number})", self.object);
        let sent = self.buckets.repeat(|| async {
            let request = self.buckets.client.upload_part();
            let request = request
                .bucket(&self.object.container)
                .key(&self.object.name);
            let request = request
                .upload_id(&self.id)
                .part_number(number_of(number))
                .content_md5(&encoded)
                .body(ByteStream::from(body.clone()));
            // The MD5 is signed; hashing all bytes once more would add nothing.
            let sent = request.customize().disable_payload_signing().send().await;
            sent.map_err(|error| failure(&what, error))
        });
        let tag = sent.await?.e_tag.unwrap_or_default();
        Ok(PartReceipt {
            number,
            size: body.len() as u64,
            md5: hex(&md5),
            tag: unquoted(&tag).to_owned(),
        })
    }

    async fn finish(&self, parts: Vec<PartReceipt>, metadata: &Metadata) -> Result<Stored> {
        let length = check_complete(&self.object, &parts)?;
        self.join(&parts).await?;
        let head = self.buckets.head(&self.object).await?;
        let found = size(&self.object, &head)?;
        if found != length {
            if let Err(second) = self.buckets.remove(&self.object).await {
                tracing::warn!("{second}");
            }
            let text = format!("the store has {found} bytes instead of {length}");
            return Err(corrupt(&self.object, &text));
        }
        // Every part was compared when it came, and named by its tag when they
        // were joined; how the tag of the whole is made is the store's affair.
        let tag = unquoted(head.e_tag().unwrap_or_default()).to_owned();
        let sidecar = Sidecar::of_parts(&parts, metadata.clone(), tag);
        self.buckets.put_sidecar(&self.object, &sidecar).await?;
        Ok(Stored {
            checksum: sidecar.checksum,
            location: self.buckets.location(&self.object),
            size: length,
        })
    }

    async fn abort(&self) -> Result<()> {
        remove(&self.buckets, &self.leftover()).await
    }
}

/// Removes what an upload has left: its parts, those of others that never got
/// as far as to be remembered, and the joined object if nothing was written
/// beside it.
pub(super) async fn remove(buckets: &Buckets, leftover: &Leftover) -> Result<()> {
    let object = &leftover.object;
    if !leftover.upload_id.is_empty() {
        abort(buckets, object, &leftover.upload_id).await?;
    }
    for id in unfinished(buckets, object).await? {
        abort(buckets, object, &id).await?;
    }
    let joined = found(buckets.head(object).await)?.is_some();
    if joined && buckets.sidecar(object).await?.is_none() {
        return buckets.remove(object).await;
    }
    Ok(())
}

async fn abort(buckets: &Buckets, object: &ObjectName, id: &str) -> Result<()> {
    let what = format!("DELETE {object} (upload)");
    let aborted = buckets.repeat(|| async {
        let request = buckets.client.abort_multipart_upload();
        let request = request.bucket(&object.container).key(&object.name);
        let sent = request.upload_id(id).send().await;
        sent.map_err(|error| failure(&what, error))
    });
    found(aborted.await).map(|_| ())
}

/// Ids of the uploads of an object that were neither finished nor aborted.
async fn unfinished(buckets: &Buckets, object: &ObjectName) -> Result<Vec<String>> {
    let what = format!("GET {} (uploads)", object.container);
    // One page: a name is used by one upload at a time.
    let listed = buckets.repeat(|| async {
        let request = buckets.client.list_multipart_uploads();
        let request = request.bucket(&object.container).prefix(&object.name);
        request.send().await.map_err(|error| failure(&what, error))
    });
    let Some(listed) = found(listed.await)? else {
        return Ok(Vec::new());
    };
    let ids = listed
        .uploads()
        .iter()
        .filter(|upload| upload.key() == Some(&object.name))
        .filter_map(|upload| upload.upload_id().map(str::to_owned));
    Ok(ids.collect())
}
