//! An object in the making: a hidden file.

use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::MAX_PARTS;
use super::disk::{Place, blocking};
use crate::checksum::{hex, md5_now};
use crate::parts::check_complete;
use crate::sidecar::Sidecar;
use crate::{Leftover, Metadata, PartReceipt, Result, Stored, Upload};

#[derive(Debug)]
pub(super) struct LocalUpload {
    place: Arc<Place>,
    file: Arc<File>,
}

impl LocalUpload {
    pub(super) fn new(place: Arc<Place>, file: File) -> Self {
        Self {
            place,
            file: Arc::new(file),
        }
    }
}

#[async_trait]
impl Upload for LocalUpload {
    fn leftover(&self) -> Leftover {
        Leftover {
            object: self.place.object.clone(),
            upload_id: String::new(),
        }
    }

    fn max_parts(&self) -> u32 {
        MAX_PARTS
    }

    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<PartReceipt> {
        let (place, file) = (self.place.clone(), self.file.clone());
        blocking(move || {
            place.write_at(&file, offset, &body)?;
            Ok(PartReceipt {
                number,
                size: body.len() as u64,
                md5: hex(&md5_now(&body)),
                tag: String::new(),
            })
        })
        .await
    }

    async fn finish(&self, parts: Vec<PartReceipt>, metadata: &Metadata) -> Result<Stored> {
        check_complete(&self.place.object, &parts)?;
        let sidecar = Sidecar::of_parts(&parts, metadata.clone(), String::new());
        let place = self.place.clone();
        blocking(move || place.complete(&sidecar)).await
    }

    async fn abort(&self) -> Result<()> {
        let place = self.place.clone();
        blocking(move || place.remove_partial()).await
    }
}
