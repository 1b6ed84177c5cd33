//! Compares the broker's counts of the queue with the session: whether it still has this consumer, whether others have
//! theirs, and whether another subscription would serve better.

use std::time::Duration;

use super::ConsumeSession;
use crate::{
    amqp::{
        error::SessionError,
        other_consumers::{ConsumerCount, OtherConsumers},
        subscription::{ActiveSubscription, Subscription, SubscriptionWindow},
    },
    telemetry::events::ConsumersCounted,
};

/// Consecutive counts of no consumer beside ready messages that end the session, about one a second.
const MAX_ZERO_COUNTS: u32 = 10;

/// Without a delivery for this long, a subscription may need renewal. Less than the interval of the polls, so that each of
/// them checks it.
const QUIET_TIME: Duration = Duration::from_secs(2);

impl ConsumeSession<'_> {
    /// Checks the broker's consumer count against the subscription and reports it. Returns whether to poll again soon.
    ///
    /// # Errors
    /// [`SessionError::ConsumerUnknown`] after consecutive counts of zero.
    pub(in crate::amqp) fn check_consumer_count(
        &mut self,
        count: ConsumerCount,
        others: &mut OtherConsumers,
    ) -> Result<bool, SessionError> {
        let Subscription::Active(ActiveSubscription { window, .. }) = &self.subscription else { return Ok(false) };
        let (window, counts) = (*window, count.counts);
        if window.opened_at > count.requested_at {
            return Ok(false);
        }
        if counts.is_proven() {
            self.record_count(count, others);
        }
        if self.zero_counts >= MAX_ZERO_COUNTS {
            return Err(SessionError::ConsumerUnknown(self.consumer.names.commands()));
        }
        self.needs_renewal = self.should_renew(&window, count, others);
        Ok(self.zero_counts > 0)
    }

    fn record_count(&mut self, mut count: ConsumerCount, others: &mut OtherConsumers) {
        self.zero_counts = if count.counts.consumers == 0 { self.zero_counts + 1 } else { 0 };
        let earlier = self.earlier.count(&self.acks);
        self.own.observe(count, earlier, self.last_ack_at);
        count.counts.consumers = count.counts.consumers.saturating_sub(earlier.unwrap_or(0));
        self.consumer.telemetry.record(ConsumersCounted { consumers: count.counts.consumers });
        if self.own.is_waiting() || earlier.is_some() {
            (self.consumer.on_other_consumers)(others.update(count, &self.own));
        }
    }

    /// Whether another subscription should replace a quiet one: the broker does not deliver, or may be unable to, as a node
    /// is that was cut off from its cluster; or it is not known whether the broker counts this one.
    fn should_renew(&self, window: &SubscriptionWindow, count: ConsumerCount, others: &OtherConsumers) -> bool {
        if self.own.quiet_since() + QUIET_TIME > count.requested_at {
            return false;
        }
        let has_room = self.acks.unsettled_after(self.last_of_earlier) < usize::from(window.size);
        let is_stalled = has_room && count.counts.ready > 0;
        let is_idle = self.acks.unsettled_count() == 0;
        let needs_consensus = is_idle && self.has_other_nodes && !others.would_hand_over(&self.own);
        is_stalled || needs_consensus || others.needs_renewal(count.requested_at, &self.own)
    }
}
