//! Random days of a small world: a queue, tiers, attempts with all kinds of ends. Whatever happens, each command is
//! attempted only when every earlier one of its key is over.

use std::collections::{BTreeMap, VecDeque};

use proptest::{collection::vec, prelude::*};

use super::*;

const KEYS: usize = 3;
const PREFETCH: usize = 14;

/// What a day brings besides plain success.
#[derive(Clone, Copy, Debug)]
struct Day {
    /// Copies come back late, and so out of order.
    late: bool,
    /// Copies get lost.
    lossy: bool,
    /// The session is lost now and then.
    breaks: bool,
    rates: bool,
}

/// A command: its key, and its number, which is its id.
type Command = (usize, u64);

/// Where a command in hand stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Attempted,
    Parking(usize),
}

struct World {
    day: Day,
    schedule: Schedule,
    now: Duration,
    queue: VecDeque<Command>,
    /// When each copy comes back.
    tiers: Vec<(Duration, Command)>,
    hand: BTreeMap<Ticket, (Command, State)>,
    /// The model: what arrived and is not over, in order of the first arrival.
    open: Vec<VecDeque<u64>>,
    over: usize,
    random_unit: Box<dyn Iterator<Item = u8>>,
}

impl World {
    fn new(day: Day, random_unit: Vec<u8>) -> Self {
        let limited = Rates { target: Some(3.0), classes: vec![Some(2.0), Some(1.0)], key_interval: s(2) };
        let rates = if day.rates { limited } else { Rates::default() };
        // Without losses, nothing is so late that it would be forgotten.
        let return_grace = if day.lossy { s(60) } else { s(1_000) };
        Self {
            day,
            schedule: Schedule::new(ScheduleSettings { return_grace, ..settings() }, &rates),
            now: Duration::ZERO,
            queue: VecDeque::new(),
            tiers: Vec::new(),
            hand: BTreeMap::new(),
            open: vec![VecDeque::new(); KEYS],
            over: 0,
            random_unit: Box::new(random_unit.into_iter()),
        }
    }

    /// Zero, when the random_unit are used up: from then on all goes well.
    fn roll(&mut self, sides: u8) -> u8 {
        self.random_unit.next().map_or(0, |roll| roll % sides)
    }

    fn step(&mut self) {
        self.now += s(1);
        let now = self.now;
        self.tiers.sort_by_key(|(due, _)| *due);
        let due = self.tiers.partition_point(|(due, _)| *due <= now);
        self.queue.extend(self.tiers.drain(..due).map(|(_, command)| command));
        if self.day.breaks && self.roll(16) == 1 {
            self.lose_session();
        }
        while self.hand.len() < PREFETCH && self.take() {}
        self.end_some();
        while let Some(next) = self.schedule.next_decision(now, true) {
            self.act(next);
            self.check();
        }
        assert!(self.schedule.wake_at().is_none_or(|time| time > now), "a busy loop");
        self.check();
    }

    fn take(&mut self) -> bool {
        let Some((key, id)) = self.queue.pop_front() else { return false };
        let name = ["a", "b", "c"][key];
        let ticket = self.schedule.insert(Arrival { key: Some(name), id, class: key % 2 }, self.now);
        assert!(self.hand.insert(ticket, ((key, id), State::Waiting)).is_none(), "a ticket is used twice");
        if !self.open[key].contains(&id) {
            self.open[key].push_back(id);
        }
        true
    }

    fn act(&mut self, next: ScheduleDecision) {
        match next {
            ScheduleDecision::Attempt { ticket, .. } => {
                let ((key, id), state) = self.hand.get_mut(&ticket).expect("it is in hand");
                assert_eq!(*state, State::Waiting);
                *state = State::Attempted;
                let (key, id) = (*key, *id);
                let attempted = |((other, _), state): &&(Command, State)| *other == key && *state == State::Attempted;
                assert_eq!(self.hand.values().filter(attempted).count(), 1, "two at once");
                if !self.day.lossy {
                    assert_eq!(self.open[key].front(), Some(&id), "an earlier one is not over");
                }
            }
            ScheduleDecision::Delay { ticket, tier } => {
                let ((key, _), state) = self.hand.get_mut(&ticket).expect("it is in hand");
                *state = State::Parking(tier);
                let key = *key;
                let parking =
                    |((other, _), state): &&(Command, State)| *other == key && matches!(state, State::Parking(_));
                assert_eq!(self.hand.values().filter(parking).count(), 1, "two copies at once");
            }
        }
    }

