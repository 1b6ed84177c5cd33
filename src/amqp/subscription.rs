//! A subscription to the queue of commands, from its start to its last delivery.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

/// So long a subscription with little room is kept before one with more takes its place.
const KEPT: Duration = Duration::from_secs(5);

/// One that the broker serves.
pub(super) struct Active {
    pub(super) consumer: lapin::Consumer,
    pub(super) since: Instant,
    /// For this prefetch it was made.
    pub(super) prefetch: u16,
    /// What of it was free then: the broker counts by subscription, so what was in hand from earlier ones was taken off.
    pub(super) room: u16,
}

impl Active {
    /// Whether another one would serve better, with so many in hand from earlier ones.
    pub(super) fn is_outdated(&self, prefetch: u16, has_earlier: bool) -> bool {
        let is_cramped = self.room < self.prefetch / 2 && !has_earlier && self.since.elapsed() > KEPT;
        self.prefetch != prefetch || is_cramped
    }
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
    /// Pends while there is no subscription.
    pub(super) async fn next(&mut self) -> Option<Brought> {
        match self {
            Self::None => std::future::pending().await,
            Self::Active(Active { consumer, .. }) | Self::Ending(consumer) => consumer.next().await,
        }
    }
}
