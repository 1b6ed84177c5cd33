//! How many deliveries may be in hand at once by the sizes of their bodies.

/// A smaller body lowers the largest size by this much.
const DECAY: f64 = 0.02;
/// A body may be held twice: in hand, and in the buffers of the publisher as a dead letter or a delayed copy.
const COPIES: f64 = 2.0;

/// The largest recent body, and the bound of all bodies in hand.
#[derive(Debug)]
pub(super) struct BodySizes {
    max_bytes: f64,
    largest: f64,
}

impl BodySizes {
    /// `max_bytes` as in `limits.max_bytes_in_hand`.
    pub(super) fn new(max_bytes: u32) -> Self {
        Self { max_bytes: max_bytes.into(), largest: 0.0 }
    }

    pub(super) fn record(&mut self, bytes: usize) {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.largest = bytes.max(self.largest * (1.0 - DECAY));
    }

    /// The most deliveries in hand, at least 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u16")]
    pub(super) fn max_in_hand(&self) -> u16 {
        (self.max_bytes / (COPIES * self.largest).max(1.0)).clamp(1.0, u16::MAX.into()) as u16
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
    fn small_bodies_lift_the_bound_slowly() {
        let after = |small: usize| max_in_hand([8 * MIB].into_iter().chain(std::iter::repeat_n(150, small)));
        assert_eq!((after(0), after(20)), (4, 5));
        assert!((after(200) as f64 / 227.0 - 1.0).abs() < 0.05, "{}", after(200));
        assert_eq!(after(600), u16::MAX);
    }
}
