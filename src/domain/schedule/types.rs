//! The schedule's vocabulary: settings, tickets, decisions and counters.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// The settings of a schedule.
#[derive(Clone, Debug)]
pub struct ScheduleSettings {
    /// Commands of one lane that may wait in hand, whatever its pace; at least one.
    pub min_lane_capacity: usize,
    /// The bounds that follow the prefetch.
    pub bounds: HandBounds,
    /// Missing commands of all lanes whose position is remembered.
    pub max_remembered: usize,
    /// How long after its due time a missing command keeps its position, not counting time without a consumer.
    pub return_grace: Duration,
    /// The tiers' lengths, the shortest first; at least one.
    pub tiers: Vec<Duration>,
    /// The number of rate classes; at least one.
    pub classes: usize,
}

/// How many commands may wait in hand.
#[derive(Clone, Copy, Debug)]
pub struct HandBounds {
    /// Commands of one lane, or of one rate class that waits for its rate.
    pub max_share: usize,
    /// Commands of all lanes that wait behind a missing one. The missing ones need room in the prefetch, too.
    pub max_held: usize,
    /// Commands that wait for anything but a free slot or the target's rate. Beyond it, a command that would wait for
    /// longer than a quarter of the shortest tier goes to a tier.
    pub max_waiting: usize,
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

    /// As [`Self::longest_tier_within`], but a longer one that ends at most a sixteenth of the wait later: a command that
    /// follows another into a tier arrives a little after it.
    pub(super) fn tier_for(&self, wait: Duration) -> usize {
        let fits = |length: &Duration| *length >= wait && *length <= wait + wait / 16;
        self.tiers.iter().position(fits).unwrap_or_else(|| self.longest_tier_within(wait))
    }

    /// A wait that is too short for a tier.
    pub(super) fn short_wait(&self) -> Duration {
        self.tier_length(0) / 4
    }

    /// Commands of one lane that may wait in hand, at this time per command; zero is unknown.
    pub(super) fn lane_capacity(&self, command_time: Duration) -> usize {
        let useful = if command_time.is_zero() { 0 } else { self.useful_share(command_time) };
        self.min_lane_capacity.max(useful)
    }

    /// How many commands keep a lane or class busy until more have returned from the shortest tier, at this time per
    /// command.
    pub(super) fn useful_share(&self, command_time: Duration) -> usize {
        let commands = (self.tier_length(0) * 2).as_nanos() / command_time.as_nanos().max(1);
        usize::try_from(commands).unwrap_or(usize::MAX).clamp(1, self.bounds.max_share.max(1))
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// Commands delayed because their lane or rate class had its share in hand.
    pub overflowed: u64,
    /// Missing commands that lost their position because they did not return in time.
    pub forgotten: u64,
    /// Missing commands whose position was not remembered, beyond `max_remembered`.
    pub given_up: u64,
}

/// What the schedule allows to a command that arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// It may wait behind a missing command.
    pub(super) may_hold: bool,
    /// The commands that wait have their share of the prefetch.
    pub(super) is_crowded: bool,
}

/// A lane's part of the schedule's totals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneCounts {
    pub(super) held: usize,
    pub(super) missing: usize,
    /// Commands in hand that wait for longer than the API takes.
    pub(super) waiting: usize,
}

impl LaneCounts {
    /// Replaces a lane's part in these totals.
    pub(super) fn replace(&mut self, before: Self, now: Self) {
        self.held = self.held + now.held - before.held;
        self.missing = self.missing + now.missing - before.missing;
        self.waiting = self.waiting + now.waiting - before.waiting;
    }
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
