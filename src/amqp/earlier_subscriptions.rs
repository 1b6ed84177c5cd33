//! The cancelled subscriptions of a session, whose consumers RabbitMQ counts until their deliveries are settled.

use std::ops::RangeInclusive;

use super::acks::AckTracker;

/// The delivery tags of each cancelled subscription with unsettled deliveries.
#[derive(Debug, Default)]
pub(super) struct EarlierSubscriptions(Vec<RangeInclusive<u64>>);

impl EarlierSubscriptions {
    /// Records a subscription with these deliveries; without any, the broker does not count it.
    pub(super) fn push(&mut self, deliveries: RangeInclusive<u64>) {
        if !deliveries.is_empty() {
            self.0.push(deliveries);
        }
    }

    /// How many of them the broker counts. `None` if one was settled since the call before, as the broker may count it or
    /// not.
    pub(super) fn count(&mut self, acks: &AckTracker) -> Option<u32> {
        let before = self.0.len();
        self.0.retain(|deliveries| acks.has_unsettled(deliveries));
        if self.0.len() == before { u32::try_from(before).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_subscription_counts_while_deliveries_are_in_hand() {
        let (mut acks, mut earlier) = (AckTracker::default(), EarlierSubscriptions::default());
        (1..=6).for_each(|number| acks.record_delivery(number));
        earlier.push(1..=2);
        earlier.push(RangeInclusive::new(3, 2));
        earlier.push(3..=4);
        assert_eq!(earlier.count(&acks), Some(2), "one had no delivery");
        [1, 3, 4].into_iter().for_each(|number| acks.settle(number));
        assert_eq!(earlier.count(&acks), None, "the broker may still count the second one");
        assert_eq!(earlier.count(&acks), Some(1));
        acks.settle(2);
        assert_eq!(earlier.count(&acks), None);
        assert_eq!(earlier.count(&acks), Some(0), "the present subscription is not an earlier one");
    }
}
