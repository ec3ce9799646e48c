//! How far a backup or restore is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that whoever wants to know may read at any time.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    plain: AtomicU64,
    stored: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes of the tool's stream, read or written so far.
    pub fn plain(&self) -> u64 {
        self.0.plain.load(Ordering::Relaxed)
    }

    /// Bytes sent to the store and confirmed, or received from it.
    pub fn stored(&self) -> u64 {
        self.0.stored.load(Ordering::Relaxed)
    }

    /// What [`plain`](Self::plain) is expected to become when making a
    /// backup, and [`stored`](Self::stored) when restoring one; 0 if unknown.
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    pub(crate) fn add_plain(&self, bytes: usize) {
        self.0.plain.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_stored(&self, bytes: u64) {
        self.0.stored.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
    }
}
