//! A static large object in the making.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::Method;

use super::account::{Account, Call};
use super::{headers, manifest, remove, store};
use crate::checksum::{hex, md5_of, of_parts};
use crate::parts::check_complete;
use crate::{
    ErrorKind, Leftover, Metadata, ObjectName, PartReceipt, Result, Stored, Upload, names,
};

/// How many stall timeouts a manifest may take: Swift looks at every part
/// before it answers.
const MANIFEST_PATIENCE: u32 = 5;

/// Parts named after the object, in its container.
#[derive(Debug)]
pub(super) struct SwiftUpload {
    account: Arc<Account>,
    object: ObjectName,
    max_parts: u32,
}

impl SwiftUpload {
    pub(super) fn new(account: Arc<Account>, object: ObjectName, max_parts: u32) -> Self {
        Self {
            account,
            object,
            max_parts,
        }
    }

    fn part(&self, number: u32) -> ObjectName {
        ObjectName {
            container: self.object.container.clone(),
            name: names::part_name(&self.object.name, number),
        }
    }
}

#[async_trait]
impl Upload for SwiftUpload {
    fn leftover(&self) -> Leftover {
        Leftover {
            object: self.object.clone(),
            upload_id: String::new(),
        }
    }

    fn max_parts(&self) -> u32 {
        self.max_parts
    }

    async fn put_part(&self, number: u32, _offset: u64, body: Bytes) -> Result<PartReceipt> {
        let md5 = hex(&md5_of(&body).await?);
        let size = body.len() as u64;
        let mut call = Call::object(Method::PUT, &self.part(number));
        call.body = body;
        store(&self.account, &call, &md5).await?;
        Ok(PartReceipt {
            number,
            size,
            md5,
            tag: String::new(),
        })
    }

    async fn finish(&self, parts: Vec<PartReceipt>, metadata: &Metadata) -> Result<Stored> {
        let size = check_complete(&self.object, &parts)?;
        let checksum = of_parts(parts.iter().map(|part| part.md5.as_str()));
        let mut call = Call::object(Method::PUT, &self.object);
        call.query = "multipart-manifest=put".to_owned();
        call.headers = headers::to_headers(metadata)?;
        call.body = manifest::write(&parts, |number| self.part(number)).into();
        call.patience = MANIFEST_PATIENCE;
        self.account.ask(&call).await?;
        let confirmed = self.account.confirm(&self.object, size, &checksum).await;
        if let Err(error) = &confirmed
            && error.kind() == ErrorKind::Corrupt
        {
            // Nobody must take it for a backup, and `abort` not for complete.
            if let Err(second) = remove::only(&self.account, &self.object).await {
                tracing::warn!("{second}");
            }
        }
        confirmed
    }

    async fn abort(&self) -> Result<()> {
        remove::parts(&self.account, &self.object).await
    }
}
