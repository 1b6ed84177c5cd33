//! The names of exchanges and queues.

use crate::{domain::tier::Tiers, telemetry::WatchedQueue};

/// The names that share one prefix.
#[derive(Clone, Debug)]
pub struct TopologyNames {
    prefix: String,
}

impl TopologyNames {
    /// `prefix` as in `broker.prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The prefix of all names.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Exchange and queue of commands.
    #[must_use]
    pub fn commands(&self) -> String {
        [&self.prefix, ".commands"].concat()
    }

    /// Exchange and default queue of events.
    #[must_use]
    pub fn events(&self) -> String {
        [&self.prefix, ".events"].concat()
    }

    /// Exchange and queue of dead letters.
    #[must_use]
    pub fn dead(&self) -> String {
        [&self.prefix, ".dead"].concat()
    }

    /// Exchange and queue of messages without a bound queue.
    #[must_use]
    pub fn unroutable(&self) -> String {
        [&self.prefix, ".unroutable"].concat()
    }

    /// Exchange and queue of a tier.
    #[must_use]
    pub fn retry(&self, tier: &str) -> String {
        format!("{}.retry.{tier}", self.prefix)
    }

    /// The name of a queue whose messages are counted.
    #[must_use]
    pub fn watched(&self, queue: WatchedQueue, tiers: &Tiers) -> String {
        [&self.prefix, ".", &queue.label(tiers)].concat()
    }

    /// Every name of the contract; each is the name of an exchange and of a queue.
    #[must_use]
    pub fn all(&self, tiers: &Tiers) -> Vec<String> {
        let tiers = tiers.iter().map(|tier| self.retry(&tier.name));
        [self.commands(), self.events(), self.dead(), self.unroutable()].into_iter().chain(tiers).collect()
    }
}
