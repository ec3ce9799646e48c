//! When to try the next broker.

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::{FailoverStrategy, RabbitOptions};

/// After a working connection broke, retries stay this close together for this
/// long: a restarting broker or a failing-over address is back within it.
const QUICK_PHASE: Duration = Duration::from_secs(60);
/// Longest pause in the quick phase, unless the operator asked for longer.
const QUICK_INTERVAL: Duration = Duration::from_secs(1);

/// Order of brokers and pauses between attempts.
///
/// `rabbit_retry_interval`, `rabbit_retry_backoff` and `rabbit_interval_max`
/// bound the pauses as kombu's `retry_over_time` does, counted per full round
/// over the brokers. Every pause is drawn at random up to its bound, so that a
/// thousand guests do not knock at the same moment.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    backoff: Duration,
    interval_max: Duration,
    reconnect_delay: Duration,
    splay: Duration,
    strategy: FailoverStrategy,
    order: Vec<usize>,
    at: usize,
    tried: usize,
    rounds: u32,
    lost_at: Option<Instant>,
}

impl Schedule {
    /// A schedule over `hosts` brokers, shuffled once.
    pub(crate) fn new(options: &RabbitOptions, hosts: usize) -> Self {
        let mut order: Vec<usize> = (0..hosts.max(1)).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, rand::rng().random_range(0..=last));
        }
        Self {
            interval: Duration::from_secs(options.rabbit_retry_interval.into()),
            backoff: Duration::from_secs(options.rabbit_retry_backoff.into()),
            interval_max: Duration::from_secs(options.rabbit_interval_max.into()),
            reconnect_delay: Duration::try_from_secs_f64(options.kombu_reconnect_delay)
                .unwrap_or_default(),
            splay: Duration::try_from_secs_f64(options.kombu_reconnect_splay).unwrap_or_default(),
            strategy: options.kombu_failover_strategy,
            order,
            at: 0,
            tried: 0,
            rounds: 0,
            lost_at: None,
        }
    }

    /// Index of the broker to try now.
    pub(crate) fn host(&self) -> usize {
        self.order[self.at]
    }

    /// An attempt failed: moves to the next broker and says how long to wait.
    /// `reachable` means that the broker answered but refused, so knocking
    /// often would only load it.
    pub(crate) fn failed(&mut self, reachable: bool) -> Duration {
        self.advance();
        self.tried += 1;
        if self.tried < self.order.len() {
            return Duration::ZERO;
        }
        self.tried = 0;
        let bound = self.bound(reachable);
        self.rounds = self.rounds.saturating_add(1);
        jitter(bound) + jitter(self.splay)
    }

    /// A working connection broke: starts over and says how long to wait, less
    /// than a second unless `kombu_reconnect_splay` says otherwise.
    pub(crate) fn lost(&mut self) -> Duration {
        self.advance();
        self.tried = 0;
        self.rounds = 0;
        self.lost_at = Some(Instant::now());
        jitter(self.reconnect_delay.min(Duration::from_millis(900))) + jitter(self.splay)
    }

    fn bound(&self, reachable: bool) -> Duration {
        let quick = !reachable
            && self
                .lost_at
                .is_some_and(|since| since.elapsed() < QUICK_PHASE);
        if quick {
            return self.interval.min(self.interval_max).max(QUICK_INTERVAL);
        }
        (self.interval + self.backoff.saturating_mul(self.rounds)).min(self.interval_max)
    }

    fn advance(&mut self) {
        self.at = match self.strategy {
            FailoverStrategy::RoundRobin => (self.at + 1) % self.order.len(),
            FailoverStrategy::Shuffle => rand::rng().random_range(0..self.order.len()),
        };
    }
}

fn jitter(bound: Duration) -> Duration {
    bound.mul_f64(rand::rng().random_range(0.1..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(schedule: &mut Schedule, count: usize) -> Vec<u64> {
        (0..count)
            .map(|_| {
                let bound = schedule.bound(false);
                assert!(schedule.failed(false) <= bound + schedule.splay);
                bound.as_secs()
            })
            .collect()
    }

    #[test]
    fn intervals_grow_to_the_maximum() {
        let mut schedule = Schedule::new(&RabbitOptions::default(), 1);
        assert_eq!(
            bounds(&mut schedule, 17),
            [
                1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 30, 30
            ]
        );
    }

    #[test]
    fn all_brokers_are_tried_before_a_pause() {
        let mut schedule = Schedule::new(&RabbitOptions::default(), 3);
        let mut seen = vec![schedule.host()];
        for _ in 0..2 {
            assert_eq!(schedule.failed(false), Duration::ZERO);
            seen.push(schedule.host());
        }
        assert!(schedule.failed(false) > Duration::ZERO);
        assert_eq!(schedule.host(), seen[0]);
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }

    #[test]
    fn after_a_break_retries_are_quick() {
        let mut schedule = Schedule::new(&RabbitOptions::default(), 1);
        bounds(&mut schedule, 20);
        assert!(schedule.lost() < Duration::from_secs(1));
        assert_eq!(bounds(&mut schedule, 20), [1; 20]);
        assert!(schedule.bound(true) > Duration::from_secs(1));
    }

    #[test]
    fn the_operators_interval_wins_over_the_quick_phase() {
        let options = RabbitOptions {
            rabbit_retry_interval: 10,
            ..RabbitOptions::default()
        };
        let mut schedule = Schedule::new(&options, 1);
        schedule.lost();
        assert_eq!(bounds(&mut schedule, 2), [10, 10]);
    }
}
