//! When a request is repeated, and after which pause: the one place for it.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// Longest pause a store can ask for.
const LONGEST_WISH: Duration = Duration::from_secs(60);

/// How often and how fast a request is repeated where that can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Requests in total; 1 never repeats.
    pub tries: u32,
    /// Pause after the first failure; it doubles with every other one.
    pub first_pause: Duration,
    /// No pause grows beyond it.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    /// Six tries over about two minutes: a restarted proxy or a moved address
    /// is back by then.
    fn default() -> Self {
        Self {
            tries: 6,
            first_pause: Duration::from_secs(4),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The pause after failure number `failures` (from 1), without chance.
    fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.first_pause
            .saturating_mul(1 << doublings)
            .min(self.longest_pause)
    }

    /// A quarter more or less, so that parts that failed together do not all
    /// come back at once.
    fn jittered(&self, failures: u32) -> Duration {
        self.pause(failures)
            .mul_f64(0.75 + 0.5 * rand::random::<f64>())
    }
}

/// An error with what the store said about coming back.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) retry_after: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

/// Calls `attempt` until it succeeds, fails for good, or the tries are used
/// up. Whatever it is told to repeat must be safe to repeat.
pub(crate) async fn retry<T, F>(policy: &RetryPolicy, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, Failure>>,
{
    let mut failures = 0;
    loop {
        let failure = match attempt().await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        failures += 1;
        let Failure { error, retry_after } = failure;
        if !error.is_transient() {
            return Err(error);
        }
        if failures >= policy.tries {
            return Err(exhausted(error, failures));
        }
        let pause = retry_after
            .map(|wish| wish.min(LONGEST_WISH))
            .unwrap_or_default()
            .max(policy.jittered(failures));
        tracing::warn!(
            "{error}; attempt {failures} of {}, next in {:.1} s",
            policy.tries,
            pause.as_secs_f64()
        );
        tokio::time::sleep(pause).await;
    }
}

fn exhausted(error: Error, failures: u32) -> Error {
    if failures < 2 {
        return error;
    }
    Error::new(error.kind(), format!("{error} (after {failures} attempts)"))
}

/// A failure for an answer with this status, or none if it is a success.
/// `what` is the request, `text` what the store said about it.
pub(crate) fn status_kind(status: u16, wants_pause: bool) -> Option<ErrorKind> {
    Some(match status {
        200..=299 => return None,
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        // The store waited for our bytes, or says that we hung up.
        408 | 499 => ErrorKind::Connection,
        413 | 507 => ErrorKind::Full,
        // The bytes had another checksum, or the range is beyond the end.
        416 | 422 => ErrorKind::Corrupt,
        429 | 498 => ErrorKind::Throttled,
        503 if wants_pause => ErrorKind::Throttled,
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Unexpected,
    })
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::time::Duration;

    use super::{Failure, RetryPolicy, retry, status_kind};
    use crate::{Error, ErrorKind};

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = RetryPolicy::default();
        let pauses: Vec<u64> = (1..8).map(|n| policy.pause(n).as_secs()).collect();
        assert_eq!(pauses, [4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(policy.pause(u32::MAX).as_secs(), 60);
        for _ in 0..100 {
            let pause = policy.jittered(1).as_millis();
            assert!((3000..=5000).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn statuses_have_the_kinds_callers_tell_apart() {
        for (status, kind) in [
            (400, ErrorKind::Unexpected),
            (401, ErrorKind::Unauthorized),
            (403, ErrorKind::Forbidden),
            (404, ErrorKind::NotFound),
            (408, ErrorKind::Connection),
            (409, ErrorKind::Unexpected),
            (413, ErrorKind::Full),
            (422, ErrorKind::Corrupt),
            (429, ErrorKind::Throttled),
            (498, ErrorKind::Throttled),
            (499, ErrorKind::Connection),
            (500, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
            (507, ErrorKind::Full),
        ] {
            assert_eq!(status_kind(status, false), Some(kind), "{status}");
        }
        assert_eq!(status_kind(503, true), Some(ErrorKind::Throttled));
        assert_eq!(status_kind(201, false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_for_a_pause_is_honoured_and_capped() {
        for (wish, expected) in [(20, 20), (3600, 60)] {
            let begun = tokio::time::Instant::now();
            let mut calls = 0;
            let policy = RetryPolicy::default();
            let result = retry(&policy, || {
                calls += 1;
                ready(if calls == 2 {
                    Ok(())
                } else {
                    Err(Failure {
                        error: Error::new(ErrorKind::Throttled, "slow down"),
                        retry_after: Some(Duration::from_secs(wish)),
                    })
                })
            });
            result.await.unwrap();
            assert_eq!(begun.elapsed().as_secs(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_says_how_often_it_was_tried() {
        let mut calls = 0;
        let result: crate::Result<()> = retry(&RetryPolicy::default(), || {
            calls += 1;
            ready(Err(
                Error::new(ErrorKind::Unavailable, "PUT a/b: 503").into()
            ))
        })
        .await;
        let error = result.unwrap_err();
        assert_eq!(calls, 6);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.to_string(), "PUT a/b: 503 (after 6 attempts)");
    }

    #[tokio::test]
    async fn what_cannot_succeed_is_not_repeated() {
        let mut calls = 0;
        let result: crate::Result<()> = retry(&RetryPolicy::default(), || {
            calls += 1;
            ready(Err(Error::new(ErrorKind::Forbidden, "no").into()))
        })
        .await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Forbidden);
        assert_eq!(calls, 1);
    }
}
