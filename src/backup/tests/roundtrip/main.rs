//! What is stored is what is read, or an error.

#![allow(missing_docs, clippy::unwrap_used)]

mod memory;

use std::io::{self, Write as _};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use backup::{
    Bandwidth, Compression, Download, Error, Keys, Orphans, Progress, Sealing, Upload,
    UploadSettings, coding_of, object_name, open,
};
use bytes::Bytes;
use memory::Memory;
use object_store::{Metadata, ObjectName, ObjectStore, RetryPolicy, Stored};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio_util::sync::CancellationToken;

const PASSPHRASE: &str = "correct horse battery staple";

/// Half of it compresses, as pages of a database do.
fn data(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..size)
        .map(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if at % 2 == 0 { 7 } else { state as u8 }
        })
        .collect()
}

fn named(compression: Compression, encrypted: bool) -> ObjectName {
    ObjectName {
        container: "c".into(),
        name: object_name("id", "xbstream", compression, encrypted),
    }
}

fn upload(store: &Memory, compression: Compression, encrypted: bool) -> Upload {
    Upload {
        store: Arc::new(store.clone()),
        object: named(compression, encrypted),
        settings: UploadSettings {
            compression,
            threads: 2,
            uploads: 3,
            passphrase: encrypted.then(|| PASSPHRASE.into()),
            bandwidth: Bandwidth::new(0),
        },
        progress: Progress::default(),
        cancel: CancellationToken::new(),
        orphans: Orphans::default(),
    }
}

async fn store(
    memory: &Memory,
    compression: Compression,
    encrypted: bool,
    plain: &[u8],
) -> backup::Result<Stored> {
    let sent = upload(memory, compression, encrypted)
        .send(plain, 0, &|_| Ok(()))
        .await?;
    let metadata = Metadata::from([("lsn".to_owned(), "7".to_owned())]);
    sent.complete(&metadata).await
}

async fn read_as(memory: &Memory, object: ObjectName, keys: Keys) -> io::Result<Vec<u8>> {
    let info = memory.head(&object).await.map_err(io::Error::other)?;
    let (_, coding) = coding_of(&object.name).map_err(io::Error::other)?;
    let reader = open(Download {
        store: Arc::new(memory.clone()),
        object,
        coding,
        checksum: Some(info.checksum),
        keys,
        fetches: 3,
        retry: RetryPolicy {
            tries: 3,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(2),
        },
        progress: Progress::default(),
    });
    let mut plain = Vec::new();
    let mut reader = reader.await.map_err(io::Error::other)?;
    reader.read_to_end(&mut plain).await?;
    Ok(plain)
}

async fn read(memory: &Memory, object: ObjectName) -> io::Result<Vec<u8>> {
    let keys = Keys {
        passphrase: Some(PASSPHRASE.into()),
        legacy: None,
    };
    read_as(memory, object, keys).await
}

const CODECS: [Compression; 3] = [
    Compression::Gzip(1),
    Compression::Zstd(1),
    Compression::None,
];

#[tokio::test]
async fn every_coding_survives_in_many_parts() {
    let plain = data(81 << 20, 3);
    for compression in CODECS {
        for encrypted in [false, true] {
            let memory = Memory::default();
            let stored = store(&memory, compression, encrypted, &plain)
                .await
                .unwrap();
            let object = named(compression, encrypted);
            let kept = memory.0.objects.lock().unwrap()[&object.name].clone();
            assert!(kept.parts.len() > 2, "{compression:?}");
            assert!(kept.parts.iter().all(|part| part.len() <= 16 << 20));
            assert_eq!(kept.metadata["lsn"], "7");
            assert_eq!(
                stored.size,
                kept.parts.iter().map(|p| p.len() as u64).sum::<u64>()
            );
            assert!(memory.0.most.load(Ordering::SeqCst) <= 3);
            assert!(
                read(&memory, object).await.unwrap() == plain,
                "{compression:?}"
            );
        }
    }
}

#[tokio::test]
async fn other_programs_read_it() {
    let plain = data(5 << 20, 4);
    for (compression, argv) in [
        (Compression::Gzip(6), ["gzip", "-dc"]),
        (Compression::Zstd(3), ["zstd", "-dc"]),
    ] {
        let memory = Memory::default();
        store(&memory, compression, false, &plain).await.unwrap();
        let object = memory.0.objects.lock().unwrap()[&named(compression, false).name].clone();
        let mut child = Command::new(argv[0])
            .arg(argv[1])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = object.parts.concat();
        let feed = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap().unwrap();
        assert!(
            output.status.success() && output.stdout == plain,
            "{argv:?}"
        );
    }
}

