//! From the tool's stream to the store.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut as _, Bytes};
use futures_util::stream::{self, StreamExt as _};
use object_store::{Leftover, Metadata, ObjectName, ObjectStore, PartReceipt, Stored};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::age::Encryptor;
use crate::codec::{BLOCK, Bench};
use crate::pool::{Buffer, Pool};
use crate::{Bandwidth, Compression, Error, PartPlan, Progress, Result};

/// How backups are stored.
#[derive(Debug, Clone)]
pub struct UploadSettings {
    /// Compression.
    pub compression: Compression,
    /// Blocks compressed at once, from 1.
    pub threads: usize,
    /// Parts sent at once, from 1.
    pub uploads: usize,
    /// Passphrase of age, for encryption before anything leaves the guest.
    pub passphrase: Option<SecretString>,
    /// Limit on what is read from the tool.
    pub bandwidth: Bandwidth,
}

/// Durably remembers what has to be removed after a crash, before the first
/// part is sent. Its error is a text.
pub type Remember<'a> = &'a (dyn Fn(&Leftover) -> std::result::Result<(), String> + Send + Sync);

/// What a failure may have left, to be looked for again later: the store may
/// not have let us remove it, or it came late.
pub type Orphans = Arc<Mutex<Vec<Leftover>>>;

/// One object to be stored.
pub struct Upload {
    /// Where.
    pub store: Arc<dyn ObjectStore>,
    /// As what; its container exists.
    pub object: ObjectName,
    /// How.
    pub settings: UploadSettings,
    /// Counts what has passed.
    pub progress: Progress,
    /// Ends it.
    pub cancel: CancellationToken,
    /// Where it is noted what may stay in the store.
    pub orphans: Orphans,
}

impl Upload {
    /// Sends everything `reader` has. After that only [`Sent::complete`] is
    /// missing: until then there is no object. `estimate` is about how many
    /// bytes will come.
    ///
    /// # Errors
    /// Whatever went wrong; parts that were sent have been removed.
    pub async fn send(
        self,
        reader: impl AsyncRead + Unpin + Send,
        estimate: u64,
        remember: Remember<'_>,
    ) -> Result<Sent> {
        self.progress.expect(estimate);
        let mut parts = Parts::new(&self, estimate, remember);
        let cancel = self.cancel.clone();
        let fed = tokio::select! {
            () = cancel.cancelled() => Err(Error::Cancelled),
            fed = self.feed(reader, &mut parts) => fed,
        };
        match fed {
            Ok(()) => Ok(parts.sent()),
            Err(error) => {
                parts.abort().await;
                Err(error)
            }
        }
    }

    async fn feed(
        &self,
        reader: impl AsyncRead + Unpin + Send,
        parts: &mut Parts<'_>,
    ) -> Result<()> {
        let settings = &self.settings;
        let mut encryptor = match &settings.passphrase {
            Some(passphrase) => Some(Encryptor::new(passphrase).map_err(Error::Codec)?),
            None => None,
        };
        // One is filled and one emptied while the others are compressed.
        let threads = settings.threads.max(1);
        let (free, benches) = mpsc::channel(threads + 2);
        for _ in 0..threads + 2 {
            let bench = Bench::new(settings.compression).map_err(Error::Codec)?;
            let _room_for_all = free.try_send(bench);
        }
        let mut packed = stream::try_unfold((reader, benches), |(mut reader, mut benches)| async {
            settings.bandwidth.take(BLOCK as u64).await;
            let mut bench = benches.recv().await.ok_or_else(|| lost("a block"))?;
            read_block(&mut reader, &mut bench.plain)
                .await
                .map_err(Error::Source)?;
            self.progress.add_plain(bench.plain.len());
            Ok((!bench.plain.is_empty()).then_some((bench, (reader, benches))))
        })
        .map(pack)
        .buffered(threads)
        .boxed();
        while let Some(bench) = packed.next().await {
            let bench = bench?;
            match &mut encryptor {
                Some(encryptor) => {
                    let sealed = encryptor.update(bench.packed()).map_err(Error::Codec)?;
                    parts.add(&sealed).await?;
                }
                None => parts.add(bench.packed()).await?,
            }
            let _nobody_waits = free.try_send(bench);
        }
        if self.progress.plain() == 0 {
            return Err(Error::Source(io::Error::other("it is empty")));
        }
        if let Some(mut encryptor) = encryptor {
            parts
                .add(&encryptor.finish().map_err(Error::Codec)?)
                .await?;
        }
        parts.end().await
    }
}

