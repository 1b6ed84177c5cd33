//! How many commands are worth having in hand: half as many again as attempts may be under way, so that none waits for the
//! broker, and no more bytes than a bound.

use std::time::Duration;

/// Bodies in hand, together, as far as the sizes of the last ones tell.
const BYTES_MOST: f64 = 64.0 * 1024.0 * 1024.0;
/// Where more than this is wanted, a daemon starts with a fifth: a queue full of large bodies must not fill the memory at each
/// start, before the size of one is known. The fifth is less than what is in hand beside the attempts, so what was taken of it
/// leaves room for all of them.
const UNSEEN_MOST: u16 = 2_000;
/// Even a limit that has learned to be small leaves as much of the most: what waits for its next attempt, or behind another
/// of its device, is in hand, too, and must not keep the others out.
const LEAST: f64 = 0.5;
/// How much the last body counts.
const SHARE: f64 = 0.02;
/// A change costs a round trip to the broker: not more often than this, and not for little.
const PAUSE: Duration = Duration::from_secs(5);
const LITTLE: f64 = 0.2;

/// What it is until a body has been seen.
#[must_use]
pub const fn first_prefetch(most: u16) -> u16 {
    if most > UNSEEN_MOST { most / 5 } else { most }
}

/// The prefetch; times are counted from some start.
#[derive(Debug)]
pub(super) struct Prefetch {
    most: f64,
    current: f64,
    /// Of the last bodies.
    mean_bytes: f64,
    changed: Duration,
}

impl Prefetch {
    /// The first one.
    pub(super) fn new(most: u16) -> Self {
        Self { most: most.into(), current: first_prefetch(most).into(), mean_bytes: 0.0, changed: Duration::ZERO }
    }

    /// A command came.
    pub(super) fn took(&mut self, bytes: usize) {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        // A large one counts at once; it is forgotten slowly.
        self.mean_bytes = (self.mean_bytes + SHARE * (bytes - self.mean_bytes)).max(SHARE * bytes);
    }

    /// What it is to be when so many attempts may be under way, if that is another.
    pub(super) fn change(&mut self, limit: usize, now: Duration) -> Option<u16> {
        if self.mean_bytes <= 0.0 || now.saturating_sub(self.changed) < PAUSE {
            return None;
        }
        let limit = f64::from(u32::try_from(limit).unwrap_or(u32::MAX));
        let wanted = (limit * 1.5).max(self.most * LEAST).min(BYTES_MOST / self.mean_bytes.max(1.0));
        let wanted = wanted.clamp(1.0, self.most);
        let is_little = (wanted - self.current).abs() < self.current * LITTLE && wanted < self.most;
        if is_little || (wanted - self.current).abs() < 1.0 {
            return None;
        }
        (self.current, self.changed) = (wanted, now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to the most, a u16")]
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
    fn it_follows_the_limit_but_not_at_once_and_not_for_little() {
        let mut prefetch = Prefetch::new(96);
        prefetch.took(150);
        assert_eq!(prefetch.change(64, s(10)), None, "it is that already");
        assert_eq!(prefetch.change(60, s(11)), None, "a little");
        assert_eq!(prefetch.change(40, s(12)), Some(60));
        assert_eq!(prefetch.change(64, s(13)), None, "just changed");
        assert_eq!(prefetch.change(64, s(17)), Some(96));
        assert_eq!(prefetch.change(1, s(30)), Some(48), "half of it at least");
        assert_eq!(prefetch.change(1_000, s(40)), Some(96), "never more than the most");
    }

    #[test]
    fn large_bodies_make_it_small_at_once_and_small_ones_large_again() {
        let mut prefetch = Prefetch::new(2_000);
        (0..500).for_each(|_| prefetch.took(256 * 1024));
        let small = prefetch.change(1_600, s(10)).unwrap();
        assert!((250..=300).contains(&small), "64 MiB of 256 KiB each: {small}");
        (0..500).for_each(|_| prefetch.took(150));
        assert_eq!(prefetch.change(1_600, s(20)), Some(2_000));
    }

    #[test]
    fn a_large_one_starts_with_a_fifth_until_a_body_has_been_seen() {
        assert_eq!([96, 2_000, 2_001, 15_000].map(first_prefetch), [96, 2_000, 400, 3_000]);
        let [mut small, mut large] = [Prefetch::new(7_500), Prefetch::new(7_500)];
        assert_eq!(small.change(5_000, s(3_600)), None, "nobody knows how large they are");
        small.took(150);
        assert_eq!(small.change(5_000, s(3_601)), Some(7_500));
        (0..first_prefetch(7_500)).for_each(|_| large.took(256 * 1024));
        assert_eq!(large.change(5_000, s(10)), Some(256), "64 MiB of 256 KiB each");
    }
}
