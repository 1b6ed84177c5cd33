//! The schedule's vocabulary: settings, tickets, decisions and counters.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// The bounds of a schedule.
#[derive(Clone, Debug)]
pub struct ScheduleSettings {
    /// Commands of one lane that wait in hand; at least one.
    pub lane_capacity: usize,
    /// Commands of all lanes that wait in hand behind a missing one.
    pub max_held: usize,
    /// Missing commands of all lanes whose position is remembered.
    pub max_remembered: usize,
    /// How long after its due time a missing command keeps its position, not counting time without a consumer.
    pub return_grace: Duration,
    /// The tiers' lengths, the shortest first; at least one.
    pub tiers: Vec<Duration>,
    /// The number of rate classes; at least one.
    pub classes: usize,
}

impl ScheduleSettings {
    /// The length of the tier with this index; of the longest tier when there is none.
    pub(super) fn tier_length(&self, tier: usize) -> Duration {
        self.tiers.get(tier).or(self.tiers.last()).copied().unwrap_or_default()
    }

    /// The index of the longest tier that ends within `wait`; of the shortest when none does.
    pub(super) fn longest_tier_within(&self, wait: Duration) -> usize {
        self.tiers.iter().rposition(|length| *length <= wait).unwrap_or(0)
    }
}

/// A delivery that enters the schedule, in queue order.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The ordering key; `None` for a command that may be attempted in any order.
    pub key: Option<&'a str>,
    /// Identifies the command within its lane; a delayed copy has the same id.
    pub id: u64,
    /// The index of its rate class.
    pub class: usize,
}

/// Identifies a command in hand. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// What the dispatcher must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleDecision {
    /// Start an attempt. It ends with `request_attempt`, `delay`, `remove` or `requeue`.
    Attempt {
        /// The command to attempt.
        ticket: Ticket,
        /// How long the command was held back by rates alone.
        rate_wait: Duration,
    },
    /// Publish a copy to the tier, then call `confirm_delayed`. Uncounted unless the command itself requested the
    /// delay.
    Delay {
        /// The command to copy.
        ticket: Ticket,
        /// The index of the tier.
        tier: usize,
    },
}

/// Cumulative counts of events that concern order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderCounters {
    /// Commands delayed only because one before them was missing.
    pub behind: u64,
    /// Commands delayed because their lane was full.
    pub overflowed: u64,
    /// Missing commands that lost their position because they did not return in time.
    pub forgotten: u64,
    /// Missing commands whose position was not remembered, beyond `max_remembered`.
    pub given_up: u64,
}

/// Identifies a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LaneId {
    /// The hash of the ordering key.
    Key(u64),
    /// The lane of one command without a key.
    Keyless(Ticket),
}

impl LaneId {
    pub(super) fn new(key: Option<&str>, ticket: Ticket) -> Self {
        let Some(key) = key else { return Self::Keyless(ticket) };
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self::Key(hasher.finish())
    }

    pub(super) const fn has_key(self) -> bool {
        matches!(self, Self::Key(_))
    }
}