async fn pack(bench: Result<Bench>) -> Result<Bench> {
    let mut bench = bench?;
    spawn_blocking(move || bench.pack().map(|()| bench))
        .await
        .map_err(|error| Error::Codec(io::Error::other(error)))?
        .map_err(Error::Codec)
}

fn lost(what: &str) -> Error {
    Error::Codec(io::Error::other(format!("{what} was lost")))
}

/// Reads up to [`BLOCK`] bytes; fewer only at the end, none after it.
async fn read_block(reader: &mut (impl AsyncRead + Unpin), block: &mut Vec<u8>) -> io::Result<()> {
    block.clear();
    while block.len() < BLOCK {
        let room = BLOCK - block.len();
        if reader.read_buf(&mut (&mut *block).limit(room)).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Gathers packed blocks into parts and sends them.
struct Parts<'a> {
    store: Arc<dyn ObjectStore>,
    object: ObjectName,
    uploads: usize,
    progress: Progress,
    estimate: u64,
    remember: Remember<'a>,
    orphans: Orphans,
    buffer: Buffer,
    pool: Pool,
    /// There is none as long as everything may fit into one object.
    large: Option<Large>,
}

struct Large {
    upload: Arc<dyn object_store::Upload>,
    plan: PartPlan,
    number: u32,
    offset: u64,
    running: JoinSet<object_store::Result<PartReceipt>>,
    receipts: Vec<PartReceipt>,
}

impl<'a> Parts<'a> {
    fn new(upload: &Upload, estimate: u64, remember: Remember<'a>) -> Self {
        let pool = Pool::default();
        Self {
            store: upload.store.clone(),
            object: upload.object.clone(),
            uploads: upload.settings.uploads,
            progress: upload.progress.clone(),
            estimate,
            remember,
            orphans: upload.orphans.clone(),
            buffer: pool.take(),
            pool,
            large: None,
        }
    }

    async fn add(&mut self, packed: &[u8]) -> Result<()> {
        let size = self.part_size()?;
        if !self.buffer.is_empty() && (self.buffer.len() + packed.len()) as u64 > size {
            self.flush().await?;
        }
        if self.buffer.is_empty() {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            self.buffer.reserve_exact(size.max(packed.len()));
        }
        self.buffer.extend_from_slice(packed);
        Ok(())
    }

    fn part_size(&self) -> Result<u64> {
        let (plan, number) = match &self.large {
            Some(large) => (large.plan, large.number),
            None => (PartPlan::new(self.estimate, DEFAULT_MAX_PARTS), 0),
        };
        plan.size(number).ok_or_else(|| {
            Error::TooLarge(format!(
                "{} has become larger than the store can hold in the parts it allows",
                self.object.name
            ))
        })
    }

    /// Sends the buffer as the next part, waiting for an earlier one if too
    /// many are on their way.
    async fn flush(&mut self) -> Result<()> {
        let large = match &mut self.large {
            Some(large) => large,
            None => {
                let upload: Arc<dyn object_store::Upload> =
                    self.store.begin(&self.object).await?.into();
                (self.remember)(&upload.leftover()).map_err(Error::Journal)?;
                let plan = PartPlan::new(self.estimate, upload.max_parts());
                self.large.insert(Large {
                    upload,
                    plan,
                    number: 0,
                    offset: 0,
                    running: JoinSet::new(),
                    receipts: Vec::new(),
                })
            }
        };
        let most = large.plan.uploads(self.buffer.len() as u64, self.uploads);
        while large.running.len() >= most {
            large.reap().await?;
        }
        let next = self.pool.take();
        let body = Bytes::from(std::mem::replace(&mut self.buffer, next));
        self.buffer.clear();
        let (number, offset) = (large.number, large.offset);
        large.number += 1;
        large.offset += body.len() as u64;
        let upload = large.upload.clone();
        debug!(number, bytes = body.len(), "Part begun.");
        let progress = self.progress.clone();
        large.running.spawn(async move {
            let receipt = upload.put_part(number, offset, body).await?;
            progress.add_stored(receipt.size);
            Ok(receipt)
        });
        // What has ended meanwhile.
        while let Some(ended) = large.running.try_join_next() {
            large.keep(ended)?;
        }
        Ok(())
    }

    /// Sends the rest and waits until everything is confirmed.
    async fn end(&mut self) -> Result<()> {
        if self.large.is_none() {
            return Ok(());
        }
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        if let Some(large) = &mut self.large {
            while !large.running.is_empty() {
                large.reap().await?;
            }
            large.receipts.sort_by_key(|receipt| receipt.number);
        }
        Ok(())
    }

    fn sent(self) -> Sent {
        Sent {
            store: self.store,
            object: self.object,
            progress: self.progress,
            orphans: self.orphans,
            state: match self.large {
                None => State::Whole(self.buffer.into()),
                Some(large) => State::Parts(large.upload, large.receipts),
            },
        }
    }

    async fn abort(&mut self) {
        if let Some(large) = &mut self.large {
            // A request that is cut off may still be carried out; it must not
            // be after the parts are removed.
            large.running.shutdown().await;
            remove(large.upload.as_ref(), &self.orphans).await;
        }
    }
}

/// Parts of an object before its store was asked how many it allows: the
/// default of Swift's `max_manifest_segments`.
const DEFAULT_MAX_PARTS: u32 = 1000;

impl Large {
    /// Waits for the end of a part.
    async fn reap(&mut self) -> Result<()> {
        match self.running.join_next().await {
            Some(ended) => self.keep(ended),
            None => Ok(()),
        }
    }

    fn keep(
        &mut self,
        ended: std::result::Result<object_store::Result<PartReceipt>, JoinError>,
    ) -> Result<()> {
        let receipt = ended.map_err(|error| Error::Codec(io::Error::other(error)))??;
        self.receipts.push(receipt);
        Ok(())
    }
}

async fn remove(upload: &dyn object_store::Upload, orphans: &Orphans) {
    let leftover = upload.leftover();
    if let Err(error) = upload.abort().await {
        error!(object = %leftover.object, %error, "Parts of a failed backup stay in the store.");
    }
    // Also after success: a request that was cut off may be carried out late.
    orphans
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(leftover);
}

/// After an error the object may be there all the same.
async fn remove_object(store: &dyn ObjectStore, object: &ObjectName) {
    if let Err(error) = store.delete(object).await {
        error!(
            container = object.container, object = object.name, %error,
            "A backup that failed may stay in the store; remove it by hand."
        );
    }
}

/// Everything is sent, nothing is there yet.
pub struct Sent {
    store: Arc<dyn ObjectStore>,
    object: ObjectName,
    progress: Progress,
    orphans: Orphans,
    state: State,
}

enum State {
    Whole(Bytes),
    Parts(Arc<dyn object_store::Upload>, Vec<PartReceipt>),
}

impl Sent {
    /// Makes the object, with its metadata, and verifies it.
    ///
    /// # Errors
    /// The store's; what was sent has been removed.
    pub async fn complete(self, metadata: &Metadata) -> Result<Stored> {
        match self.state {
            State::Whole(body) => {
                let size = body.len() as u64;
                let put = self.store.put(&self.object, body, metadata).await;
                if put.is_ok() {
                    self.progress.add_stored(size);
                } else {
                    remove_object(self.store.as_ref(), &self.object).await;
                }
                Ok(put?)
            }
            State::Parts(upload, receipts) => {
                let finished = upload.finish(receipts, metadata).await;
                if finished.is_err() {
                    remove_object(self.store.as_ref(), &self.object).await;
                    remove(upload.as_ref(), &self.orphans).await;
                }
                Ok(finished?)
            }
        }
    }

    /// Removes what was sent.
    pub async fn abort(self) {
        if let State::Parts(upload, _) = self.state {
            remove(upload.as_ref(), &self.orphans).await;
        }
    }
}