#[tokio::test]
async fn broken_reads_go_on_where_they_broke() {
    let plain = data(12 << 20, 5);
    let memory = Memory::default();
    store(&memory, Compression::None, false, &plain)
        .await
        .unwrap();
    memory.0.breaks.store(2, Ordering::SeqCst);
    let object = named(Compression::None, false);
    assert!(read(&memory, object).await.unwrap() == plain);
    assert_eq!(memory.0.breaks.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_comes_damaged_once_is_fetched_again() {
    let plain = data(12 << 20, 5);
    let memory = Memory::default();
    store(&memory, Compression::None, false, &plain)
        .await
        .unwrap();
    memory.0.spoils.store(2, Ordering::SeqCst);
    let object = named(Compression::None, false);
    assert!(read(&memory, object).await.unwrap() == plain);
    assert_eq!(memory.0.spoils.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_part_that_is_refused_leaves_nothing() {
    let memory = Memory::default();
    *memory.0.refuse_part.lock().unwrap() = Some(1);
    let error = store(&memory, Compression::None, false, &data(40 << 20, 6))
        .await
        .unwrap_err();
    assert_eq!(error.store().unwrap().kind(), object_store::ErrorKind::Full);
    assert!(memory.0.segments.lock().unwrap().is_empty());
    assert!(memory.0.objects.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_manifest_that_is_refused_leaves_nothing() {
    let memory = Memory::default();
    *memory.0.refuse_finish.lock().unwrap() = true;
    assert!(
        store(&memory, Compression::None, false, &data(20 << 20, 6))
            .await
            .is_err()
    );
    assert!(memory.0.segments.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_journal_comes_before_the_first_part() {
    let memory = Memory::default();
    let upload = upload(&memory, Compression::None, false);
    let refused = upload
        .send(&data(20 << 20, 6)[..], 0, &|leftover| {
            Err(format!("no room to note {}", leftover.object.name))
        })
        .await;
    let Err(Error::Journal(text)) = refused else {
        panic!("it was sent");
    };
    assert!(text.contains("id.xbstream"));
    assert_eq!(memory.0.most.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_empty_stream_is_no_backup() {
    let memory = Memory::default();
    assert!(
        store(&memory, Compression::Gzip(1), false, b"")
            .await
            .is_err()
    );
    assert!(memory.0.objects.lock().unwrap().is_empty());
}

/// Some bytes, and then nothing ever.
struct Stalled(Vec<u8>);

impl AsyncRead for Stalled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let take = out.remaining().min(self.0.len());
        if take == 0 {
            return Poll::Pending;
        }
        out.put_slice(&self.0.drain(..take).collect::<Vec<u8>>());
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn cancelling_leaves_nothing() {
    let memory = Memory::default();
    let upload = upload(&memory, Compression::None, false);
    let (cancel, progress) = (upload.cancel.clone(), upload.progress.clone());
    let sending = tokio::spawn(async move {
        let sent = upload
            .send(Stalled(data(20 << 20, 8)), 0, &|_| Ok(()))
            .await;
        sent.map(drop)
    });
    let sent = async {
        while progress.stored() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), sent)
        .await
        .unwrap();
    cancel.cancel();
    assert!(matches!(sending.await.unwrap(), Err(Error::Cancelled)));
    assert!(memory.0.segments.lock().unwrap().is_empty());
}

#[tokio::test]
async fn missing_and_wrong_keys_are_named() {
    let memory = Memory::default();
    let compression = Compression::Gzip(1);
    store(&memory, compression, true, b"hello").await.unwrap();
    let object = named(compression, true);
    assert_eq!(coding_of(&object.name).unwrap().1.sealed, Sealing::Age);
    let missing = read_as(&memory, object.clone(), Keys::default())
        .await
        .unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("backup_encryption_passphrase is not set")
    );
    let keys = Keys {
        passphrase: Some("another".into()),
        legacy: None,
    };
    let wrong = read_as(&memory, object, keys).await.unwrap_err();
    assert!(wrong.to_string().contains("does not open"), "{wrong}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_size_survives(
        size in 1usize..3_000_000, codec in 0usize..3, encrypted: bool, seed: u64,
    ) {
        let plain = data(size, seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let read = runtime.block_on(async {
            let memory = Memory::default();
            store(&memory, CODECS[codec], encrypted, &plain).await.unwrap();
            read(&memory, named(CODECS[codec], encrypted)).await.unwrap()
        });
        prop_assert!(read == plain);
    }

    #[test]
    fn any_damage_is_noticed(
        at in 0usize..1 << 30, cut: bool, codec in 0usize..3, encrypted: bool, seed: u64,
    ) {
        let plain = data(300_000, seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let read = runtime.block_on(async {
            let memory = Memory::default();
            store(&memory, CODECS[codec], encrypted, &plain).await.unwrap();
            let object = named(CODECS[codec], encrypted);
            {
                // Behind the store's back: it still believes in its checksum.
                let mut objects = memory.0.objects.lock().unwrap();
                let kept = objects.get_mut(&object.name).unwrap();
                let mut bytes = kept.parts[0].to_vec();
                let at = at % bytes.len();
                if cut { bytes.truncate(at) } else { bytes[at] ^= 0x20 }
                kept.parts[0] = Bytes::from(bytes);
            }
            read(&memory, object).await
        });
        prop_assert!(read.is_err());
    }
}