    /// Something happens to some of those in hand.
    fn end_some(&mut self) {
        let hand: Vec<_> = self.hand.iter().map(|(ticket, (command, state))| (*ticket, *command, *state)).collect();
        for (ticket, command, state) in hand {
            match (state, self.roll(8)) {
                (State::Attempted, 0..3) | (State::Waiting, 7) => self.end(ticket, command),
                (State::Attempted, 3..5) => {
                    self.schedule.request_attempt(ticket, self.now);
                    self.hand.insert(ticket, (command, State::Waiting));
                }
                (State::Attempted, tier @ 5..7) | (State::Waiting, tier @ 6) => {
                    self.schedule.delay(ticket, usize::from(tier - 5), self.now);
                    self.hand.insert(ticket, (command, State::Waiting));
                }
                (State::Parking(_), 7) => self.end(ticket, command),
                (State::Parking(tier), 0..7) => self.store(ticket, command, tier),
                _ => {}
            }
        }
    }

    fn end(&mut self, ticket: Ticket, (key, id): Command) {
        self.schedule.remove(ticket, self.now);
        self.hand.remove(&ticket);
        self.open[key].retain(|other| *other != id);
        self.over += 1;
    }

    fn store(&mut self, ticket: Ticket, command: Command, tier: usize) {
        self.schedule.confirm_delayed(ticket, self.now);
        self.hand.remove(&ticket);
        if self.day.lossy && self.roll(4) == 1 {
            self.open[command.0].retain(|id| *id != command.1);
            self.over += 1;
            return;
        }
        let late = if self.day.late { s(self.roll(20).into()) } else { s(0) };
        self.tiers.push((self.now + settings().tiers[tier] + late, command));
    }

    /// Everything goes back to where it was in the queue.
    fn lose_session(&mut self) {
        for (ticket, (command, _)) in std::mem::take(&mut self.hand).into_iter().rev() {
            self.schedule.requeue(ticket, self.now);
            self.queue.push_front(command);
        }
    }

    fn check(&self) {
        let schedule = &self.schedule;
        assert_eq!(schedule.hands.len(), self.hand.len());
        assert!(schedule.lanes.values().all(|lane| lane.queue.len() + lane.held.len() <= settings().lane_capacity));
        let (held, away) =
            schedule.lanes.values().fold((0, 0), |(held, away), lane| (held + lane.held.len(), away + lane.away.len()));
        assert_eq!((held, away), (schedule.held, schedule.away));
        assert!(held <= settings().max_held);
        assert!(schedule.alarms.len() <= schedule.lanes.len() && schedule.lanes.len() <= KEYS);
    }
}

/// Commands come, then all goes well: nothing is stuck, and nothing remains.
fn live(day: Day, arrivals: Vec<Vec<usize>>, random_unit: Vec<u8>) {
    let mut world = World::new(day, random_unit);
    let all = arrivals.iter().map(Vec::len).sum::<usize>();
    let mut id = 0;
    for keys in arrivals {
        for key in keys {
            id += 1;
            world.queue.push_back((key, id));
        }
        world.step();
    }
    for _ in 0..3_000 {
        world.step();
        if world.over == all && world.schedule.lanes.is_empty() {
            break;
        }
    }
    assert_eq!((world.over, world.schedule.hands.len(), world.schedule.away), (all, 0, 0), "{:?}", world.schedule);
    assert!(world.schedule.lanes.is_empty() && world.schedule.alarms.is_empty());
    let counters = world.schedule.counters();
    assert!(day.lossy || (counters.forgotten, counters.given_up) == (0, 0), "{counters:?}");
}

fn arrivals() -> impl Strategy<Value = Vec<Vec<usize>>> {
    vec(vec(prop_oneof![3 => Just(0_usize), 1 => 0..KEYS], 0..8), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_holds_over_delays(arrivals in arrivals(), random_unit in vec(any::<u8>(), 0..600), rates in any::<bool>()) {
        live(Day { late: false, lossy: false, breaks: false, rates }, arrivals, random_unit);
    }

    #[test]
    fn order_holds_when_copies_are_late_and_sessions_break(
        arrivals in arrivals(), random_unit in vec(any::<u8>(), 0..600), late in any::<bool>(), rates in any::<bool>(),
    ) {
        live(Day { late, lossy: false, breaks: true, rates }, arrivals, random_unit);
    }

    #[test]
    fn nothing_is_stuck_when_copies_get_lost(arrivals in arrivals(), random_unit in vec(any::<u8>(), 0..600), breaks in any::<bool>()) {
        live(Day { late: true, lossy: true, breaks, rates: false }, arrivals, random_unit);
    }
}
