//! A subscription to the command queue, from `basic.consume` to its last delivery.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

/// How long a narrow subscription is kept before a wider one replaces it.
const MIN_LIFETIME: Duration = Duration::from_millis(200);

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

/// What the gate asks of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// The gate is closed.
    Nothing,
    /// The gate is closed, and one command may prove that it can open.
    Probe,
    /// The gate is open.
    Commands,
}

/// A delivery, or the error that ends the subscription.
pub(super) type DeliveryResult = Result<lapin::message::Delivery, lapin::Error>;

impl Subscription {
    /// Whether a wider subscription may have to replace this one soon.
    pub(super) fn is_narrow(&self) -> bool {
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
    /// The most that the session allowed to set.
    pub(super) max_size: u16,
    /// The prefetch that was set. RabbitMQ counts it per consumer, so unsettled deliveries of earlier subscriptions are
    /// subtracted.
    pub(super) size: u16,
}

impl SubscriptionWindow {
    /// Whether a new subscription would serve better with this many unsettled deliveries.
    ///
    /// A narrow one must not wait until those of earlier subscriptions are settled: they may wait for commands that
    /// only a wider window brings.
    pub(super) fn is_outdated(&self, prefetch: u16, max_size: u16, unsettled: u16) -> bool {
        let wanted = window_size(prefetch, unsettled).min(max_size);
        let may_grow = self.max_size < self.prefetch && self.max_size <= max_size / 2 && self.size < wanted;
        let would_widen = self.size < wanted.div_ceil(2);
        self.prefetch != prefetch
            || may_grow
            || max_size < self.size
            || (self.is_narrow() && would_widen && self.opened_at.elapsed() > MIN_LIFETIME)
    }

    /// Whether less than half of the possible size was free when the subscription started.
    pub(super) fn is_narrow(&self) -> bool {
        self.size < self.prefetch.min(self.max_size) / 2
    }
}

/// The part of a prefetch that is free, at least 1: RabbitMQ takes 0 as unlimited.
pub(super) fn window_size(prefetch: u16, unsettled: u16) -> u16 {
    prefetch.saturating_sub(unsettled).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(prefetch: u16, max_size: u16, unsettled: u16) -> SubscriptionWindow {
        let size = window_size(prefetch, unsettled).min(max_size);
        SubscriptionWindow { opened_at: Instant::now(), prefetch, max_size, size }
    }

    #[tokio::test(start_paused = true)]
    async fn narrow_window_is_replaced_by_wider_one_after_a_while() {
        let narrow = window(22, u16::MAX, 40);
        assert!(narrow.is_narrow() && narrow.size == 1, "never 0");
        let is_outdated = |prefetch, unsettled| narrow.is_outdated(prefetch, u16::MAX, unsettled);
        assert!(!is_outdated(22, 5), "too young");
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(!is_outdated(22, 20), "a new one would not be wider");
        assert!(is_outdated(22, 5), "a new one would be wider");
        assert!(is_outdated(30, 20), "another prefetch");
        let wide = window(22, u16::MAX, 7);
        assert!(!wide.is_narrow() && !wide.is_outdated(22, u16::MAX, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn window_follows_the_largest_size() {
        let first = window(96, 1, 0);
        assert!(!first.is_narrow() && !first.is_outdated(96, 1, 1));
        assert!(first.is_outdated(96, 16, 1), "may grow");
        let second = window(96, 16, 0);
        assert!(second.is_outdated(96, 1, 3), "must shrink");
        assert!(!second.is_outdated(96, 20, 3), "a small change");
        assert!(second.is_outdated(96, u16::MAX, 3));
        let all = window(96, 100, 0);
        assert!(!all.is_outdated(96, u16::MAX, 0), "the prefetch is the limit");
    }
}
