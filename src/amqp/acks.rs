//! Tracks unsettled deliveries and batches their acknowledgements into as few `basic.ack` frames as possible.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

/// How long an acknowledgement waits for others that can share its frame.
const LINGER: Duration = Duration::from_millis(3);
/// Number of settled deliveries that are flushed without waiting.
const MAX_BATCH: usize = 64;
/// Consecutive flushes without a cumulative ack after which deliveries behind an unsettled one are acked singly.
const MAX_HELD_FLUSHES: u32 = 2;

/// One `basic.ack` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    /// The broker's delivery tag.
    pub(super) number: u64,
    /// Acknowledges all earlier deliveries of the channel, too.
    pub(super) multiple: bool,
}

/// The deliveries of one session that are not acknowledged to the broker.
#[derive(Debug, Default)]
pub(super) struct AckTracker {
    /// Delivered, not settled.
    unsettled: BTreeSet<u64>,
    /// Every delivery up to this tag has arrived; tags count from 1.
    contiguous_to: u64,
    /// Arrived, although an earlier delivery has not (yet).
    beyond_gap: BTreeSet<u64>,
    /// Settled, not acknowledged.
    settled: BTreeSet<u64>,
    /// Since when `settled` is not empty, or the last flush that left entries.
    settled_since: Option<Instant>,
    /// Consecutive flushes without a cumulative ack.
    held_flushes: u32,
}

impl AckTracker {
    /// Records the arrival of a delivery.
    pub(super) fn record_delivery(&mut self, number: u64) {
        self.unsettled.insert(number);
        self.beyond_gap.insert(number);
        while self.beyond_gap.remove(&(self.contiguous_to + 1)) {
            self.contiguous_to += 1;
        }
    }

    /// Number of deliveries that are not settled.
    pub(super) fn unsettled_count(&self) -> usize {
        self.unsettled.len()
    }

    /// Number of deliveries after this tag that are not settled.
    pub(super) fn unsettled_after(&self, number: u64) -> usize {
        self.unsettled.range(number + 1..).count()
    }

    /// Tag up to which every delivery has arrived.
    pub(super) const fn contiguous_to(&self) -> u64 {
        self.contiguous_to
    }

    /// Whether one of these deliveries is unsettled.
    pub(super) fn has_unsettled(&self, numbers: &RangeInclusive<u64>) -> bool {
        self.unsettled.range(numbers.clone()).next().is_some()
    }

    /// Marks a delivery as settled; a repeated call has no effect.
    pub(super) fn settle(&mut self, number: u64) {
        if self.unsettled.remove(&number) {
            self.settled.insert(number);
            self.settled_since.get_or_insert_with(Instant::now);
        }
    }

    /// When [`Self::flush`] is due; `None` while nothing is settled.
    pub(super) fn flush_due(&self) -> Option<Instant> {
        let since = self.settled_since?;
        Some(if self.settled.len() >= MAX_BATCH { since } else { since + LINGER })
    }

    /// Returns the frames to send now: one cumulative ack for everything before the first unsettled delivery, and
    /// single acks for the rest if that delivery is slow or `all` must be sent.
    pub(super) fn flush(&mut self, all: bool) -> Vec<Ack> {
        // A delivery that has not arrived is unsettled, too: a cumulative ack must not cover it.
        let first_unsettled = self.unsettled.first().copied().unwrap_or(u64::MAX).min(self.contiguous_to + 1);
        let behind = self.settled.split_off(&first_unsettled);
        let before = std::mem::replace(&mut self.settled, behind);
        let mut acks: Vec<_> = before.last().map(|last| Ack { number: *last, multiple: true }).into_iter().collect();
        self.held_flushes = if acks.is_empty() { self.held_flushes + 1 } else { 0 };
        if all || self.held_flushes >= MAX_HELD_FLUSHES || self.settled.len() >= MAX_BATCH {
            let single = std::mem::take(&mut self.settled).into_iter();
            acks.extend(single.map(|number| Ack { number, multiple: false }));
            self.held_flushes = 0;
        }
        self.settled_since = (!self.settled.is_empty()).then(Instant::now);
        acks
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn tracker(deliveries: u64) -> AckTracker {
        let mut tracker = AckTracker::default();
        (1..=deliveries).for_each(|number| tracker.record_delivery(number));
        tracker
    }

    fn single(number: u64) -> Ack {
        Ack { number, multiple: false }
    }

    fn cumulative(number: u64) -> Ack {
        Ack { number, multiple: true }
    }

    #[test]
    fn flush_settled_in_order_is_one_cumulative_ack() {
        let mut tracker = tracker(5);
        (1..=4).for_each(|number| tracker.settle(number));
        assert_eq!(tracker.flush(false), [cumulative(4)]);
        assert_eq!((tracker.flush(false), tracker.flush_due()), (vec![], None));
    }

    #[test]
    fn flush_behind_slow_delivery_acks_singly_on_second_try() {
        let mut tracker = tracker(4);
        [1, 3, 4].into_iter().for_each(|number| tracker.settle(number));
        assert_eq!(tracker.flush(false), [cumulative(1)]);
        assert!(tracker.flush_due().is_some());
        assert_eq!(tracker.flush(false), []);
        assert_eq!(tracker.flush(false), [3, 4].map(single));
        tracker.settle(2);
        assert_eq!(tracker.flush(false), [cumulative(2)]);
    }

    #[test]
    fn flush_delivery_not_arrived_is_not_covered() {
        let mut tracker = AckTracker::default();
        [1, 3, 4].into_iter().for_each(|number| tracker.record_delivery(number));
        [1, 3, 4].into_iter().for_each(|number| tracker.settle(number));
        assert_eq!(tracker.flush(true), [cumulative(1), single(3), single(4)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// From the broker's view: each frame names a delivery that is outstanding, and covers only settled ones.
        #[test]
        fn flush_acks_each_delivery_once_after_it_is_settled(order in vec(any::<u64>(), 1..200), every in 1_usize..20) {
            let count = order.len() as u64;
            let mut numbers: Vec<_> = (1..=count).collect();
            numbers.sort_by_key(|number| order[usize::try_from(*number).unwrap() - 1]);
            let mut tracker = tracker(count);
            let (mut outstanding, mut settled): (BTreeSet<_>, BTreeSet<u64>) = ((1..=count).collect(), BTreeSet::new());
            for (n, number) in numbers.iter().enumerate() {
                tracker.settle(*number);
                tracker.settle(*number);
                settled.insert(*number);
                let is_last = n + 1 == numbers.len();
                if n % every == 0 || is_last {
                    for Ack { number, multiple } in tracker.flush(is_last) {
                        prop_assert!(outstanding.contains(&number));
                        let covered = |n: &u64| *n == number || (multiple && *n < number);
                        let covered: Vec<_> = outstanding.iter().copied().filter(covered).collect();
                        for one in covered {
                            prop_assert!(settled.contains(&one), "{one} is not settled");
                            outstanding.remove(&one);
                        }
                    }
                }
            }
            prop_assert!(outstanding.is_empty(), "not acknowledged: {outstanding:?}");
        }
    }
}
