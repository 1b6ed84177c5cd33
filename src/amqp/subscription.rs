//! A subscription to the command queue, from `basic.consume` to its last delivery.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

/// How long a narrow subscription is kept before a wider one replaces it.
const MIN_LIFETIME: Duration = Duration::from_secs(5);

/// Whether the broker sends deliveries.
pub(super) enum Subscription {
    None,
    Active(ActiveSubscription),
    /// Cancelled; deliveries that the broker sent before still arrive.
    Cancelling(lapin::Consumer),
}

/// A subscription that the broker serves.
pub(super) struct ActiveSubscription {
    pub(super) consumer: lapin::Consumer,
    pub(super) window: SubscriptionWindow,
}

/// A delivery, or the error that ends the subscription.
pub(super) type DeliveryResult = Result<lapin::message::Delivery, lapin::Error>;

impl Subscription {
    /// Whether a wider subscription may have to replace this one soon.
    pub(super) const fn is_narrow(&self) -> bool {
        matches!(self, Self::Active(active) if active.window.is_narrow())
    }

    /// The next delivery, or `None` at the end of the subscription. Pends while there is no subscription.
    pub(super) async fn next(&mut self) -> Option<DeliveryResult> {
        match self {
            Self::None => std::future::pending().await,
            Self::Active(ActiveSubscription { consumer, .. }) | Self::Cancelling(consumer) => consumer.next().await,
        }
    }
}

/// How many unsettled deliveries a subscription may have.
#[derive(Clone, Copy)]
pub(super) struct SubscriptionWindow {
    pub(super) opened_at: Instant,
    /// The prefetch that was wanted.
    pub(super) prefetch: u16,
    /// The prefetch that was set. RabbitMQ counts it per consumer, so unsettled deliveries of earlier subscriptions are
    /// subtracted.
    pub(super) size: u16,
}

impl SubscriptionWindow {
    /// Whether a new subscription would serve better with this many unsettled deliveries.
    ///
    /// A narrow one must not wait until those of earlier subscriptions are settled: they may wait for commands that
    /// only a wider window brings.
    pub(super) fn is_outdated(&self, prefetch: u16, unsettled: u16) -> bool {
        let would_widen = self.size < window_size(prefetch, unsettled) / 2;
        self.prefetch != prefetch || (self.is_narrow() && would_widen && self.opened_at.elapsed() > MIN_LIFETIME)
    }

    /// Whether less than half of the prefetch was free when the subscription started.
    pub(super) const fn is_narrow(&self) -> bool {
        self.size < self.prefetch / 2
    }
}

/// The part of a prefetch that is free, at least 1: RabbitMQ takes 0 as unlimited.
pub(super) fn window_size(prefetch: u16, unsettled: u16) -> u16 {
    prefetch.saturating_sub(unsettled).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn narrow_window_is_replaced_by_wider_one_after_a_while() {
        let window = SubscriptionWindow { opened_at: Instant::now(), prefetch: 22, size: window_size(22, 40) };
        assert!(window.is_narrow() && window.size == 1, "never 0");
        assert!(!window.is_outdated(22, 5), "too young");
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(!window.is_outdated(22, 20), "a new one would not be wider");
        assert!(window.is_outdated(22, 5), "a new one would be wider");
        assert!(window.is_outdated(30, 20), "another prefetch");
        let wide = SubscriptionWindow { size: 15, ..window };
        assert!(!wide.is_narrow() && !wide.is_outdated(22, 0));
    }
}
