//! Looking at a tar archive that passes by.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::bad;
use crate::check::{TAR_BLOCK, tar_header};

/// Passes a tar archive on as it is, and keeps the contents of some of its
/// files: each up to its last `limit` bytes or a little more.
pub fn watch<R>(stream: R, files: &[(&'static str, usize)]) -> (Watched<R>, Seen) {
    let state = State {
        wanted: files.iter().copied().collect(),
        found: BTreeMap::new(),
        header: Vec::with_capacity(TAR_BLOCK),
        left: 0,
        padding: 0,
        keeping: None,
        ended: false,
        failure: None,
    };
    let state = Arc::new(Mutex::new(state));
    let seen = Seen(Arc::clone(&state));
    (Watched { stream, state }, seen)
}

/// The archive, on its way.
pub struct Watched<R> {
    stream: R,
    state: Arc<Mutex<State>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.feed(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

/// What was seen in the archive.
pub struct Seen(Arc<Mutex<State>>);

impl Seen {
    /// The files, when the archive has passed.
    ///
    /// # Errors
    /// When it is no tar archive, or has no end.
    pub fn files(&self) -> io::Result<BTreeMap<&'static str, Vec<u8>>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        match state.ended {
            true => Ok(std::mem::take(&mut state.found)),
            false => Err(bad("the tar archive has no end")),
        }
    }
}

struct State {
    wanted: BTreeMap<&'static str, usize>,
    found: BTreeMap<&'static str, Vec<u8>>,
    /// The part of a header that has come.
    header: Vec<u8>,
    /// Bytes of a file that are still to come, and those that fill its block.
    left: u64,
    padding: u64,
    keeping: Option<(&'static str, usize)>,
    ended: bool,
    /// Whoever reads the archive gets all of it nevertheless.
    failure: Option<io::Error>,
}

impl State {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.failure.is_none() {
            let used = if self.left > 0 {
                self.contents(bytes)
            } else if self.padding > 0 {
                let used = bytes.len().min(as_usize(self.padding));
                self.padding -= used as u64;
                used
            } else {
                let used = bytes.len().min(TAR_BLOCK - self.header.len());
                self.header.extend_from_slice(&bytes[..used]);
                if self.header.len() == TAR_BLOCK {
                    self.failure = self.block().err();
                }
                used
            };
            bytes = &bytes[used..];
        }
    }

    fn contents(&mut self, bytes: &[u8]) -> usize {
        let used = bytes.len().min(as_usize(self.left));
        self.left -= used as u64;
        if let Some((name, limit)) = self.keeping {
            let kept = self.found.entry(name).or_default();
            kept.extend_from_slice(&bytes[..used]);
            // Not for every few bytes: moving them is work.
            if kept.len() > limit.saturating_mul(2) {
                kept.drain(..kept.len() - limit);
            }
        }
        used
    }

    fn block(&mut self) -> io::Result<()> {
        let header: [u8; TAR_BLOCK] = std::mem::take(&mut self.header)
            .try_into()
            .map_err(|_| bad("a header of the tar archive is cut"))?;
        if header.iter().all(|&byte| byte == 0) {
            self.ended = true;
            return Ok(());
        }
        if self.ended {
            return Err(bad("something follows the end of the tar archive"));
        }
        self.left = tar_header(&header)?;
        self.padding = self.left.next_multiple_of(TAR_BLOCK as u64) - self.left;
        let name = header[..100].split(|&byte| byte == 0).next();
        let wanted = self.wanted.iter();
        let keeping = wanted.map(|(&name, &limit)| (name, limit));
        self.keeping = keeping
            .filter(|_| matches!(header[156], b'0' | 0) && header[345] == 0)
            .find(|(wanted, _)| Some(wanted.as_bytes()) == name);
        if let Some((name, _)) = self.keeping {
            self.found.entry(name).or_default();
        }
        Ok(())
    }
}

fn as_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, contents) in files {
            let mut header = Header::new_ustar();
            header.set_size(contents.len() as u64);
            builder.append_data(&mut header, name, *contents).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// What is seen in bytes that come `step` at a time.
    async fn look(bytes: &[u8], step: usize) -> io::Result<BTreeMap<&'static str, Vec<u8>>> {
        let (mut watched, seen) = watch(bytes, &[("label", 1000), ("big", 8)]);
        let (mut all, mut buffer) = (Vec::new(), vec![0; step]);
        loop {
            let read = watched.read(&mut buffer).await.unwrap();
            if read == 0 {
                break;
            }
            all.extend_from_slice(&buffer[..read]);
        }
        assert_eq!(all, bytes);
        seen.files()
    }

    #[tokio::test]
    async fn wanted_files_are_kept_and_all_is_passed_on() {
        let big: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let bytes = archive(&[
            ("label", b"here"),
            ("a/label", b"not"),
            ("big", &big),
            ("c", b""),
        ]);
        for step in [1, 511, 512, 513, 1 << 20] {
            let found = look(&bytes, step).await.unwrap();
            assert_eq!(found["label"], b"here");
            assert!(found["big"].ends_with(&big[big.len() - 8..]), "{step}");
            assert!(found["big"].len() <= 16, "{step}");
            assert_eq!(found.len(), 2);
        }
    }

    #[tokio::test]
    async fn what_is_cut_or_damaged_is_known() {
        let bytes = archive(&[("label", b"here"), ("c", &[7; 2000])]);
        for cut in [0, 100, 512, 1024, 2000, bytes.len() - 1024] {
            assert!(look(&bytes[..cut], 700).await.is_err(), "{cut}");
        }
        let mut damaged = bytes.clone();
        damaged[3] ^= 1;
        assert!(look(&damaged, 700).await.is_err());
        let mut longer = bytes.clone();
        longer.extend_from_slice(&bytes);
        assert!(look(&longer, 700).await.is_err());
    }
}
