//! The tiers: delay queues in the broker, for waits too long to be spent in memory.

use std::time::Duration;

/// A delay queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tier {
    /// How long a message stays in it: the queue's `x-message-ttl`.
    pub length: Duration,
    /// The last word of the names of its exchange and queue: `5s`, `30s`, `2m`, …
    pub name: String,
}

/// At least one tier, the shortest first, each with another length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers(Vec<Tier>);

/// The five tiers of the contract.
impl Default for Tiers {
    fn default() -> Self {
        let tiers = [("5s", 5), ("30s", 30), ("2m", 120), ("10m", 600), ("1h", 3_600)];
        Self(tiers.map(|(name, s)| Tier { length: Duration::from_secs(s), name: name.to_owned() }).into())
    }
}

impl Tiers {
    /// Sorts the tiers by length. `None` if there is none or two have the same length.
    #[must_use]
    pub fn new(mut tiers: Vec<Tier>) -> Option<Self> {
        tiers.sort();
        let lengths_differ =
            tiers.windows(2).all(|pair| pair.first().map(|a| a.length) != pair.last().map(|b| b.length));
        (!tiers.is_empty() && lengths_differ).then_some(Self(tiers))
    }

    /// Returns the tiers, the shortest first.
    pub fn iter(&self) -> impl Iterator<Item = &Tier> {
        self.0.iter()
    }

    /// Returns the tier with this index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Tier> {
        self.0.get(index)
    }

    /// Returns the index of the tier for the `turn`th delay of a command (0, 1, …): each tier in turn, then always the
    /// longest.
    #[must_use]
    pub fn for_turn(&self, turn: usize) -> usize {
        turn.min(self.0.len().saturating_sub(1))
    }

    /// Returns the index of the longest tier that ends within `wait`, or of the shortest. Longer waits take several
    /// delays.
    #[must_use]
    pub fn longest_within(&self, wait: Duration) -> usize {
        self.0.iter().rposition(|tier| tier.length <= wait).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers(lengths_s: &[u64]) -> Option<Tiers> {
        let tier = |s: &u64| Tier { length: Duration::from_secs(*s), name: format!("{s}s") };
        Tiers::new(lengths_s.iter().map(tier).collect())
    }

    #[test]
    fn for_turn_takes_each_tier_then_the_longest() {
        let tiers = tiers(&[30, 5, 120]).unwrap();
        let names: Vec<_> = (0..5).map(|turn| tiers.get(tiers.for_turn(turn)).unwrap().name.as_str()).collect();
        assert_eq!(names, ["5s", "30s", "120s", "120s", "120s"]);
    }

    #[test]
    fn longest_within_takes_the_longest_that_fits() {
        let tiers = tiers(&[5, 30, 120]).unwrap();
        for (wait_s, name) in
            [(0, "5s"), (5, "5s"), (29, "5s"), (30, "30s"), (119, "30s"), (120, "120s"), (9_999, "120s")]
        {
            let index = tiers.longest_within(Duration::from_secs(wait_s));
            assert_eq!(tiers.get(index).unwrap().name, name, "{wait_s} s");
        }
    }

    #[test]
    fn new_without_tiers_or_with_equal_lengths_is_none() {
        assert!(tiers(&[]).is_none());
        assert!(tiers(&[5, 30, 5]).is_none());
        assert!(tiers(&[5]).is_some());
    }
}
