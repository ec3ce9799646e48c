//! A store in memory that can be told to misbehave.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use md5::{Digest as _, Md5};
use object_store::{
    Error, ErrorKind, Leftover, Listed, Metadata, ObjectInfo, ObjectName, ObjectStore, PartReceipt,
    ReadPart, Result, Stored, Upload,
};

pub(crate) fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Object {
    pub(crate) parts: Vec<Bytes>,
    /// As the store believes them to be.
    pub(crate) md5s: Vec<String>,
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) objects: Mutex<BTreeMap<String, Object>>,
    pub(crate) segments: Mutex<BTreeMap<u32, Bytes>>,
    /// The part that cannot be stored.
    pub(crate) refuse_part: Mutex<Option<u32>>,
    pub(crate) refuse_finish: Mutex<bool>,
    /// Reads break after so many bytes, as long as there are any left here.
    pub(crate) breaks: AtomicU32,
    /// So many reads come with a bit flipped.
    pub(crate) spoils: AtomicU32,
    /// Largest number of parts that were on their way at once.
    pub(crate) most: AtomicU32,
    running: AtomicU32,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(pub(crate) Arc<Inner>);

#[derive(Debug)]
struct Large(Memory, ObjectName);

fn error(kind: ErrorKind, text: &str) -> Error {
    Error::new(kind, text)
}

impl Memory {
    fn object(&self, name: &str) -> Result<Object> {
        let objects = self.0.objects.lock().unwrap();
        objects
            .get(name)
            .cloned()
            .ok_or_else(|| error(ErrorKind::NotFound, "no such object"))
    }

    fn stored(&self, name: &ObjectName, parts: Vec<Bytes>, metadata: &Metadata) -> Stored {
        let md5s: Vec<String> = parts.iter().map(|part| md5_of(part)).collect();
        let size = parts.iter().map(|part| part.len() as u64).sum();
        let checksum = match &md5s[..] {
            [md5] => md5.clone(),
            _ => md5_of(md5s.concat().as_bytes()),
        };
        let object = Object {
            parts,
            md5s,
            metadata: metadata.clone(),
        };
        self.0
            .objects
            .lock()
            .unwrap()
            .insert(name.name.clone(), object);
        Stored {
            checksum,
            location: format!("memory:/{}/{}", name.container, name.name),
            size,
        }
    }
}

#[async_trait]
impl ObjectStore for Memory {
    async fn ensure_container(&self, _container: &str) -> Result<()> {
        Ok(())
    }

    fn resolve(&self, location: &str) -> Result<ObjectName> {
        let name = location.rsplit('/').next().unwrap().to_owned();
        Ok(ObjectName {
            container: "c".into(),
            name,
        })
    }

    async fn head(&self, object: &ObjectName) -> Result<ObjectInfo> {
        let found = self.object(&object.name)?;
        Ok(ObjectInfo {
            size: found.parts.iter().map(|part| part.len() as u64).sum(),
            checksum: match &found.md5s[..] {
                [md5] => md5.clone(),
                md5s => md5_of(md5s.concat().as_bytes()),
            },
            metadata: found.metadata,
        })
    }

    async fn list(&self, _container: &str, _prefix: &str) -> Result<Vec<Listed>> {
        Ok(Vec::new())
    }

    async fn parts(&self, object: &ObjectName, _range_size: u64) -> Result<Vec<ReadPart>> {
        let found = self.object(&object.name)?;
        let mut at = 0;
        let parts = found.parts.iter().zip(&found.md5s).map(|(part, md5)| {
            let start = at;
            at += part.len() as u64;
            ReadPart {
                object: object.clone(),
                range: start..at,
                md5: Some(md5.clone()),
            }
        });
        Ok(parts.collect())
    }

    async fn read(
        &self,
        object: &ObjectName,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let bytes = self.object(&object.name)?.parts.concat();
        let whole = &bytes[range.start as usize..(range.end as usize).min(bytes.len())];
        let breaks = self.0.breaks.load(Ordering::SeqCst);
        if breaks > 0 {
            self.0.breaks.store(breaks - 1, Ordering::SeqCst);
            let some = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
            let cut = error(ErrorKind::Connection, "cut");
            return Ok(stream::iter([Ok(some), Err(cut)]).boxed());
        }
        let mut whole = whole.to_vec();
        let spoils = self.0.spoils.load(Ordering::SeqCst);
        if spoils > 0 && !whole.is_empty() {
            self.0.spoils.store(spoils - 1, Ordering::SeqCst);
            whole[0] ^= 1;
        }
        Ok(stream::iter([Ok(Bytes::from(whole))]).boxed())
    }

    async fn put(&self, object: &ObjectName, body: Bytes, metadata: &Metadata) -> Result<Stored> {
        Ok(self.stored(object, vec![body], metadata))
    }

    async fn begin(&self, object: &ObjectName) -> Result<Box<dyn Upload>> {
        Ok(Box::new(Large(self.clone(), object.clone())))
    }

    async fn delete(&self, object: &ObjectName) -> Result<()> {
        self.0.objects.lock().unwrap().remove(&object.name);
        Ok(())
    }

    async fn remove_leftover(&self, _leftover: &Leftover) -> Result<()> {
        self.0.segments.lock().unwrap().clear();
        Ok(())
    }
}

#[async_trait]
impl Upload for Large {
    fn leftover(&self) -> Leftover {
        Leftover {
            object: self.1.clone(),
            upload_id: String::new(),
        }
    }

    fn max_parts(&self) -> u32 {
        1000
    }

    async fn put_part(&self, number: u32, _offset: u64, body: Bytes) -> Result<PartReceipt> {
        let inner = &self.0.0;
        let now = inner.running.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        inner.running.fetch_sub(1, Ordering::SeqCst);
        if *inner.refuse_part.lock().unwrap() == Some(number) {
            return Err(error(ErrorKind::Full, "the store is full"));
        }
        let receipt = PartReceipt {
            number,
            size: body.len() as u64,
            md5: md5_of(&body),
            tag: String::new(),
        };
        inner.segments.lock().unwrap().insert(number, body);
        Ok(receipt)
    }

    async fn finish(&self, parts: Vec<PartReceipt>, metadata: &Metadata) -> Result<Stored> {
        let inner = &self.0.0;
        if *inner.refuse_finish.lock().unwrap() {
            return Err(error(ErrorKind::Corrupt, "another checksum"));
        }
        let segments = std::mem::take(&mut *inner.segments.lock().unwrap());
        assert!(
            parts
                .iter()
                .map(|part| part.number)
                .eq(0..parts.len() as u32)
        );
        Ok(self
            .0
            .stored(&self.1, segments.into_values().collect(), metadata))
    }

    async fn abort(&self) -> Result<()> {
        self.0.0.segments.lock().unwrap().clear();
        Ok(())
    }
}
