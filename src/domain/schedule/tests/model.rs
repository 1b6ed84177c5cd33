//! Random runs against a model of queue, tiers and attempts: a command is attempted only when every earlier command of
//! its key is finished.

use std::collections::{BTreeMap, VecDeque};

use proptest::{collection::vec, prelude::*};

use super::*;

const KEYS: usize = 3;
const PREFETCH: usize = 14;

/// The faults of a run.
#[derive(Clone, Copy, Debug)]
struct Faults {
    /// Delayed copies return late, and so out of order.
    late_copies: bool,
    /// Delayed copies get lost.
    lost_copies: bool,
    /// Sessions get lost.
    lost_sessions: bool,
    rate_limited: bool,
}

/// The index of the key, and the id.
type ModelCommand = (usize, u64);

/// The state of a command in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Attempting,
    Publishing(usize),
}

struct Model {
    faults: Faults,
    schedule: Schedule,
    now: Duration,
    queue: VecDeque<ModelCommand>,
    /// Delayed copies with their due time.
    tiers: Vec<(Duration, ModelCommand)>,
    in_hand: BTreeMap<Ticket, (ModelCommand, Stage)>,
    /// The ids of unfinished commands by key, in the order of their first arrival.
    unfinished: Vec<VecDeque<u64>>,
    finished: usize,
    random: Box<dyn Iterator<Item = u8>>,
}

impl Model {
    fn new(faults: Faults, random: Vec<u8>) -> Self {
        let limited = Rates { target: Some(3.0), classes: vec![Some(2.0), Some(1.0)], key_interval: s(2) };
        let rates = if faults.rate_limited { limited } else { Rates::default() };
        // Without losses every copy returns within the grace.
        let return_grace = if faults.lost_copies { s(60) } else { s(1_000) };
        Self {
            faults,
            schedule: Schedule::new(ScheduleSettings { return_grace, ..settings() }, &rates),
            now: Duration::ZERO,
            queue: VecDeque::new(),
            tiers: Vec::new(),
            in_hand: BTreeMap::new(),
            unfinished: vec![VecDeque::new(); KEYS],
            finished: 0,
            random: Box::new(random.into_iter()),
        }
    }

    /// A random number below `bound`; 0 once the random numbers are used up, so that every command then succeeds.
    fn random(&mut self, bound: u8) -> u8 {
        self.random.next().map_or(0, |number| number % bound)
    }

    fn step(&mut self) {
        self.now += s(1);
        let now = self.now;
        self.tiers.sort_by_key(|(due, _)| *due);
        let due = self.tiers.partition_point(|(due, _)| *due <= now);
        self.queue.extend(self.tiers.drain(..due).map(|(_, command)| command));
        if self.faults.lost_sessions && self.random(16) == 1 {
            self.lose_session();
        }
        while self.in_hand.len() < PREFETCH && self.deliver() {}
        self.advance_some();
        while let Some(decision) = self.schedule.next_decision(now, true) {
            self.apply(decision);
            self.check();
        }
        assert!(self.schedule.wake_at().is_none_or(|time| time > now), "a busy loop");
        self.check();
    }

    fn deliver(&mut self) -> bool {
        let Some((key, id)) = self.queue.pop_front() else { return false };
        let name = ["a", "b", "c"][key];
        let ticket = self.schedule.insert(Arrival { key: Some(name), id, class: key % 2 }, self.now);
        assert!(self.in_hand.insert(ticket, ((key, id), Stage::Waiting)).is_none(), "a ticket was reused");
        if !self.unfinished[key].contains(&id) {
            self.unfinished[key].push_back(id);
        }
        true
    }

    fn apply(&mut self, decision: ScheduleDecision) {
        match decision {
            ScheduleDecision::Attempt { ticket, .. } => {
                let ((key, id), stage) = self.in_hand.get_mut(&ticket).expect("in hand");
                assert_eq!(*stage, Stage::Waiting);
                *stage = Stage::Attempting;
                let (key, id) = (*key, *id);
                assert_eq!(self.count(key, |stage| stage == Stage::Attempting), 1, "concurrent attempts");
                if !self.faults.lost_copies {
                    assert_eq!(self.unfinished[key].front(), Some(&id), "an earlier command is not finished");
                }
            }
            ScheduleDecision::Delay { ticket, tier } => {
                let ((key, _), stage) = self.in_hand.get_mut(&ticket).expect("in hand");
                *stage = Stage::Publishing(tier);
                let key = *key;
                let publishing = self.count(key, |stage| matches!(stage, Stage::Publishing(_)));
                assert_eq!(publishing, 1, "concurrent copies");
            }
        }
    }

    fn count(&self, key: usize, is_counted: impl Fn(Stage) -> bool) -> usize {
        self.in_hand.values().filter(|((other, _), stage)| *other == key && is_counted(*stage)).count()
    }

