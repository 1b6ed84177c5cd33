//! The consumer's prefetch: one and a half times the concurrency limit, so that no attempt waits for the broker.

use std::time::Duration;

/// Minimum share of the configured maximum, kept even when the concurrency limit is low: commands that wait for a retry
/// or behind another of their device are in hand too, and must not displace the others.
const MIN_SHARE: f64 = 0.5;
/// A change costs a round trip to the broker: at most one per this interval.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// While commands wait, so that those that could go need not wait behind them.
const MIN_GROWTH_INTERVAL: Duration = Duration::from_secs(1);
/// Smaller relative changes are skipped.
const MIN_CHANGE: f64 = 0.2;
/// How far the prefetch may exceed the configured one while commands wait for their retry, their turn or their rate.
const MAX_EXTRA: f64 = 1_000.0;
/// The same where the configured prefetch is small.
const MAX_FACTOR: f64 = 10.0;

/// Computes the prefetch. Times are counted from any fixed start.
#[derive(Debug)]
pub(super) struct PrefetchControl {
    max: f64,
    current: f64,
    changed: Duration,
}

impl PrefetchControl {
    pub(super) fn new(max: u16) -> Self {
        Self { max: max.into(), current: max.into(), changed: Duration::ZERO }
    }

    /// Returns the new prefetch for this concurrency limit and this number of waiting commands in hand, if it changes.
    pub(super) fn adjust(&mut self, concurrency: usize, waiting: usize, now: Duration) -> Option<u16> {
        let wanted = self.wanted(concurrency, waiting);
        let is_growth = wanted > self.current && waiting > 0;
        let interval = if is_growth { MIN_GROWTH_INTERVAL } else { MIN_INTERVAL };
        if now.saturating_sub(self.changed) < interval {
            return None;
        }
        let is_small = (wanted - self.current).abs() < self.current * MIN_CHANGE && wanted < self.max;
        if is_small || (wanted - self.current).abs() < 1.0 {
            return None;
        }
        (self.current, self.changed) = (wanted, now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u16")]
        let prefetch = wanted as u16;
        Some(prefetch)
    }

    /// Room for the attempts, and twice as much as waits, so that the part that does not wait stays.
    fn wanted(&self, concurrency: usize, waiting: usize) -> f64 {
        let [concurrency, waiting] = [concurrency, waiting].map(|n| f64::from(u32::try_from(n).unwrap_or(u32::MAX)));
        let for_attempts = (concurrency * 1.5).clamp(self.max * MIN_SHARE, self.max);
        let max = (self.max + MAX_EXTRA).min(self.max * MAX_FACTOR).min(u16::MAX.into());
        (for_attempts + 2.0 * waiting).min(max).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn prefetch_changed_limit_follows_in_large_steps() {
        let mut prefetch = PrefetchControl::new(96);
        assert_eq!(prefetch.adjust(64, 0, s(10)), None, "unchanged");
        assert_eq!(prefetch.adjust(60, 0, s(11)), None, "small change");
        assert_eq!(prefetch.adjust(40, 0, s(12)), Some(60));
        assert_eq!(prefetch.adjust(64, 0, s(13)), None, "changed recently");
        assert_eq!(prefetch.adjust(64, 0, s(17)), Some(96));
        assert_eq!(prefetch.adjust(1, 0, s(30)), Some(48), "at least half of the maximum");
        assert_eq!(prefetch.adjust(1_000, 0, s(40)), Some(96), "at most the maximum");
    }

    #[test]
    fn prefetch_grows_with_the_commands_that_wait() {
        let mut prefetch = PrefetchControl::new(96);
        assert_eq!(prefetch.adjust(64, 90, s(1)), Some(276));
        assert_eq!(prefetch.adjust(64, 900, s(1)), None, "once a second");
        assert_eq!(prefetch.adjust(64, 900, s(2)), Some(960), "at most ten times the configured one");
        assert_eq!(prefetch.adjust(64, 0, s(3)), None, "shrinks later");
        assert_eq!(prefetch.adjust(64, 0, s(7)), Some(96));
        let mut large = PrefetchControl::new(1_500);
        assert_eq!(large.adjust(1_000, 1_400, s(1)), Some(2_500), "at most a thousand more");
    }
}
