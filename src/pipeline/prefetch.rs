//! The consumer's prefetch. It follows the concurrency limit and the commands that wait in hand, in steps that double.
//!
//! RabbitMQ applies a prefetch to new subscriptions only, and a new one begins with what the deliveries of the one before
//! leave free. So a change costs throughput until those are settled, and changes must be few.

use std::time::Duration;

/// Minimum interval between two changes, so that a larger subscription fills before the next one replaces it.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
/// A prefetch that has not been needed for this long is halved.
const SHRINK_AFTER: Duration = Duration::from_secs(10);
/// How far the prefetch may exceed the configured one while commands wait for their retry, their turn or their rate.
const MAX_EXTRA: usize = 1_000;
/// The same where the configured prefetch is small.
const MAX_FACTOR: usize = 10;

/// Computes the prefetch. Times are counted from any fixed start.
#[derive(Debug)]
pub(super) struct PrefetchControl {
    max: usize,
    current: usize,
    changed: Duration,
    /// When the next smaller prefetch was last too small.
    needed: Duration,
}

impl PrefetchControl {
    /// Starts with this prefetch, the configured one.
    pub(super) fn new(max: u16) -> Self {
        Self { max: max.into(), current: max.into(), changed: Duration::ZERO, needed: Duration::ZERO }
    }

    /// The prefetch in force.
    pub(super) const fn current(&self) -> usize {
        self.current
    }

    /// Returns the new prefetch for this concurrency limit and this number of waiting commands in hand, if it changes.
    pub(super) fn adjust(&mut self, concurrency: usize, waiting: usize, now: Duration) -> Option<u16> {
        let wanted = self.wanted(concurrency, waiting);
        let smaller = self.smaller();
        if wanted > smaller {
            self.needed = now;
        }
        let next = if wanted > self.current {
            std::iter::successors(Some(self.current), |size| Some(self.larger(*size))).find(|size| *size >= wanted)?
        } else if now.saturating_sub(self.needed.max(self.changed)) >= SHRINK_AFTER {
            smaller
        } else {
            self.current
        };
        if next == self.current || now.saturating_sub(self.changed) < MIN_INTERVAL {
            return None;
        }
        (self.current, self.changed) = (next, now);
        u16::try_from(next).ok()
    }

    /// Room for the attempts, and twice as much as waits, so that the part that does not wait stays.
    fn wanted(&self, concurrency: usize, waiting: usize) -> usize {
        let for_attempts = (concurrency + concurrency / 2).min(self.max);
        for_attempts.saturating_add(waiting.saturating_mul(2)).min(self.limit())
    }

    fn limit(&self) -> usize {
        (self.max + MAX_EXTRA).min(self.max * MAX_FACTOR).min(u16::MAX.into())
    }

    fn larger(&self, size: usize) -> usize {
        (size * 2).min(self.limit())
    }

    /// The step below the current one; the lowest is half of the configured prefetch.
    fn smaller(&self) -> usize {
        let steps = std::iter::successors(Some((self.max / 2).max(1)), |size| Some(self.larger(*size)));
        steps.take_while(|size| *size < self.current).last().unwrap_or(self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn prefetch_follows_the_concurrency_limit_in_halves() {
        let mut prefetch = PrefetchControl::new(96);
        for second in 1..=30 {
            assert_eq!(prefetch.adjust(33, 0, s(second)), None, "49 are more than a half");
        }
        assert_eq!(prefetch.adjust(32, 0, s(39)), None, "needed lately");
        assert_eq!(prefetch.adjust(32, 0, s(40)), Some(48));
        assert_eq!(prefetch.adjust(1, 0, s(100)), None, "at least half of the maximum");
        assert_eq!(prefetch.adjust(32, 0, s(101)), None);
        assert_eq!(prefetch.adjust(33, 0, s(101)), Some(96), "growth is immediate");
        assert_eq!(prefetch.adjust(1_000, 0, s(102)), None, "at most the maximum");
    }

    #[test]
    fn prefetch_doubles_with_the_commands_that_wait() {
        let mut prefetch = PrefetchControl::new(96);
        assert_eq!(prefetch.adjust(64, 90, s(1)), Some(384));
        assert_eq!(prefetch.adjust(64, 140, s(2)), None, "376 fit");
        assert_eq!(prefetch.adjust(64, 145, s(2)), Some(768));
        assert_eq!(prefetch.adjust(64, 900, s(2)), None, "changed just now");
        assert_eq!(prefetch.adjust(64, 900, s(3)), Some(960), "at most ten times the configured one");
        assert_eq!(prefetch.adjust(64, 0, s(12)), None);
        for (second, size) in [(13, 768), (23, 384), (33, 192), (43, 96)] {
            assert_eq!(prefetch.adjust(64, 0, s(second)), Some(size), "a step every ten seconds");
        }
        let mut large = PrefetchControl::new(1_500);
        assert_eq!(large.adjust(1_000, 1_400, s(1)), Some(2_500), "at most a thousand more");
    }

    #[test]
    fn prefetch_with_a_varying_need_rarely_changes() {
        let mut prefetch = PrefetchControl::new(96);
        let waiting = |tick: u64| usize::try_from(100 + tick * 37 % 150).unwrap();
        let changes =
            (1..6_000).filter_map(|tick| prefetch.adjust(64, waiting(tick), Duration::from_millis(10 * tick)));
        assert_eq!(changes.collect::<Vec<_>>(), [768]);
    }

    #[test]
    fn prefetch_of_one_stays_positive() {
        let mut prefetch = PrefetchControl::new(1);
        assert_eq!(prefetch.adjust(1, 0, s(60)), None);
        assert_eq!(prefetch.adjust(1, 9, s(61)), Some(10));
        assert_eq!(prefetch.adjust(0, 0, s(71)), Some(8));
    }
}
