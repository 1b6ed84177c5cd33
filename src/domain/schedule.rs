//! The schedule: which command may start an attempt, and which one must be delayed in a tier.
//!
//! It keeps order within an ordering key, fairness between keys, and the rates. Pure state: the dispatcher reports each
//! event with the current time, then calls [`Schedule::next_decision`] until it returns `None`, and again at
//! [`Schedule::wake_at`].
//!
//! # Model
//!
//! Each ordering key has a *lane*, in which a command occupies a *position* from its first arrival until it is
//! finished. A command in the lane is *waiting* in hand, *pending* (in hand, to be copied to a tier), or *missing* (in
//! a tier, or requeued by the broker). A missing command reclaims its position when it arrives again.
//!
//! # Invariants
//!
//! - Per key, at most one attempt is in progress, and attempts start in the order of first arrival, over any number of
//!   delays: commands behind a missing or pending one wait in hand (a few) or follow it into a tier.
//! - A command that waits, for whatever reason, delays only commands with the same key. Commands without a key delay
//!   nothing.
//! - Lanes that are ready start first come, first served. A class that waits for its rate delays only that class, and
//!   a start takes all of its tokens at once or none.
//! - Per lane, one copy is published at a time and in order, so the tier's FIFO order is the lane's.
//! - Memory is bounded: per lane by `lane_capacity` waiting commands; overall by `max_held` held and `max_remembered`
//!   missing ones. Commands beyond the capacity stay in hand until their copy is confirmed, which the prefetch bounds.
//! - A call takes time linear in the commands of one lane and logarithmic in everything else, except
//!   [`Schedule::set_consuming`], which is linear in the lanes.
//!
//! # Limits
//!
//! - Order is given up, and counted, for a command that does not return within `return_grace` of its due time
//!   (`forgotten`) and beyond `max_remembered` (`given_up`). A copy returns behind the queue's backlog, so a backlog
//!   that takes longer than the grace costs order.
//! - Nothing survives a restart: commands in the tiers then return as new ones. Each daemon on a queue has its own
//!   lanes.
//! - A key with more traffic than its attempts can serve cycles through the shortest tier.
//! - Lanes are identified by a 64-bit hash of the key; keys that collide share a lane.

mod lane;
mod ready;
#[cfg(test)]
mod tests;
mod types;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use rustc_hash::FxHashMap;

pub use self::types::{Arrival, OrderCounters, ScheduleDecision, ScheduleSettings, Ticket};
use self::{
    lane::{DelayCause, Lane, Position},
    ready::ReadyQueue,
    types::LaneId,
};
use super::rate::{RateLimiter, Rates};

/// A command in hand.
#[derive(Clone, Copy, Debug)]
struct LaneCommand {
    lane: LaneId,
    position: Position,
    id: u64,
    class: usize,
}

/// All lanes. Times are durations since a fixed start on a monotonic clock.
///
/// Calls with the ticket of a command that is no longer in hand do nothing.
#[derive(Debug)]
pub struct Schedule {
    settings: ScheduleSettings,
    rates: RateLimiter,
    in_hand: FxHashMap<Ticket, LaneCommand>,
    /// Boxed, so that the table's spare capacity costs a pointer each.
    lanes: FxHashMap<LaneId, Box<Lane>>,
    ready: ReadyQueue,
    /// Lanes that may have a delay to publish, each once.
    lanes_with_delays: VecDeque<LaneId>,
    /// When a lane's key interval ends or its missing command is forgotten.
    timers: BTreeSet<(Duration, LaneId)>,
    held: usize,
    missing: usize,
    /// Since when deliveries arrive. While none do, no missing command can return, so none is forgotten.
    consuming_since: Option<Duration>,
    last_ticket: u64,
    wake_at: Option<Duration>,
    counters: OrderCounters,
}

impl Schedule {
    /// Creates an empty schedule that is consuming.
    #[must_use]
    pub fn new(mut settings: ScheduleSettings, rates: &Rates) -> Self {
        settings.lane_capacity = settings.lane_capacity.max(1);
        settings.classes = settings.classes.max(1);
        Self {
            ready: ReadyQueue::new(settings.classes),
            rates: RateLimiter::new(rates),
            settings,
            in_hand: FxHashMap::default(),
            lanes: FxHashMap::default(),
            lanes_with_delays: VecDeque::new(),
            timers: BTreeSet::new(),
            held: 0,
            missing: 0,
            consuming_since: Some(Duration::ZERO),
            last_ticket: 0,
            wake_at: None,
            counters: OrderCounters::default(),
        }
    }

    /// Adds a delivery. A missing command reclaims its position; another copy of one in hand goes behind it.
    pub fn insert(&mut self, arrival: Arrival<'_>, now: Duration) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let lane_id = LaneId::new(arrival.key, ticket);
        let lane = self.lanes.entry(lane_id).or_default();
        let in_hand = &self.in_hand;
        let is_duplicate = |other: &Ticket| in_hand.get(other).is_some_and(|other| other.id == arrival.id);
        let position = lane.position_after_duplicate(is_duplicate).unwrap_or_else(|| lane.take_position(arrival.id));
        let may_hold = self.held < self.settings.max_held;
        lane.insert(position, (ticket, arrival.id), may_hold, &self.settings, now);
        let class = arrival.class.min(self.settings.classes - 1);
        self.in_hand.insert(ticket, LaneCommand { lane: lane_id, position, id: arrival.id, class });
        self.refresh(lane_id, now);
        ticket
    }

