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
//! - Commands that wait for more than a short time have a share of the hand, by lane, by class and overall. The others go
//!   to the tier that fits their expected wait. The target's rate holds back all alike, so it sends none to a tier.
//! - A command for which another one in hand waits is not sent away, so the lanes in hand proceed.
//! - Per lane, one copy is published at a time and in order, so the tier's FIFO order is the lane's.
//! - Memory is bounded: by [`HandBounds`], which follow the prefetch, and by `max_remembered` missing commands. Commands
//!   beyond a bound stay in hand until their copy is confirmed, which the prefetch bounds.
//! - A call takes time linear in the commands of one lane and logarithmic in everything else, except
//!   [`Schedule::set_consuming`], which is linear in the lanes.
//!
//! # Limits
//!
//! - Order is given up, and counted, for a command that does not return within `return_grace` of its due time
//!   (`forgotten`) and beyond `max_remembered` (`given_up`). A copy returns behind the queue's backlog, so a backlog
//!   that takes longer than the grace costs order.
//! - Nothing survives a restart: commands in the tiers then return as new ones. While several daemons
//!   consume the queue there are no lanes.
//! - A key with more traffic than its attempts can serve cycles through the tiers.
//! - Lanes are identified by a 64-bit hash of the key; keys that collide share a lane.

mod class;
mod lane;
mod pace;
mod ready;
mod shares;
#[cfg(test)]
mod tests;
mod types;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use rustc_hash::FxHashMap;

