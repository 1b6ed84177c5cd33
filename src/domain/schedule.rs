//! Which command's turn it is, and which must wait in a tier: order within a key, fairness between keys, pace for all.
//!
//! # What holds
//!
//! - Of the commands for one key, at most one attempt is under way, and they are attempted in the order in which they
//!   first arrived, over any number of delays: a command that waits in a tier keeps its place, and those behind it wait
//!   in hand (a few) or in a tier (the others). A key that waits holds up nobody else.
//! - Lanes that could start an attempt do so first come, first served. Only commands of the same class wait for that
//!   class's rate; only those for the same key for its least interval; a token is taken only by a start.
//! - One copy at a time leaves a lane, in order, so the tier's own order matches.
//! - Everything is bounded: a lane has `lane_capacity` commands in hand, all lanes together hold `max_held` in hand behind
//!   missing ones, and `max_remembered` places of missing ones are remembered. What leaves a lane for want of room stays
//!   in hand until its copy is stored, which the prefetch bounds.
//! - Every operation takes logarithmic time, but for sending a whole lane away.
//!
//! # What does not
//!
//! - Order is given up, and counted, for what does not come back in time (`forgotten`) and beyond `max_remembered`
//!   (`given_up`). A copy comes back behind the queue's backlog: a backlog that takes longer than `return_grace` costs order.
//! - Nothing is remembered over a restart: what is in the tiers then comes back as if it were new. A second daemon on
//!   the same queue has its own lanes.
//! - A key with more traffic than it can be posted in order works at its own pace, round through the shortest tier.
//! - Keys are compared by a 64-bit hash: two that collide share a lane.

mod lane;
#[cfg(test)]
mod tests;
mod turns;