    /// Returns the next decision. Delays are decided first, and also when no attempt may start.
    pub fn next_decision(&mut self, now: Duration, may_attempt: bool) -> Option<ScheduleDecision> {
        self.run_timers(now);
        if let Some(delay) = self.next_delay() {
            return Some(delay);
        }
        self.wake_at = self.timers.first().map(|(time, _)| *time);
        if !may_attempt {
            self.ready.pause(now);
            return None;
        }
        match self.ready.first(&self.rates, now) {
            Ok((lane_id, class)) => self.start_attempt(lane_id, class, now),
            Err(wait) => {
                let token_at = wait.map(|wait| now.saturating_add(wait));
                self.wake_at = self.wake_at.into_iter().chain(token_at).min();
                None
            }
        }
    }

    /// Starts the attempt of the ready command with the lowest rank, whatever its place in the order of the lanes. As
    /// [`Self::next_decision`] otherwise.
    pub fn next_probe<R: Ord>(&mut self, now: Duration, rank: impl Fn(Ticket) -> R) -> Option<ScheduleDecision> {
        let candidates = self.ready.startable(&self.rates, now);
        let ranked = candidates.filter_map(|(lane_id, class)| {
            let entry = self.lanes.get(&lane_id)?.ready?;
            Some((rank(entry.ticket), (lane_id, class)))
        });
        match ranked.min_by(|(a, _), (b, _)| a.cmp(b)) {
            Some((_, (lane_id, class))) => self.start_attempt(lane_id, class, now),
            None => self.next_decision(now, true),
        }
    }