pub use self::types::{Arrival, HandBounds, OrderCounters, ScheduleDecision, ScheduleSettings, Ticket};
use self::{
    class::ClassBacklog,
    lane::{DelayCause, Lane, Position},
    ready::ReadyQueue,
    types::{LaneCounts, LaneId, Room},
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
    /// By class; used for those with a rate of their own.
    backlogs: Vec<ClassBacklog>,
    totals: LaneCounts,
    /// Other daemons consume the queue: a missing command may return to one of them, so there is no order.
    is_shared: bool,
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
        settings.min_lane_capacity = settings.min_lane_capacity.max(1);
        settings.classes = settings.classes.max(1);
        Self {
            ready: ReadyQueue::new(settings.classes),
            backlogs: std::iter::repeat_with(ClassBacklog::default).take(settings.classes).collect(),
            rates: RateLimiter::new(rates),
            settings,
            in_hand: FxHashMap::default(),
            lanes: FxHashMap::default(),
            lanes_with_delays: VecDeque::new(),
            timers: BTreeSet::new(),
            totals: LaneCounts::default(),
            is_shared: false,
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
        let lane_id = LaneId::new(arrival.key.filter(|_| !self.is_shared), ticket);
        let class = arrival.class.min(self.settings.classes - 1);
        let room = Room {
            may_hold: self.totals.held < self.settings.bounds.max_held,
            is_crowded: self.waiting(now) >= self.settings.bounds.max_waiting,
        };
        let overflow = self.class_overflow(class, now);
        let lane = self.lanes.entry(lane_id).or_default();
        let in_hand = &self.in_hand;
        let is_duplicate = |other: &Ticket| in_hand.get(other).is_some_and(|other| other.id == arrival.id);
        let position = lane.position_after_duplicate(is_duplicate).unwrap_or_else(|| lane.take_position(arrival.id));
        let command_time = lane.command_time(self.rates.key_interval(), &self.settings, now);
        // Commands in hand that wait for this one keep their share, so it must not leave.
        let overflow = overflow.filter(|_| !lane.is_awaited(position));
        lane.insert(position, (ticket, arrival.id), room, command_time, &self.settings, now);
        self.in_hand.insert(ticket, LaneCommand { lane: lane_id, position, id: arrival.id, class });
        if let Some(backlog) = self.backlogs.get_mut(class) {
            backlog.in_hand += 1;
        }
        if let Some(tier) = overflow {
            self.delay_from(ticket, tier, DelayCause::Share);
        }
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

    /// The command waits in process until this time, before it requests another attempt.
    pub fn rest(&mut self, ticket: Ticket, until: Duration, now: Duration) {
        let Some(command) = self.in_hand.get(&ticket) else { return };
        let lane_id = command.lane;
        self.lanes.entry(lane_id).and_modify(|lane| lane.resting_until = until);
        self.refresh(lane_id, now);
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
        let Some(command) = self.take_from_hand(ticket) else { return };
        if let Some(lane) = self.lanes.get_mut(&command.lane) {
            if lane.attempting == Some(ticket) {
                lane.pace.finish_command();
            }
            lane.remove(command.position, ticket);
        }
        self.refresh(command.lane, now);
    }

    /// Removes a command that the broker redelivers, as its session is lost. It keeps its position unless another copy
    /// of it is in the lane.
    pub fn requeue(&mut self, ticket: Ticket, now: Duration) {
        let Some(command) = self.take_from_hand(ticket) else { return };
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
            self.delay_from(ticket, tier, DelayCause::Requested);
        } else {
            lane.mark_requested(command.position, ticket);
        }
        self.refresh(command.lane, now);
    }

    /// Removes a command whose copy the broker has confirmed. It keeps its position until the copy arrives.
    pub fn confirm_delayed(&mut self, ticket: Ticket, now: Duration) {
        let Some(command) = self.take_from_hand(ticket) else { return };
        let may_remember = self.may_remember(command.lane);
        if let Some(lane) = self.lanes.get_mut(&command.lane)
            && let Some(pending) = lane.remove(command.position, ticket)
        {
            self.counters.behind += u64::from(pending.cause == DelayCause::Behind);
            let is_overflow = matches!(pending.cause, DelayCause::Overflow | DelayCause::Share);
            self.counters.overflowed += u64::from(is_overflow);
            let length = self.settings.tier_length(pending.tier);
            if may_remember {
                lane.remember_delayed(command.position, pending, now.saturating_add(length));
            }
            if let Some(backlog) = self.backlogs.get_mut(command.class) {
                backlog.add_delayed(pending.tier, length, now);
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
        self.refresh_lanes_with_missing(now);
    }

    /// Changes the rates.
    pub fn set_rates(&mut self, rates: &Rates, now: Duration) {
        self.rates.set_rates(rates, now);
    }

    /// The commands in hand that wait for nothing but the target's rate and a free slot.
    pub fn ready(&self, now: Duration) -> impl Iterator<Item = Ticket> {
        self.ready.lanes(&self.rates, now).filter_map(|lane_id| Some(self.lanes.get(&lane_id)?.ready?.ticket))
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
        let has_room = self.totals.missing < self.settings.max_remembered;
        let has_order = lane_id.has_key() && !self.is_shared;
        self.counters.given_up += u64::from(has_order && !has_room);
        has_order && has_room
    }

    fn take_from_hand(&mut self, ticket: Ticket) -> Option<LaneCommand> {
        let command = self.in_hand.remove(&ticket)?;
        if let Some(backlog) = self.backlogs.get_mut(command.class) {
            backlog.in_hand = backlog.in_hand.saturating_sub(1);
        }
        Some(command)
    }

    /// Delays a waiting command and those behind it.
    fn delay_from(&mut self, ticket: Ticket, tier: usize, cause: DelayCause) {
        let Some(command) = self.in_hand.get(&ticket) else { return };
        let Some(lane) = self.lanes.get_mut(&command.lane) else { return };
        if lane.is_waiting(command.position, ticket) {
            let id_of = |ticket| self.in_hand.get(&ticket).map(|command| command.id).unwrap_or_default();
            lane.delay_from(command.position, tier, cause, id_of);
        }
    }

    /// Updates everything that depends on a lane after an event; removes the lane once nothing is left to remember.
    fn refresh(&mut self, lane_id: LaneId, now: Duration) {
        let Some(lane) = self.lanes.get_mut(&lane_id) else { return };
        if self.is_shared {
            lane.forget_missing();
        }
        let (grace, consuming_since) = (self.settings.return_grace, self.consuming_since);
        let forget_at = |due: Duration| consuming_since.map(|since| due.max(since).saturating_add(grace));
        let is_overdue = |due| forget_at(due).is_some_and(|time| time <= now);
        lane.pace.set_busy(lane.attempting.is_some(), now);
        let command_time = lane.command_time(self.rates.key_interval(), &self.settings, now);
        lane.advance(self.settings.lane_capacity(command_time), is_overdue, &mut self.counters);

        if lane.next_delay().is_some() && !lane.is_listed {
            lane.is_listed = true;
            self.lanes_with_delays.push_back(lane_id);
        }

        let interval_end = Some(lane.not_before).filter(|end| *end > now);
        let head = lane.eligible_head(now).filter(|_| interval_end.is_none());
        let head = head.and_then(|ticket| Some((ticket, self.in_hand.get(&ticket)?.class)));
        self.ready.update(lane_id, &mut lane.ready, head, now);

        let counts = lane.counts(&self.settings, command_time, now);
        self.totals.replace(std::mem::replace(&mut lane.counted, counts), counts);

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
