//! The consumer's prefetch: one and a half times the concurrency limit, so that no attempt waits for the broker, within a
//! bound of bytes.

use std::time::Duration;

/// The bound of all bodies in hand, estimated from recent sizes.
const MAX_BYTES: f64 = 64.0 * 1024.0 * 1024.0;
/// Above this prefetch a daemon starts with a fifth: until a body's size is known, a queue of large bodies must not fill
/// the memory, and a fifth leaves room for the attempts once the prefetch grows.
const MAX_UNMEASURED: u16 = 2_000;
/// Minimum share of the configured maximum, kept even when the concurrency limit is low: commands that wait for a retry
/// or behind another of their device are in hand too, and must not displace the others.
const MIN_SHARE: f64 = 0.5;
/// The weight of the newest body in the mean.
const WEIGHT: f64 = 0.02;
/// A change costs a round trip to the broker: at most one per this interval.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// Smaller relative changes are skipped.
const MIN_CHANGE: f64 = 0.2;

/// The prefetch before a body was measured.
#[must_use]
pub const fn first_prefetch(max: u16) -> u16 {
    if max > MAX_UNMEASURED { max / 5 } else { max }
}

/// Computes the prefetch. Times are counted from any fixed start.
#[derive(Debug)]
pub(super) struct PrefetchControl {
    max: f64,
    current: f64,
    mean_bytes: f64,
    changed: Duration,
}

impl PrefetchControl {
    pub(super) fn new(max: u16) -> Self {
        Self { max: max.into(), current: first_prefetch(max).into(), mean_bytes: 0.0, changed: Duration::ZERO }
    }

    /// Measures the body of a delivery. A large one raises the mean at once; small ones lower it slowly.
    pub(super) fn measure(&mut self, bytes: usize) {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.mean_bytes = (self.mean_bytes + WEIGHT * (bytes - self.mean_bytes)).max(WEIGHT * bytes);
    }

    /// Returns the new prefetch for this concurrency limit, if it changes.
    pub(super) fn adjust(&mut self, concurrency: usize, now: Duration) -> Option<u16> {
        if self.mean_bytes <= 0.0 || now.saturating_sub(self.changed) < MIN_INTERVAL {
            return None;
        }
        let concurrency = f64::from(u32::try_from(concurrency).unwrap_or(u32::MAX));
        let wanted = (concurrency * 1.5).max(self.max * MIN_SHARE).min(MAX_BYTES / self.mean_bytes.max(1.0));
        let wanted = wanted.clamp(1.0, self.max);
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
        prefetch.measure(150);
        assert_eq!(prefetch.adjust(64, s(10)), None, "unchanged");
        assert_eq!(prefetch.adjust(60, s(11)), None, "small change");
        assert_eq!(prefetch.adjust(40, s(12)), Some(60));
        assert_eq!(prefetch.adjust(64, s(13)), None, "changed recently");
        assert_eq!(prefetch.adjust(64, s(17)), Some(96));
        assert_eq!(prefetch.adjust(1, s(30)), Some(48), "at least half of the maximum");
        assert_eq!(prefetch.adjust(1_000, s(40)), Some(96), "at most the maximum");
    }

    #[test]
    fn prefetch_large_bodies_shrink_it_and_small_restore_it() {
        let mut prefetch = PrefetchControl::new(2_000);
        (0..500).for_each(|_| prefetch.measure(256 * 1024));
        let small = prefetch.adjust(1_600, s(10)).unwrap();
        assert!((250..=300).contains(&small), "64 MiB in bodies of 256 KiB: {small}");
        (0..500).for_each(|_| prefetch.measure(150));
        assert_eq!(prefetch.adjust(1_600, s(20)), Some(2_000));
    }

    #[test]
    fn prefetch_large_maximum_starts_with_a_fifth() {
        assert_eq!([96, 2_000, 2_001, 15_000].map(first_prefetch), [96, 2_000, 400, 3_000]);
        let [mut small, mut large] = [PrefetchControl::new(7_500), PrefetchControl::new(7_500)];
        assert_eq!(small.adjust(5_000, s(3_600)), None, "no body measured");
        small.measure(150);
        assert_eq!(small.adjust(5_000, s(3_601)), Some(7_500));
        (0..first_prefetch(7_500)).for_each(|_| large.measure(256 * 1024));
        assert_eq!(large.adjust(5_000, s(10)), Some(256), "64 MiB in bodies of 256 KiB");
    }
}