    /// When a decision is due without an event, as of the last `None` of [`Self::next_decision`].
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.wake_at
    }

    /// Ends the command's attempt and queues another. Until this call, also during a delay in process, the command
    /// holds its lane.
    pub fn request_attempt(&mut self, ticket: Ticket, now: Duration) {
        let Some(command) = self.in_hand.get(&ticket).copied() else { return };
        if let Some(lane) = self.lanes.get_mut(&command.lane) {
            lane.attempting.take_if(|attempting| *attempting == ticket);
        }
        self.refresh(command.lane, now);
    }

    /// Removes a command for good: it is finished.
    pub fn remove(&mut self, ticket: Ticket, now: Duration) {
        let Some(command) = self.in_hand.remove(&ticket) else { return };
        if let Some(lane) = self.lanes.get_mut(&command.lane) {
            lane.remove(command.position, ticket);
        }
        self.refresh(command.lane, now);
    }

    /// Removes a command that the broker redelivers, as its session is lost. It keeps its position unless another copy
    /// of it is in the lane.
    pub fn requeue(&mut self, ticket: Ticket, now: Duration) {
        let Some(command) = self.in_hand.remove(&ticket) else { return };
        let may_remember = self.may_remember(command.lane);
        if let Some(lane) = self.lanes.get_mut(&command.lane) {
            lane.remove(command.position, ticket);
            let is_duplicate = |other: Ticket| self.in_hand.get(&other).is_some_and(|other| other.id == command.id);
            let has_duplicate = lane.is_missing(command.id) || lane.tickets().any(is_duplicate);
            if may_remember && !has_duplicate && !lane.is_occupied(command.position) {
                lane.remember_requeued(command.position, command.id, now);
            }
        }
        self.refresh(command.lane, now);
    }

    /// Delays a command in this tier, and all commands that wait behind it. Each gets its own
    /// [`ScheduleDecision::Delay`]; a command whose delay was decided already gets the decision again.
    pub fn delay(&mut self, ticket: Ticket, tier: usize, now: Duration) {
        let Some(command) = self.in_hand.get(&ticket).copied() else { return };
        let Some(lane) = self.lanes.get_mut(&command.lane) else { return };
        if lane.is_waiting(command.position, ticket) {
            let tier = tier.min(self.settings.tiers.len().saturating_sub(1));
            let in_hand = &self.in_hand;
            let id_of = |ticket| in_hand.get(&ticket).map(|command| command.id).unwrap_or_default();
            lane.delay_from(command.position, tier, id_of);
        } else {
            lane.mark_requested(command.position, ticket);
        }
        self.refresh(command.lane, now);
    }

    /// Removes a command whose copy the broker has confirmed. It keeps its position until the copy arrives.
    pub fn confirm_delayed(&mut self, ticket: Ticket, now: Duration) {
        let Some(command) = self.in_hand.remove(&ticket) else { return };
        let may_remember = self.may_remember(command.lane);
        if let Some(lane) = self.lanes.get_mut(&command.lane)
            && let Some(pending) = lane.remove(command.position, ticket)
        {
            self.counters.behind += u64::from(pending.cause == DelayCause::Behind);
            self.counters.overflowed += u64::from(pending.cause == DelayCause::Overflow);
            if may_remember {
                let due = now.saturating_add(self.settings.tier_length(pending.tier));
                lane.remember_delayed(command.position, pending, due);
            }
        }
        self.refresh(command.lane, now);
    }

    /// Reports whether deliveries arrive. While they do not, no missing command is forgotten.
    pub fn set_consuming(&mut self, is_consuming: bool, now: Duration) {
        if is_consuming == self.consuming_since.is_some() {
            return;
        }
        self.consuming_since = is_consuming.then_some(now);
        let lanes: Vec<_> = self.lanes.iter().filter(|(_, lane)| lane.counts().1 > 0).map(|(id, _)| *id).collect();
        lanes.into_iter().for_each(|id| self.refresh(id, now));
    }

    /// Changes `max_held`: the commands that the held ones wait for need room in the prefetch, too.
    pub fn set_max_held(&mut self, max_held: usize) {
        self.settings.max_held = max_held;
    }

    /// Changes the rates.
    pub fn set_rates(&mut self, rates: &Rates, now: Duration) {
        self.rates.set_rates(rates, now);
    }

    /// The commands in hand that wait for nothing but rates and a free slot.
    pub fn ready(&self) -> impl Iterator<Item = Ticket> {
        self.ready.lanes().filter_map(|lane_id| Some(self.lanes.get(&lane_id)?.ready?.ticket))
    }

    /// The counts so far.
    #[must_use]
    pub fn counters(&self) -> OrderCounters {
        self.counters
    }

    fn run_timers(&mut self, now: Duration) {
        while let Some((_, lane_id)) = self.timers.first().copied().filter(|(time, _)| *time <= now) {
            self.timers.pop_first();
            self.lanes.entry(lane_id).and_modify(|lane| lane.timer = None);
            self.refresh(lane_id, now);
        }
    }

    fn next_delay(&mut self) -> Option<ScheduleDecision> {
        while let Some(lane_id) = self.lanes_with_delays.pop_front() {
            let Some(lane) = self.lanes.get_mut(&lane_id) else { continue };
            lane.is_listed = false;
            if let Some(pending) = lane.next_delay() {
                lane.publishing = Some(pending.ticket);
                return Some(ScheduleDecision::Delay { ticket: pending.ticket, tier: pending.tier });
            }
        }
        None
    }

    fn start_attempt(&mut self, lane_id: LaneId, class: usize, now: Duration) -> Option<ScheduleDecision> {
        let lane = self.lanes.get_mut(&lane_id)?;
        let entry = lane.ready?;
        self.rates.take(class, now).ok()?;
        let rate_wait = lane.interval_wait() + self.ready.rate_wait(entry, now);
        lane.attempting = Some(entry.ticket);
        if lane_id.has_key() {
            lane.not_before = now.saturating_add(self.rates.key_interval());
        }
        self.refresh(lane_id, now);
        Some(ScheduleDecision::Attempt { ticket: entry.ticket, rate_wait })
    }

    /// Whether the position of a command that leaves may be remembered; counts it as given up if there is no room.
    fn may_remember(&mut self, lane_id: LaneId) -> bool {
        let has_room = self.missing < self.settings.max_remembered;
        self.counters.given_up += u64::from(lane_id.has_key() && !has_room);
        lane_id.has_key() && has_room
    }

    /// Updates everything that depends on a lane after an event; removes the lane once nothing is left to remember.
    fn refresh(&mut self, lane_id: LaneId, now: Duration) {
        let Some(lane) = self.lanes.get_mut(&lane_id) else { return };
        let (grace, consuming_since) = (self.settings.return_grace, self.consuming_since);
        let forget_at = |due: Duration| consuming_since.map(|since| due.max(since).saturating_add(grace));
        let is_overdue = |due| forget_at(due).is_some_and(|time| time <= now);
        lane.advance(&self.settings, is_overdue, &mut self.counters);

        if lane.next_delay().is_some() && !lane.is_listed {
            lane.is_listed = true;
            self.lanes_with_delays.push_back(lane_id);
        }

        let interval_end = Some(lane.not_before).filter(|end| *end > now);
        let head = lane.eligible_head(now).filter(|_| interval_end.is_none());
        let head = head.and_then(|ticket| Some((ticket, self.in_hand.get(&ticket)?.class)));
        self.ready.update(lane_id, &mut lane.ready, head, now);

        let (held, missing) = lane.counts();
        let (held_before, missing_before) = std::mem::replace(&mut lane.counted, (held, missing));
        self.held = self.held + held - held_before;
        self.missing = self.missing + missing - missing_before;

        let timer = interval_end.into_iter().chain(lane.blocked_since().and_then(forget_at)).min();
        let old_timer = std::mem::replace(&mut lane.timer, timer);
        let is_obsolete = lane.is_empty() && lane.publishing.is_none() && interval_end.is_none();
        if old_timer != timer {
            old_timer.map(|time| self.timers.remove(&(time, lane_id)));
            timer.map(|time| self.timers.insert((time, lane_id)));
        }
        if is_obsolete {
            self.lanes.remove(&lane_id);
        }
    }
}
