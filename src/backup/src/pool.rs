//! Buffers that are used again: new memory costs about as much as fast
//! decompression does.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Where buffers wait to be used again; there are never more than were in use
/// at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// A buffer with whatever was left in it. It returns when it is dropped.
    pub(crate) fn take(&self) -> Buffer {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer {
            bytes: used.unwrap_or_default(),
            pool: self.clone(),
        }
    }
}

/// A buffer of a [`Pool`].
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let waiting = &self.pool.0;
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self::from_owner(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_when_nobody_reads_them_any_more() {
        let pool = Pool::default();
        let mut first = pool.take();
        first.extend_from_slice(b"contents");
        let at = first.as_ptr();
        let bytes = Bytes::from(first);
        let clone = bytes.clone();
        drop(bytes);
        assert_eq!(pool.take().capacity(), 0);
        assert_eq!(clone, "contents");
        drop(clone);
        // The empty one is among them, too.
        let taken = [pool.take(), pool.take()];
        assert!(taken.iter().any(|buffer| buffer.as_ptr() == at));
    }
}
