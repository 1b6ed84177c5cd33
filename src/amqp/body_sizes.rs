//! How many deliveries may be in hand at once by the sizes of their bodies.

use rustc_hash::FxHashMap;

/// A smaller body lowers the largest size by this much.
const DECAY: f64 = 0.02;
/// A body may be held twice: in hand, and in the buffers of the publisher as a dead letter or a delayed copy.
const COPIES: u32 = 2;
/// The number of sizes that must be known before a subscription may have this many deliveries.
const SAMPLES: [(u32, u16); 2] = [(1, 1), (16, 16)];
/// Smaller bodies are not counted in bytes: the largest size alone bounds them.
const LARGE_BYTES: usize = 64 << 10;

/// The largest recent body, and the bound of all bodies in hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodySizes {
    max_bytes: u32,
    largest: f64,
    /// Sizes recorded since the last interruption.
    samples: u32,
}

impl BodySizes {
    /// `max_bytes` as in `limits.max_bytes_in_hand`.
    pub(super) fn new(max_bytes: u32) -> Self {
        Self { max_bytes, largest: 0.0, samples: 0 }
    }

    pub(super) fn record(&mut self, bytes: usize) {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.largest = bytes.max(self.largest * (1.0 - DECAY));
        self.samples = self.samples.saturating_add(1);
    }

    /// The queue was not consumed for a while: the next messages may be of other sizes.
    pub(super) fn interrupt(&mut self) {
        self.samples = 0;
    }

    /// The most deliveries in hand, at least 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u16")]
    pub(super) fn max_in_hand(&self) -> u16 {
        (f64::from(self.max_bytes_in_hand()) / self.largest.max(1.0)).clamp(1.0, u16::MAX.into()) as u16
    }

    /// The largest subscription that may be opened now.
    pub(super) fn max_size(&self) -> u16 {
        let first = SAMPLES.into_iter().find(|(samples, _)| self.samples < *samples);
        self.max_in_hand().min(first.map_or(u16::MAX, |(_, size)| size))
    }

    /// The most bytes of bodies in hand.
    const fn max_bytes_in_hand(&self) -> u32 {
        self.max_bytes / COPIES
    }
}

/// The large bodies in hand of one session.
#[derive(Debug, Default)]
pub(super) struct LargeBodies {
    by_tag: FxHashMap<u64, usize>,
    bytes: usize,
}

impl LargeBodies {
    /// Records a body in hand. Returns the bytes in hand if they are too many: several large ones arrived before their
    /// size was known.
    pub(super) fn insert(&mut self, number: u64, bytes: usize, sizes: &BodySizes) -> Option<usize> {
        if bytes < LARGE_BYTES {
            return None;
        }
        self.by_tag.insert(number, bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        let is_excess =
            self.by_tag.len() > 1 && self.bytes > usize::try_from(sizes.max_bytes_in_hand()).unwrap_or(usize::MAX);
        is_excess.then_some(self.bytes)
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some(bytes) = self.by_tag.remove(&number) {
            self.bytes -= bytes;
        }
    }

    /// Whether another body as large as the largest one may come.
    pub(super) fn have_room(&self, sizes: &BodySizes) -> bool {
        self.by_tag.is_empty() || self.bytes as f64 + sizes.largest <= f64::from(sizes.max_bytes_in_hand())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn max_in_hand(bodies: impl IntoIterator<Item = usize>) -> u16 {
        let mut sizes = BodySizes::new(64 << 20);
        bodies.into_iter().for_each(|bytes| sizes.record(bytes));
        sizes.max_in_hand()
    }

    #[test]
    fn large_body_bounds_the_number_at_once() {
        assert_eq!(max_in_hand([]), u16::MAX);
        assert_eq!(max_in_hand([0]), u16::MAX);
        assert_eq!(max_in_hand([256 << 10]), 128);
        assert_eq!(max_in_hand([100, 15 * MIB]), 2);
        assert_eq!(max_in_hand([15 * MIB, 100]), 2);
        assert_eq!(max_in_hand([usize::MAX]), 1);
    }

    #[test]
    fn few_samples_bound_the_subscription() {
        let mut sizes = BodySizes::new(64 << 20);
        assert_eq!(sizes.max_size(), 1);
        sizes.record(100);
        assert_eq!(sizes.max_size(), 16);
        (0..15).for_each(|_| sizes.record(100));
        assert_eq!(sizes.max_size(), u16::MAX);
        sizes.interrupt();
        assert_eq!((sizes.max_size(), sizes.max_in_hand()), (1, u16::MAX));
        sizes.record(15 * MIB);
        assert_eq!((sizes.max_size(), sizes.max_in_hand()), (2, 2), "and known in the next session");
    }

    #[test]
    fn large_bodies_in_hand_are_counted() {
        let (mut sizes, mut bodies) = (BodySizes::new(64 << 20), LargeBodies::default());
        let mut insert = |number, bytes| {
            sizes.record(bytes);
            (bodies.insert(number, bytes, &sizes), bodies.have_room(&sizes))
        };
        assert_eq!(insert(1, 40 * MIB), (None, false), "one is always taken");
        assert_eq!(insert(2, 100), (None, false));
        assert_eq!(insert(3, MIB), (Some(41 * MIB), false));
        bodies.remove(1);
        bodies.remove(1);
        assert_eq!(bodies.bytes, MIB);
    }

    #[test]
    fn small_bodies_lift_the_bound_slowly() {
        let after = |small: usize| max_in_hand([8 * MIB].into_iter().chain(std::iter::repeat_n(150, small)));
        assert_eq!((after(0), after(20)), (4, 5));
        assert!((after(200) as f64 / 227.0 - 1.0).abs() < 0.05, "{}", after(200));
        assert_eq!(after(600), u16::MAX);
    }
}
