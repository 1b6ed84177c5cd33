//! The names of exchanges and queues.

use crate::domain::tier::Tiers;

/// The names of one prefix.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// `prefix` as in `broker.prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What all of them start with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Exchange and queue of the commands.
    #[must_use]
    pub fn commands(&self) -> String {
        [&self.prefix, ".commands"].concat()
    }

    /// Exchange and default queue of the events.
    #[must_use]
    pub fn events(&self) -> String {
        [&self.prefix, ".events"].concat()
    }

    /// Exchange and queue of the dead letters.
    #[must_use]
    pub fn dead(&self) -> String {
        [&self.prefix, ".dead"].concat()
    }

    /// Exchange and queue of what nobody is bound for.
    #[must_use]
    pub fn unroutable(&self) -> String {
        [&self.prefix, ".unroutable"].concat()
    }

    /// Every name of the contract's table; each is an exchange's and a queue's.
    #[must_use]
    pub fn all(&self, tiers: &Tiers) -> Vec<String> {
        let tiers = tiers.iter().map(|tier| self.retry(&tier.name));
        [self.commands(), self.events(), self.dead(), self.unroutable()].into_iter().chain(tiers).collect()
    }

    /// Exchange and queue of a tier.
    #[must_use]
    pub fn retry(&self, tier: &str) -> String {
        format!("{}.retry.{tier}", self.prefix)
    }
}
