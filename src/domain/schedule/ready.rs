//! The lanes whose head may start, in the order in which they became ready, within the rates of their classes.

use std::{collections::BTreeMap, time::Duration};

use super::types::{LaneId, Ticket};
use crate::domain::rate::RateLimiter;

/// A lane's entry in the ready queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadyEntry {
    /// The head of the lane.
    pub(super) ticket: Ticket,
    class: usize,
    /// The order among all entries: the lowest starts first.
    sequence: u64,
    /// The class's rate-limited time when the head entered.
    rate_limited_at_entry: Duration,
}

/// The ready lanes of one rate class.
#[derive(Debug, Default)]
struct ClassQueue {
    lanes: BTreeMap<u64, LaneId>,
    rate_limited_since: Option<Duration>,
    /// The total of the periods that have ended.
    rate_limited: Duration,
}

impl ClassQueue {
    /// How long rates alone have held back this class, in total.
    fn rate_limited(&self, now: Duration) -> Duration {
        let current = self.rate_limited_since.map(|since| now.saturating_sub(since));
        self.rate_limited + current.unwrap_or_default()
    }

    fn set_rate_limited(&mut self, is_rate_limited: bool, now: Duration) {
        if is_rate_limited {
            self.rate_limited_since.get_or_insert(now);
        } else {
            self.rate_limited = self.rate_limited(now);
            self.rate_limited_since = None;
        }
    }
}

/// The ready lanes of all classes.
#[derive(Debug)]
pub(super) struct ReadyQueue {
    classes: Vec<ClassQueue>,
    last_sequence: u64,
}

impl ReadyQueue {
    pub(super) fn new(classes: usize) -> Self {
        Self { classes: std::iter::repeat_with(ClassQueue::default).take(classes).collect(), last_sequence: 0 }
    }

    /// Replaces a lane's entry by one for `head`, a ticket and its class. A lane keeps its sequence while it has a
    /// head.
    pub(super) fn update(
        &mut self,
        lane: LaneId,
        entry: &mut Option<ReadyEntry>,
        head: Option<(Ticket, usize)>,
        now: Duration,
    ) {
        if entry.map(|entry| entry.ticket) == head.map(|(ticket, _)| ticket) {
            return;
        }
        let old = entry.take();
        if let Some(old) = old
            && let Some(queue) = self.classes.get_mut(old.class)
        {
            queue.lanes.remove(&old.sequence);
        }
        let Some((ticket, class)) = head else { return };
        let Some(queue) = self.classes.get_mut(class) else { return };
        self.last_sequence += 1;
        let sequence = old.map_or(self.last_sequence, |old| old.sequence);
        queue.lanes.insert(sequence, lane);
        *entry = Some(ReadyEntry { ticket, class, sequence, rate_limited_at_entry: queue.rate_limited(now) });
    }

    /// Returns the lane and class that may start and entered first.
    ///
    /// # Errors
    /// The shortest wait for a token when every ready class is rate-limited; `None` when no lane is ready.
    pub(super) fn first(&mut self, rates: &RateLimiter, now: Duration) -> Result<(LaneId, usize), Option<Duration>> {
        let (mut first, mut shortest_wait) = (None, None);
        for (class, queue) in self.classes.iter_mut().enumerate() {
            let Some((sequence, lane)) = queue.lanes.first_key_value().map(|(sequence, lane)| (*sequence, *lane))
            else {
                queue.set_rate_limited(false, now);
                continue;
            };
            let wait = rates.wait(class, now);
            queue.set_rate_limited(!wait.is_zero(), now);
            if !wait.is_zero() {
                shortest_wait = Some(shortest_wait.map_or(wait, |other: Duration| other.min(wait)));
            } else if first.is_none_or(|(other, _)| sequence < other) {
                first = Some((sequence, (lane, class)));
            }
        }
        first.map(|(_, found)| found).ok_or(shortest_wait)
    }

    /// The lanes and classes that may start now, within the rates.
    pub(super) fn startable(&self, rates: &RateLimiter, now: Duration) -> impl Iterator<Item = (LaneId, usize)> {
        let within_rates = move |(class, _): &(usize, &ClassQueue)| rates.wait(*class, now).is_zero();
        let classes = self.classes.iter().enumerate().filter(within_rates);
        classes.flat_map(|(class, queue)| queue.lanes.values().map(move |lane| (*lane, class)))
    }

    /// The ready lanes of the classes within their own rates.
    pub(super) fn lanes(&self, rates: &RateLimiter, now: Duration) -> impl Iterator<Item = LaneId> {
        let within_rate = move |(class, _): &(usize, &ClassQueue)| rates.class_wait(*class, now).is_zero();
        let classes = self.classes.iter().enumerate().filter(within_rate);
        classes.flat_map(|(_, queue)| queue.lanes.values().copied())
    }

    /// No attempt may start, whatever the rates: this time is no rate wait.
    pub(super) fn pause(&mut self, now: Duration) {
        self.classes.iter_mut().for_each(|queue| queue.set_rate_limited(false, now));
    }

    /// How long rates alone have held back this entry.
    pub(super) fn rate_wait(&self, entry: ReadyEntry, now: Duration) -> Duration {
        let rate_limited = self.classes.get(entry.class).map(|queue| queue.rate_limited(now));
        rate_limited.unwrap_or_default().saturating_sub(entry.rate_limited_at_entry)
    }
}