use std::{
    collections::{BTreeSet, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use rustc_hash::FxHashMap;

use self::{
    lane::{Lane, Place, Why},
    turns::Turns,
};
use super::rate::{RateLimiter, Rates};

/// A command in hand; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The bounds.
#[derive(Clone, Debug)]
pub struct ScheduleSettings {
    /// Commands of one key in hand, at least one.
    pub lane_capacity: usize,
    /// Commands in hand behind missing ones, of all keys.
    pub max_held: usize,
    /// Places of missing commands that are remembered, of all keys.
    pub max_remembered: usize,
    /// How long after its due time a missing command is waited for, while commands are taken at all.
    pub return_grace: Duration,
    /// The tiers' lengths, the shortest first; at least one.
    pub tiers: Vec<Duration>,
    /// How many rate classes there are; at least one.
    pub classes: usize,
}

impl ScheduleSettings {
    fn length(&self, tier: usize) -> Duration {
        self.tiers.get(tier).or(self.tiers.last()).copied().unwrap_or_default()
    }

    /// The longest tier that ends within `wait`, else the shortest.
    fn within(&self, wait: Duration) -> usize {
        self.tiers.iter().rposition(|length| *length <= wait).unwrap_or(0)
    }
}

/// A command that came, in queue order.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Commands with the same key are attempted in order; none is for no order.
    pub key: Option<&'a str>,
    /// Tells the command among those of its key; its copy from a tier has the same.
    pub id: u64,
    /// Its rate class.
    pub class: usize,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleDecision {
    /// Start an attempt. It ends by [`Schedule::request_attempt`], [`Schedule::remove`] or [`Schedule::delay`].
    Attempt {
        /// Whose.
        ticket: Ticket,
        /// How long nothing but rates held it back.
        rate_wait: Duration,
    },
    /// Store a copy in the tier, uncounted unless this command was sent away itself; then [`Schedule::confirm_delayed`].
    Delay {
        /// Whose.
        ticket: Ticket,
        /// By its index.
        tier: usize,
    },
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderCounters {
    /// Copies stored only because one before them was missing.
    pub behind: u64,
    /// Copies stored for want of room.
    pub overflowed: u64,
    /// Missing ones that were waited for in vain.
    pub forgotten: u64,
    /// Missing ones whose place could not be remembered.
    pub given_up: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum LaneId {
    /// By the key's hash.
    Key(u64),
    /// A command without a key has a lane to itself.
    Alone(Ticket),
}

#[derive(Clone, Copy, Debug)]
struct Hand {
    lane: LaneId,
    place: Place,
    id: u64,
    class: usize,
}

/// All lanes. Times are counted from some start. After each call, ask [`Self::next_decision`] until there is nothing to do.
///
/// Calls with a ticket that is out of hand do nothing.
#[derive(Debug)]
pub struct Schedule {
    settings: ScheduleSettings,
    pace: RateLimiter,
    hands: FxHashMap<Ticket, Hand>,
    /// Boxed, as the table has room for some thousand.
    lanes: FxHashMap<LaneId, Box<Lane>>,
    turns: Turns,
    /// Lanes that may have something to park; each once.
    parks: VecDeque<LaneId>,
    /// When a lane's rest ends or what it misses is forgotten.
    alarms: BTreeSet<(Duration, LaneId)>,
    held: usize,
    away: usize,
    /// Since when commands are taken; while none are, nothing that is missing can come back.
    taking_since: Option<Duration>,
    next_ticket: u64,
    wake_at: Option<Duration>,
    counters: OrderCounters,
}

impl Schedule {
    /// Without commands, and taking some.
    #[must_use]
    pub fn new(mut settings: ScheduleSettings, rates: &Rates) -> Self {
        settings.lane_capacity = settings.lane_capacity.max(1);
        settings.classes = settings.classes.max(1);
        Self {
            turns: Turns::new(settings.classes),
            pace: RateLimiter::new(rates),
            settings,
            hands: FxHashMap::default(),
            lanes: FxHashMap::default(),
            parks: VecDeque::new(),
            alarms: BTreeSet::new(),
            held: 0,
            away: 0,
            taking_since: Some(Duration::ZERO),
            next_ticket: 0,
            wake_at: None,
            counters: OrderCounters::default(),
        }
    }

    /// Takes a command in hand. One that was away takes its place again.
    pub fn insert(&mut self, arrival: Arrival<'_>, now: Duration) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let at = arrival.key.map_or(LaneId::Alone(ticket), |key| LaneId::Key(hash(key)));
        let lane = self.lanes.entry(at).or_default();
        let hands = &self.hands;
        let is_it = |ticket: &Ticket| hands.get(ticket).is_some_and(|hand| hand.id == arrival.id);
        let place = lane.place_beside(is_it).unwrap_or_else(|| lane.place_of(arrival.id));
        let may_hold = self.held < self.settings.max_held;
        lane.seat(place, (ticket, arrival.id), may_hold, &self.settings, now);
        let class = arrival.class.min(self.settings.classes - 1);
        self.hands.insert(ticket, Hand { lane: at, place, id: arrival.id, class });
        self.touch(at, now);
        ticket
    }

    /// What is to be done now, if anything. Copies are stored whether or not attempts may start.
    pub fn next_decision(&mut self, now: Duration, may_attempt: bool) -> Option<ScheduleDecision> {
        while let Some((_, at)) = self.alarms.first().copied().filter(|(time, _)| *time <= now) {
            self.alarms.pop_first();
            self.lanes.entry(at).and_modify(|lane| lane.alarm = None);
            self.touch(at, now);
        }
        if let Some(park) = self.next_park() {
            return Some(park);
        }
        self.wake_at = self.alarms.first().map(|(time, _)| *time);
        if !may_attempt {
            self.turns.pause(now);
            return None;
        }
        match self.turns.pick(&self.pace, now) {
            Ok((at, class)) => self.start(at, class, now),
            Err(wait) => {
                let rate = wait.map(|wait| now.saturating_add(wait));
                self.wake_at = self.wake_at.into_iter().chain(rate).min();
                None
            }
        }
    }

    /// When to ask [`Self::next_decision`] again although nothing happened, as of its last answer that there is nothing to do.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.wake_at
    }

    fn next_park(&mut self) -> Option<ScheduleDecision> {
        while let Some(at) = self.parks.pop_front() {
            let Some(lane) = self.lanes.get_mut(&at) else { continue };
            lane.listed = false;
            if let Some(leaving) = lane.next_to_park() {
                lane.parking = Some(leaving.ticket);
                return Some(ScheduleDecision::Delay { ticket: leaving.ticket, tier: leaving.tier });
            }
        }
        None
    }

    fn start(&mut self, at: LaneId, class: usize, now: Duration) -> Option<ScheduleDecision> {
        let lane = self.lanes.get_mut(&at)?;
        let turn = lane.turn?;
        self.pace.take(class, now).ok()?;
        let rested = lane.eligible.map(|(_, since)| lane.rest_until.saturating_sub(since)).unwrap_or_default();
        let rate_wait = rested + self.turns.held_back(turn, now);
        lane.busy = Some(turn.ticket);
        if matches!(at, LaneId::Key(_)) {
            lane.rest_until = now.saturating_add(self.pace.key_interval());
        }
        self.touch(at, now);
        Some(ScheduleDecision::Attempt { ticket: turn.ticket, rate_wait })
    }

    /// Its attempt is over, and it wants another. Until then it has held up its lane, also while it waited in process.
    pub fn request_attempt(&mut self, ticket: Ticket, now: Duration) {
        let Some(hand) = self.hands.get(&ticket).copied() else { return };
        if let Some(lane) = self.lanes.get_mut(&hand.lane) {
            lane.busy.take_if(|busy| *busy == ticket);
        }
        self.touch(hand.lane, now);
    }

    /// It is out of hand for good: told, or expired while it waited for whatever.
    pub fn remove(&mut self, ticket: Ticket, now: Duration) {
        let Some(hand) = self.hands.remove(&ticket) else { return };
        if let Some(lane) = self.lanes.get_mut(&hand.lane) {
            lane.remove(hand.place, ticket);
        }
        self.touch(hand.lane, now);
    }

    /// It is in the broker's hand again, which gives it out once more (its session is lost): it keeps its place, unless it was
    /// given out already, and waits beside or in a tier.
    pub fn requeue(&mut self, ticket: Ticket, now: Duration) {
        let Some(hand) = self.hands.remove(&ticket) else { return };
        let remembers = self.remembers(hand.lane);
        if let Some(lane) = self.lanes.get_mut(&hand.lane) {
            lane.remove(hand.place, ticket);
            let is_it = |other: Ticket| self.hands.get(&other).is_some_and(|other| other.id == hand.id);
            let is_back = lane.is_known(hand.id) || lane.in_hand().any(is_it);
            if remembers && !is_back && !lane.has(hand.place) {
                lane.is_released(hand.place, hand.id, now);
            }
        }
        self.touch(hand.lane, now);
    }

    /// It must wait in this tier, and everything in hand behind it follows. Each gets its [`ScheduleDecision::Delay`]; one that is on its
    /// way to a tier already gets it again.
    pub fn delay(&mut self, ticket: Ticket, tier: usize, now: Duration) {
        let Some(hand) = self.hands.get(&ticket).copied() else { return };
        let Some(lane) = self.lanes.get_mut(&hand.lane) else { return };
        let waits = |room: &std::collections::BTreeMap<Place, Ticket>| room.get(&hand.place) == Some(&ticket);
        if waits(&lane.queue) || waits(&lane.held) {
            let tier = tier.min(self.settings.tiers.len().saturating_sub(1));
            let hands = &self.hands;
            lane.send_away(hand.place, tier, |ticket| hands.get(&ticket).map(|hand| hand.id).unwrap_or_default());
        } else {
            lane.insist(hand.place, ticket);
        }
        self.touch(hand.lane, now);
    }

    /// Its copy is stored: it is out of hand, and will come back.
    pub fn confirm_delayed(&mut self, ticket: Ticket, now: Duration) {
        let Some(hand) = self.hands.remove(&ticket) else { return };
        let remembers = self.remembers(hand.lane);
        if let Some(lane) = self.lanes.get_mut(&hand.lane)
            && let Some(leaving) = lane.remove(hand.place, ticket)
        {
            self.counters.behind += u64::from(leaving.why == Why::Behind);
            self.counters.overflowed += u64::from(leaving.why == Why::Overflow);
            if remembers {
                lane.is_away(hand.place, leaving, now.saturating_add(self.settings.length(leaving.tier)));
            }
        }
        self.touch(hand.lane, now);
    }

    /// Whether the place of one that goes is to be kept; counts it if that is not possible.
    fn remembers(&mut self, lane: LaneId) -> bool {
        let (is_keyed, has_room) = (matches!(lane, LaneId::Key(_)), self.away < self.settings.max_remembered);
        self.counters.given_up += u64::from(is_keyed && !has_room);
        is_keyed && has_room
    }

    /// Whether commands are taken from the queue. While they are not, nothing can come back, so nothing is forgotten.
    pub fn set_consuming(&mut self, is_taking: bool, now: Duration) {
        if is_taking == self.taking_since.is_some() {
            return;
        }
        self.taking_since = is_taking.then_some(now);
        let waiting: Vec<_> = self.lanes.iter().filter(|(_, lane)| !lane.away.is_empty()).map(|(at, _)| *at).collect();
        waiting.into_iter().for_each(|at| self.touch(at, now));
    }

    /// No more than so many are held from now on: what they wait for must find room in hand, too.
    pub fn set_max_held(&mut self, held: usize) {
        self.settings.max_held = held;
    }

    /// Other rates from now on.
    pub fn set_rates(&mut self, rates: &Rates, now: Duration) {
        self.pace.set(rates, now);
    }

    /// Puts everything in order after something happened to a lane.
    fn touch(&mut self, at: LaneId, now: Duration) {
        let Some(lane) = self.lanes.get_mut(&at) else { return };
        let (return_grace, taking_since) = (self.settings.return_grace, self.taking_since);
        let forget_at = |due: Duration| taking_since.map(|since| due.max(since).saturating_add(return_grace));
        let overdue = |due| forget_at(due).is_some_and(|time| time <= now);
        lane.close_up(&self.settings, overdue, &mut self.counters);

        if lane.next_to_park().is_some() && !lane.listed {
            lane.listed = true;
            self.parks.push_back(at);
        }
        let rests = lane.rest_until > now;
        let first = lane.eligible(now).filter(|_| !rests);
        let first = first.and_then(|ticket| Some((ticket, self.hands.get(&ticket)?.class)));
        self.turns.set(at, &mut lane.turn, first, now);
        let (held, away) = std::mem::replace(&mut lane.counted, (lane.held.len(), lane.away.len()));
        self.held = self.held + lane.held.len() - held;
        self.away = self.away + lane.away.len() - away;

        let rest = rests.then_some(lane.rest_until);
        let alarm = rest.into_iter().chain(lane.missing_since().and_then(forget_at)).min();
        let old = std::mem::replace(&mut lane.alarm, alarm);
        let is_over = lane.is_empty() && lane.parking.is_none() && !rests;
        if old != alarm {
            old.map(|time| self.alarms.remove(&(time, at)));
            alarm.map(|time| self.alarms.insert((time, at)));
        }
        if is_over {
            self.lanes.remove(&at);
        }
    }

    /// Whether a command in hand waits for nothing but rates and leave to start.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.turns.is_any()
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> OrderCounters {
        self.counters
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
