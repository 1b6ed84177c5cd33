//! A subscription to the queue of commands, from its start to its last delivery.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

/// So long a subscription with little room is kept before one with more takes its place.
const KEPT: Duration = Duration::from_secs(5);

/// One that the broker serves.
pub(super) struct Active {
    pub(super) consumer: lapin::Consumer,
    pub(super) extent: Extent,
}

/// How much a subscription may bring.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) since: Instant,
    /// For this prefetch it was made.
    pub(super) prefetch: u16,
    /// What of it was free then: the broker counts by subscription, so what was in hand from earlier ones was taken off.
    pub(super) room: u16,
}

impl Extent {
    /// Whether another one would serve better, with so many in hand. One that is cramped must not wait until what is in hand
    /// from earlier ones is settled: that may wait for what only more room would bring.
    pub(super) fn is_outdated(&self, prefetch: u16, in_hand: u16) -> bool {
        let is_better = self.room < room(prefetch, in_hand) / 2;
        self.prefetch != prefetch || (self.is_cramped() && is_better && self.since.elapsed() > KEPT)
    }

    /// Whether much of its prefetch was taken when it was made.
    pub(super) const fn is_cramped(&self) -> bool {
        self.room < self.prefetch / 2
    }
}

/// What of a prefetch is free with so many in hand; a subscription needs some.
pub(super) fn room(prefetch: u16, in_hand: u16) -> u16 {
    prefetch.saturating_sub(in_hand).max(1)
}

/// What a subscription brings.
pub(super) type Brought = Result<lapin::message::Delivery, lapin::Error>;

/// Whether the broker sends us deliveries.
pub(super) enum Subscription {
    None,
    Active(Active),
    /// We asked it to stop; what it sent before still comes.
    Ending(lapin::Consumer),
}

impl Subscription {
    /// Whether one with more room may have to take its place soon.
    pub(super) const fn is_cramped(&self) -> bool {
        matches!(self, Self::Active(active) if active.extent.is_cramped())
    }

    /// Pends while there is no subscription.
    pub(super) async fn next(&mut self) -> Option<Brought> {
        match self {
            Self::None => std::future::pending().await,
            Self::Active(Active { consumer, .. }) | Self::Ending(consumer) => consumer.next().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_with_little_room_is_replaced_when_another_had_more_and_not_at_once() {
        let extent = Extent { since: Instant::now(), prefetch: 22, room: room(22, 40) };
        assert!(extent.is_cramped() && extent.room == 1, "it needs some");
        assert!(!extent.is_outdated(22, 5), "just made");
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(!extent.is_outdated(22, 20), "another one had no more");
        assert!(extent.is_outdated(22, 5), "what is still in hand may wait for what only this would bring");
        assert!(extent.is_outdated(30, 20), "another prefetch");
        let roomy = Extent { room: 15, ..extent };
        assert!(!roomy.is_cramped() && !roomy.is_outdated(22, 0));
    }
}
