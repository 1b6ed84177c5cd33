//! The consumer's prefetch: one and a half times the concurrency limit, so that no attempt waits for the broker.

use std::time::Duration;

/// Minimum share of the configured maximum, kept even when the concurrency limit is low: commands that wait for a retry
/// or behind another of their device are in hand too, and must not displace the others.
const MIN_SHARE: f64 = 0.5;
/// A change costs a round trip to the broker: at most one per this interval.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// Smaller relative changes are skipped.
const MIN_CHANGE: f64 = 0.2;

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

    /// Returns the new prefetch for this concurrency limit, if it changes.
    pub(super) fn adjust(&mut self, concurrency: usize, now: Duration) -> Option<u16> {
        if now.saturating_sub(self.changed) < MIN_INTERVAL {
            return None;
        }
        let concurrency = f64::from(u32::try_from(concurrency).unwrap_or(u32::MAX));
        let wanted = (concurrency * 1.5).max(self.max * MIN_SHARE).clamp(1.0, self.max);
        let is_small = (wanted - self.current).abs() < self.current * MIN_CHANGE && wanted < self.max;
        if is_small || (wanted - self.current).abs() < 1.0 {
            return None;
        }
        (self.current, self.changed) = (wanted, now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u16")]
        let prefetch = wanted as u16;
        Some(prefetch)
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
        assert_eq!(prefetch.adjust(64, s(10)), None, "unchanged");
        assert_eq!(prefetch.adjust(60, s(11)), None, "small change");
        assert_eq!(prefetch.adjust(40, s(12)), Some(60));
        assert_eq!(prefetch.adjust(64, s(13)), None, "changed recently");
        assert_eq!(prefetch.adjust(64, s(17)), Some(96));
        assert_eq!(prefetch.adjust(1, s(30)), Some(48), "at least half of the maximum");
        assert_eq!(prefetch.adjust(1_000, s(40)), Some(96), "at most the maximum");
    }
}
