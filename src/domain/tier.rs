//! The delay queues: a command that must wait longer than a moment waits in the broker and not in memory.

use std::time::Duration;

/// One delay queue, named after its length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tier {
    /// How long a command stays in it.
    pub length: Duration,
    /// The last word of its exchange's and queue's names: `5s`, `30s`, `2m`, …
    pub name: String,
}

/// All of them, the shortest first; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers(Vec<Tier>);

/// The contract's five.
impl Default for Tiers {
    fn default() -> Self {
        let tiers = [("5s", 5), ("30s", 30), ("2m", 120), ("10m", 600), ("1h", 3_600)];
        Self(tiers.map(|(name, s)| Tier { length: Duration::from_secs(s), name: name.to_owned() }).into())
    }
}

impl Tiers {
    /// Sorts them by length; `None` when there is none or two have the same length.
    #[must_use]
    pub fn new(mut tiers: Vec<Tier>) -> Option<Self> {
        tiers.sort();
        let lengths_differ =
            tiers.windows(2).all(|pair| pair.first().map(|a| a.length) != pair.last().map(|b| b.length));
        (!tiers.is_empty() && lengths_differ).then_some(Self(tiers))
    }

    /// The shortest first.
    pub fn iter(&self) -> impl Iterator<Item = &Tier> {
        self.0.iter()
    }

    /// The one in this place.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&Tier> {
        self.0.get(place)
    }

    /// The place of the tier for the `turn`th wait in a tier (0, 1, …): each in turn, and then the longest again and again.
    #[must_use]
    pub fn for_turn(&self, turn: usize) -> usize {
        turn.min(self.0.len().saturating_sub(1))
    }

    /// The place of the longest that ends within `wait`; the shortest's when none does. A longer wait takes several.
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
    fn each_is_taken_in_turn_and_then_the_longest_again() {
        let tiers = tiers(&[30, 5, 120]).unwrap();
        let taken: Vec<_> = (0..5).map(|turn| tiers.get(tiers.for_turn(turn)).unwrap().name.as_str()).collect();
        assert_eq!(taken, ["5s", "30s", "120s", "120s", "120s"]);
    }

    #[test]
    fn a_wait_takes_the_longest_that_fits() {
        let tiers = tiers(&[5, 30, 120]).unwrap();
        for (wait_s, name) in
            [(0, "5s"), (5, "5s"), (29, "5s"), (30, "30s"), (119, "30s"), (120, "120s"), (9_999, "120s")]
        {
            let place = tiers.longest_within(Duration::from_secs(wait_s));
            assert_eq!(tiers.get(place).unwrap().name, name, "{wait_s} s");
        }
    }

    #[test]
    fn there_is_at_least_one_and_no_two_are_as_long() {
        assert!(tiers(&[]).is_none());
        assert!(tiers(&[5, 30, 5]).is_none());
        assert!(tiers(&[5]).is_some());
    }
}
