//! A limit on bytes per second, so that a backup leaves room for the
//! database's own clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A shared allowance of bytes per second. Clones share it.
#[derive(Debug, Clone)]
pub struct Bandwidth(Option<Arc<Allowance>>);

#[derive(Debug)]
struct Allowance {
    bytes_per_second: u64,
    /// When everything allowed so far will have been used up.
    free_at: Mutex<Option<Instant>>,
}

impl Bandwidth {
    /// A limit; 0 is none.
    pub fn new(bytes_per_second: u64) -> Self {
        Self((bytes_per_second > 0).then(|| {
            Arc::new(Allowance {
                bytes_per_second,
                free_at: Mutex::new(None),
            })
        }))
    }

    /// Waits until `bytes` may pass. Over time no more than the limit does;
    /// what is waited for is paid in advance, so that nobody is starved.
    pub async fn take(&self, bytes: u64) {
        let Some(allowance) = &self.0 else {
            return;
        };
        let cost = Duration::from_secs_f64(bytes as f64 / allowance.bytes_per_second as f64);
        let at = {
            let mut free_at = allowance.free_at.lock().await;
            let at = free_at.unwrap_or_else(Instant::now).max(Instant::now());
            *free_at = Some(at + cost);
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_for_all_together() {
        let limit = Bandwidth::new(1000);
        let begun = Instant::now();
        futures_util::future::join_all((0..11).map(|_| limit.take(500))).await;
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_limit() {
        let begun = Instant::now();
        Bandwidth::new(0).take(u64::MAX).await;
        assert!(begun.elapsed().is_zero());
    }
}
