//! Whose turn it is: the lanes that could start an attempt, first come, first served within the rates of their classes.

use std::{collections::BTreeMap, time::Duration};

use super::{LaneId, Ticket};
use crate::domain::rate::RateLimiter;

/// A lane's place in the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// The first of the lane.
    pub(super) ticket: Ticket,
    class: usize,
    /// Lower goes first.
    number: u64,
    /// What its class's clock showed when the turn began.
    began: Duration,
}

/// The lanes whose first command is of one class, and a clock that runs while their rate holds them back.
#[derive(Debug, Default)]
struct Ring {
    lanes: BTreeMap<u64, LaneId>,
    blocked_since: Option<Duration>,
    blocked: Duration,
}

impl Ring {
    fn clock(&self, now: Duration) -> Duration {
        self.blocked + self.blocked_since.map(|since| now.saturating_sub(since)).unwrap_or_default()
    }

    fn run(&mut self, is_blocked: bool, now: Duration) {
        match is_blocked {
            true => self.blocked_since = self.blocked_since.or(Some(now)),
            false => {
                self.blocked = self.clock(now);
                self.blocked_since = None;
            }
        }
    }
}

/// All rings, by class.
#[derive(Debug)]
pub(super) struct Turns {
    rings: Vec<Ring>,
    next_number: u64,
}

impl Turns {
    pub(super) fn new(classes: usize) -> Self {
        Self { rings: std::iter::repeat_with(Ring::default).take(classes).collect(), next_number: 0 }
    }

    /// Makes the lane's turn that of `ticket`, or of nobody. A lane keeps its number when another is its first now.
    pub(super) fn set(&mut self, lane: LaneId, turn: &mut Option<Turn>, first: Option<(Ticket, usize)>, now: Duration) {
        if turn.map(|turn| turn.ticket) == first.map(|(ticket, _)| ticket) {
            return;
        }
        let old = turn.take();
        if let Some(ring) = old.and_then(|old| self.rings.get_mut(old.class)) {
            old.map(|old| ring.lanes.remove(&old.number));
        }
        let Some((ticket, class)) = first else { return };
        let Some(ring) = self.rings.get_mut(class) else { return };
        self.next_number += 1;
        let number = old.map_or(self.next_number, |old| old.number);
        ring.lanes.insert(number, lane);
        *turn = Some(Turn { ticket, class, number, began: ring.clock(now) });
    }

    /// The lane that has waited for longest among those that may start; else how long until one may, if any is there.
    pub(super) fn pick(&mut self, pace: &RateLimiter, now: Duration) -> Result<(LaneId, usize), Option<Duration>> {
        let (mut first, mut soonest) = (None, None);
        for (class, ring) in self.rings.iter_mut().enumerate() {
            let Some((number, lane)) = ring.lanes.first_key_value().map(|(number, lane)| (*number, *lane)) else {
                ring.run(false, now);
                continue;
            };
            let wait = pace.wait(class, now);
            ring.run(!wait.is_zero(), now);
            match wait.is_zero() {
                true if first.is_none_or(|(other, _)| number < other) => first = Some((number, (lane, class))),
                true => {}
                false => soonest = Some(soonest.map_or(wait, |other: Duration| other.min(wait))),
            }
        }
        first.map(|(_, found)| found).ok_or(soonest)
    }

    /// Whether anybody waits for a turn.
    pub(super) fn is_any(&self) -> bool {
        self.rings.iter().any(|ring| !ring.lanes.is_empty())
    }

    /// No attempt may start, whatever the rates: nobody waits for them now.
    pub(super) fn pause(&mut self, now: Duration) {
        self.rings.iter_mut().for_each(|ring| ring.run(false, now));
    }

    /// How long the class's rate has held this turn back.
    pub(super) fn held_back(&self, turn: Turn, now: Duration) -> Duration {
        let clock = self.rings.get(turn.class).map(|ring| ring.clock(now));
        clock.unwrap_or_default().saturating_sub(turn.began)
    }
}