    /// Applies a random event to each command in hand.
    fn advance_some(&mut self) {
        let in_hand: Vec<_> =
            self.in_hand.iter().map(|(ticket, (command, stage))| (*ticket, *command, *stage)).collect();
        for (ticket, command, stage) in in_hand {
            match (stage, self.random(8)) {
                (Stage::Attempting, 0..3) | (Stage::Waiting, 7) => self.finish(ticket, command),
                (Stage::Attempting, 3..5) => {
                    self.schedule.request_attempt(ticket, self.now);
                    self.in_hand.insert(ticket, (command, Stage::Waiting));
                }
                (Stage::Attempting, tier @ 5..7) | (Stage::Waiting, tier @ 6) => {
                    self.schedule.delay(ticket, usize::from(tier - 5), self.now);
                    self.in_hand.insert(ticket, (command, Stage::Waiting));
                }
                (Stage::Publishing(_), 7) => self.finish(ticket, command),
                (Stage::Publishing(tier), 0..7) => self.confirm(ticket, command, tier),
                _ => {}
            }
        }
    }

    fn finish(&mut self, ticket: Ticket, (key, id): ModelCommand) {
        self.schedule.remove(ticket, self.now);
        self.in_hand.remove(&ticket);
        self.unfinished[key].retain(|other| *other != id);
        self.finished += 1;
    }

    fn confirm(&mut self, ticket: Ticket, command: ModelCommand, tier: usize) {
        self.schedule.confirm_delayed(ticket, self.now);
        self.in_hand.remove(&ticket);
        if self.faults.lost_copies && self.random(4) == 1 {
            self.unfinished[command.0].retain(|id| *id != command.1);
            self.finished += 1;
            return;
        }
        let lateness = if self.faults.late_copies { s(self.random(20).into()) } else { s(0) };
        self.tiers.push((self.now + settings().tiers[tier] + lateness, command));
    }

    /// Returns all deliveries to the front of the queue.
    fn lose_session(&mut self) {
        for (ticket, (command, _)) in std::mem::take(&mut self.in_hand).into_iter().rev() {
            self.schedule.requeue(ticket, self.now);
            self.queue.push_front(command);
        }
    }

    fn check(&self) {
        let schedule = &self.schedule;
        assert_eq!(schedule.in_hand.len(), self.in_hand.len());
        assert!(schedule.lanes.values().all(|lane| lane.waiting() <= settings().min_lane_capacity));
        let counts = schedule.lanes.values().map(|lane| lane.counts(&settings(), s(1), self.now));
        let (held, missing) = counts.fold((0, 0), |sum, counts| (sum.0 + counts.held, sum.1 + counts.missing));
        assert_eq!((held, missing), (schedule.totals.held, schedule.totals.missing));
        let in_hand = schedule.backlogs.iter().map(|backlog| backlog.in_hand).sum::<usize>();
        assert_eq!(in_hand, self.in_hand.len());
        assert!(held <= settings().bounds.max_held);
        assert!(schedule.timers.len() <= schedule.lanes.len() && schedule.lanes.len() <= KEYS);
    }
}

/// Runs the arrivals of each second, then until everything is finished; nothing may be left over.
fn run(faults: Faults, arrivals: Vec<Vec<usize>>, random: Vec<u8>) {
    let mut model = Model::new(faults, random);
    let commands = arrivals.iter().map(Vec::len).sum::<usize>();
    let mut id = 0;
    for keys in arrivals {
        for key in keys {
            id += 1;
            model.queue.push_back((key, id));
        }
        model.step();
    }
    for _ in 0..3_000 {
        model.step();
        if model.finished == commands && model.schedule.lanes.is_empty() {
            break;
        }
    }
    let schedule = &model.schedule;
    assert_eq!((model.finished, schedule.in_hand.len(), schedule.totals.missing), (commands, 0, 0), "{schedule:?}");
    assert!(schedule.lanes.is_empty() && schedule.timers.is_empty());
    let counters = schedule.counters();
    assert!(faults.lost_copies || (counters.forgotten, counters.given_up) == (0, 0), "{counters:?}");
}

fn arrivals() -> impl Strategy<Value = Vec<Vec<usize>>> {
    vec(vec(prop_oneof![3 => Just(0_usize), 1 => 0..KEYS], 0..8), 1..25)
}

fn random() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..600)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn model_without_faults_keeps_order(arrivals in arrivals(), random in random(), rate_limited in any::<bool>()) {
        let faults = Faults { late_copies: false, lost_copies: false, lost_sessions: false, rate_limited };
        run(faults, arrivals, random);
    }

    #[test]
    fn model_late_copies_and_lost_sessions_keep_order(
        arrivals in arrivals(), random in random(), late_copies in any::<bool>(), rate_limited in any::<bool>(),
    ) {
        run(Faults { late_copies, lost_copies: false, lost_sessions: true, rate_limited }, arrivals, random);
    }

    #[test]
    fn model_lost_copies_block_nothing_forever(
        arrivals in arrivals(), random in random(), lost_sessions in any::<bool>(),
    ) {
        run(Faults { late_copies: true, lost_copies: true, lost_sessions, rate_limited: false }, arrivals, random);
    }
}
