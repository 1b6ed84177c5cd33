//! The subscriptions that this session has cancelled and that RabbitMQ still counts as consumers: it does so until all of
//! their deliveries are settled.

use super::acks::AckTracker;

/// The deliveries of one cancelled subscription.
#[derive(Debug)]
struct DeliveryRange {
    /// The tag before the first.
    before: u64,
    last: u64,
}

/// The cancelled subscriptions with unsettled deliveries.
#[derive(Debug, Default)]
pub(super) struct CancelledSubscriptions {
    ranges: Vec<DeliveryRange>,
    /// One of them was settled since the last count.
    has_ended: bool,
}

impl CancelledSubscriptions {
    /// Adds a subscription whose deliveries have tags after `before` and up to `last`.
    pub(super) fn add(&mut self, before: u64, last: u64, acks: &AckTracker) {
        self.remove_settled(acks);
        if before < last {
            self.ranges.push(DeliveryRange { before, last });
        }
    }

    /// Returns their number, or an error while it is uncertain: the broker may count one that was settled since the last
    /// call, or not.
    pub(super) fn count(&mut self, acks: &AckTracker) -> Result<u32, u32> {
        self.remove_settled(acks);
        let count = u32::try_from(self.ranges.len()).unwrap_or(u32::MAX);
        if std::mem::take(&mut self.has_ended) { Err(count) } else { Ok(count) }
    }

    fn remove_settled(&mut self, acks: &AckTracker) {
        let before = self.ranges.len();
        self.ranges.retain(|range| acks.has_unsettled_between(range.before, range.last));
        self.has_ended |= self.ranges.len() < before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_subscription_counts_until_it_is_settled() {
        let (mut acks, mut cancelled) = (AckTracker::default(), CancelledSubscriptions::default());
        (1..=5).for_each(|number| acks.record_delivery(number));
        cancelled.add(0, 0, &acks);
        assert_eq!(cancelled.count(&acks), Ok(0), "without deliveries");
        cancelled.add(0, 2, &acks);
        cancelled.add(2, 4, &acks);
        assert_eq!(cancelled.count(&acks), Ok(2));
        [1, 3, 4, 5].into_iter().for_each(|number| acks.settle(number));
        assert_eq!(cancelled.count(&acks), Err(1), "the broker may not know of the ack");
        assert_eq!(cancelled.count(&acks), Ok(1));
        acks.settle(2);
        cancelled.add(4, 5, &acks);
        assert_eq!((cancelled.count(&acks), cancelled.count(&acks)), (Err(0), Ok(0)));
    }
}
