//! Takes deliveries in hand, decides whose turn it is, and lets all of them finish at shutdown.
//!
//! One task owns the schedule, the limit and everything that waits for a turn, so nothing of it needs a lock. A command at
//! work is a task of its own, which asks for its turns by words.

use std::{mem, time::Duration};

use rustc_hash::FxHashMap;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior},
};

use super::{
    Pipeline, Shared,
    keeper::{Probe, Turn},
    place::{Grant, Permission, Place, Word},
    prefetch::Prefetch,
    rules,
    settle::Taken,
};
use crate::{
    domain::{
        command::Command,
        decode,
        limit::ConcurrencyLimit,
        schedule::{Arrival, OrderCounters, Schedule, ScheduleDecision, Ticket},
    },
    gate::GateReason,
    ports::{Clock, Delivery, DeliveryTag, Inbox, Ports, Sender, Settler},
    telemetry::events::{OrderEvents, RateWaited},
};

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything in hand was settled or released.
    Complete,
    /// Everything was settled, but the broker may not have read the last acknowledgements: it may hand some out again.
    Unflushed,
    /// Time ran out with this many commands in hand; the broker hands them out again.
    OutOfTime(usize),
    /// A task of ours ended that must not: a bug. What it had in hand was not settled.
    Panicked,
}

/// How often it is looked whether a probe must be asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a changed credential is told of.
const RENEWED_EVERY: Duration = Duration::from_secs(1);

/// A command in hand.
struct Hand {
    /// Whose session brought it.
    tag: DeliveryTag,
    /// While it waits for a grant.
    grant: Option<oneshot::Sender<Grant>>,
}

/// See the module.
struct Dispatcher<P: Ports> {
    pipeline: Pipeline<P>,
    schedule: Schedule,
    limit: ConcurrencyLimit,
    prefetch: Prefetch,
    hands: FxHashMap<Ticket, Hand>,
    /// The newest session that brought something.
    generation: u64,
    words: (mpsc::UnboundedSender<Word>, mpsc::UnboundedReceiver<Word>),
    work: JoinSet<()>,
    started: Instant,
    /// The gate was open when it was last looked at.
    was_open: bool,
    is_draining: bool,
    counted: OrderCounters,
    /// When to look again though nothing happened, if ever.
    wake_at: Option<Instant>,
}

impl<P: Ports> Pipeline<P> {
    /// Works until the drain begins, then finishes what is in hand. How many deliveries can be in hand is bounded by the
    /// broker's prefetch, not here.
    pub async fn run(self, inbox: impl Inbox) -> Drained {
        let shared = self.shared.clone();
        let mut dispatcher = Dispatcher::new(self);
        let is_bug = dispatcher.work_until_drained(inbox, &shared).await;
        shared.drain.cancel();
        dispatcher.release_all();
        let finished = tokio::time::timeout(shared.rules.drain, dispatcher.finish()).await;
        match finished {
            _ if is_bug => Drained::Panicked,
            Ok(drained) => drained,
            Err(_) => Drained::OutOfTime(dispatcher.work.len()),
        }
    }
}

impl<P: Ports> Dispatcher<P> {
    fn new(pipeline: Pipeline<P>) -> Self {
        let shared = pipeline.shared.clone();
        let started = shared.ports.clock().monotonic();
        let rules = &shared.rules;
        let rates = rules.rates.borrow().clone();
        Self {
            schedule: Schedule::new(rules.lanes(), &rates),
            limit: rules.concurrency.limit(),
            prefetch: Prefetch::new(rules.prefetch),
            hands: FxHashMap::default(),
            generation: 0,
            words: mpsc::unbounded_channel(),
            work: JoinSet::new(),
            started,
            was_open: true,
            is_draining: false,
            counted: OrderCounters::default(),
            wake_at: None,
            pipeline,
        }
    }

    /// Tells whether a bug ended it.
    async fn work_until_drained(&mut self, mut inbox: impl Inbox, shared: &Shared<P>) -> bool {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut gate, mut rates) = (shared.gate.subscribe(), shared.rules.rates.clone());
        let renewals = shared.heed_renewals();
        tokio::pin!(renewals);
        loop {
            self.schedule.set_consuming(inbox.is_consuming(), self.now());
            self.dispatch();
            if let Some(prefetch) = self.prefetch.change(self.limit.target(), self.now()) {
                inbox.set_prefetch(prefetch);
                self.schedule.set_max_held(rules::held_most(prefetch.into()));
            }
            let wake_at = self.wake_at.unwrap_or(self.started);
            tokio::select! {
                biased;
                () = shared.drain.cancelled() => return false,
                Some(done) = self.work.join_next() => if self.reap(&done) { return true },
                Some(word) = self.words.1.recv() => self.hear_all(word),
                () = &mut renewals => {}
                _ = gate.changed() => {}
                Ok(()) = rates.changed() => self.follow_rates(),
                () = tokio::time::sleep_until(wake_at), if self.wake_at.is_some() => {}
                _ = looks.tick(), if !self.was_open => shared.keeper.ask_for_probe(self.lacks_probe()),
                delivery = inbox.next() => match delivery {
                    Some(delivery) => self.take_all(delivery, &mut inbox),
                    // It lasts as long as the sessions do, and those are stopped after us.
                    None => return true,
                },
            }
        }
    }

    async fn finish(&mut self) -> Drained {
        self.schedule.set_consuming(false, self.now());
        loop {
            self.dispatch();
            tokio::select! {
                biased;
                Some(word) = self.words.1.recv() => self.hear_all(word),
                done = self.work.join_next() => match done {
                    Some(done) if panicked(&done) => return Drained::Panicked,
                    Some(_) => {}
                    None => return Drained::Complete,
                },
            }
        }
    }

    fn now(&self) -> Duration {
        self.pipeline.shared.ports.clock().monotonic().saturating_duration_since(self.started)
    }

    /// What comes together is taken together: a turn costs more than a delivery.
    fn take_all(&mut self, first: Delivery, inbox: &mut impl Inbox) {
        self.pipeline.shared.gate.request_probe(false);
        let mut next = Some(first);
        while let Some(delivery) = next {
            self.take(delivery);
            next = inbox.try_next();
        }
    }

    fn hear_all(&mut self, first: Word) {
        let mut next = Some(first);
        while let Some(word) = next {
            self.hear(word);
            next = self.words.1.try_recv().ok();
        }
    }

    /// Lets go of all whose work has ended. Tells whether one of them panicked.
    fn reap(&mut self, first: &Result<(), JoinError>) -> bool {
        let others = std::iter::from_fn(|| self.work.try_join_next()).any(|done| panicked(&done));
        others || panicked(first)
    }

    fn take(&mut self, delivery: Delivery) {
        self.prefetch.took(delivery.body.len());
        if delivery.tag.generation > self.generation {
            self.generation = delivery.tag.generation;
            self.release_stale();
        }
        let shared = &self.pipeline.shared;
        let is_generated = std::cell::Cell::new(false);
        let new_id = || {
            is_generated.set(true);
            uuid::Uuid::new_v4().to_string()
        };
        match decode::decode(&delivery.body, &delivery.properties, &shared.rules.limits, new_id) {
            Ok(command) => self.seat(delivery, command, is_generated.get()),
            Err(malformed) => {
                self.work.spawn(self.pipeline.clone().bury_malformed(delivery, malformed));
            }
        }
    }

    /// Gives a command its place, in queue order, and a task.
    /// One with a generated id gets no order: it comes back from a tier as another one.
    fn seat(&mut self, delivery: Delivery, command: Command, is_generated: bool) {
        let now = self.now();
        let rules = &self.pipeline.shared.rules;
        let key = rules.order_key(&command).filter(|_| !is_generated);
        let id = rules::identity(&delivery, &command);
        let arrival = Arrival { key: key.as_deref(), id, class: rules.class(&command) };
        let ticket = self.schedule.insert(arrival, now);
        let (place, grant) = Place::new(ticket, self.words.0.clone());
        self.hands.insert(ticket, Hand { tag: delivery.tag, grant: Some(grant) });
        // Boxed, for the runtime moves what it spawns several times.
        self.work.spawn(Box::pin(self.pipeline.clone().handle(Box::new(Taken { delivery, command }), place)));
    }

    fn hear(&mut self, word: Word) {
        let now = self.now();
        match word {
            Word::Again(ticket, grant) => {
                self.schedule.request_attempt(ticket, now);
                // Who asks during the drain gets no answer, which is one.
                if !self.is_draining {
                    self.wait(ticket, grant);
                }
            }
            Word::SendAway(ticket, tier, grant) => {
                self.schedule.delay(ticket, tier, now);
                self.wait(ticket, grant);
            }
            Word::Parked(ticket) => {
                self.hands.remove(&ticket);
                self.schedule.confirm_delayed(ticket, now);
            }
            Word::Left(ticket) => {
                self.hands.remove(&ticket);
                self.schedule.remove(ticket, now);
            }
            Word::Released(ticket) => {
                self.hands.remove(&ticket);
                self.schedule.requeue(ticket, now);
            }
            Word::Answered(took, sample) => self.limit.finish_attempt(now, took, sample),
        }
    }

    /// Keeps what is asked for until it can be granted. Whose session is lost gets nothing any more, and may be out of the
    /// schedule already.
    fn wait(&mut self, ticket: Ticket, grant: oneshot::Sender<Grant>) {
        let Some(hand) = self.hands.get_mut(&ticket) else { return };
        if self.pipeline.shared.ports.settler().is_current(hand.tag) {
            hand.grant = Some(grant);
        } else {
            self.schedule.requeue(ticket, self.started.elapsed());
            drop(grant.send(Grant::Release));
        }
    }

    /// Grants what can be granted now.
    fn dispatch(&mut self) {
        let now = self.now();
        let is_open = !self.is_draining && self.pipeline.shared.gate.state().is_open();
        if is_open && !mem::replace(&mut self.was_open, is_open) {
            // Nobody knows what the API can take now.
            self.limit.restart(now);
        }
        self.was_open = is_open;
        while let Some(next) = self.schedule.next_decision(now, is_open && self.limit.has_room()) {
            self.grant(next, None);
        }
        let rates = self.schedule.wake_at().map(|at| self.started + at);
        let probe = if is_open || self.is_draining { None } else { self.probe() };
        self.wake_at = rates.into_iter().chain(probe).min();
        self.tell();
    }

    /// Lets one command try whether the gate must be closed, if a try is due; tells when the next one is.
    fn probe(&mut self) -> Option<Instant> {
        match self.pipeline.shared.clone().keeper.turn() {
            Turn::Open => None,
            Turn::Wait(until) => until,
            Turn::Probe(probe) => {
                if let Some(next) = self.schedule.next_decision(self.now(), true) {
                    self.grant(next, Some(probe));
                }
                None
            }
        }
    }

    /// Whether nothing in hand could be a probe: what there is waits for its delay, its device, or to be told. One that is
    /// asked for may have to wait, too; so many may be in hand as the broker would have handed out.
    fn lacks_probe(&self) -> bool {
        !self.schedule.has_ready() && self.work.len() < usize::from(self.pipeline.shared.rules.prefetch)
    }

    fn grant(&mut self, next: ScheduleDecision, probe: Option<Probe>) {
        let (ScheduleDecision::Attempt { ticket, .. } | ScheduleDecision::Delay { ticket, .. }) = next;
        // It may just be telling that its deadline has passed, and gives its place up then.
        let Some(hand) = self.hands.get_mut(&ticket) else { return };
        let (tag, Some(grant)) = (hand.tag, hand.grant.take()) else { return };
        let shared = &self.pipeline.shared;
        let granted = match next {
            // The broker hands it out again, so this copy must not be posted or parked as well; it keeps its place for then.
            _ if !shared.ports.settler().is_current(tag) => {
                self.schedule.requeue(ticket, self.started.elapsed());
                Grant::Release
            }
            ScheduleDecision::Delay { tier, .. } => Grant::Park(tier),
            ScheduleDecision::Attempt { rate_wait, .. } => {
                self.limit.start_attempt(self.started.elapsed());
                shared.telemetry.record(RateWaited { wait: rate_wait });
                Grant::Attempt(Permission::new(self.words.0.clone(), probe))
            }
        };
        // Whom nobody waits for any more gives its place up by itself.
        drop(grant.send(granted));
    }

    /// What an old session brought and nobody has begun goes back, to keep its place for when it comes again.
    fn release_stale(&mut self) {
        let (now, generation) = (self.now(), self.generation);
        let stale = self.hands.iter_mut().filter(|(_, hand)| hand.tag.generation < generation);
        for (ticket, grant) in stale.filter_map(|(ticket, hand)| Some((*ticket, hand.grant.take()?))) {
            self.schedule.requeue(ticket, now);
            drop(grant.send(Grant::Release));
        }
    }

    /// No attempt starts any more.
    fn release_all(&mut self) {
        self.is_draining = true;
        for grant in self.hands.values_mut().filter_map(|hand| hand.grant.take()) {
            drop(grant.send(Grant::Release));
        }
    }

    fn follow_rates(&mut self) {
        let (now, rates) = (self.now(), self.pipeline.shared.rules.rates.borrow().clone());
        self.schedule.set_rates(&rates, now);
    }

    fn tell(&mut self) {
        let telemetry = &self.pipeline.shared.telemetry;
        telemetry.set_concurrency_limit(self.limit.current());
        let (before, now) = (self.counted, self.schedule.counters());
        if before != now {
            telemetry.record(OrderEvents { before, now });
            self.counted = now;
        }
    }
}

impl<P: Ports> Shared<P> {
    /// A credential that has been replaced while the old one kept the gate closed is tried at once. Never ends.
    async fn heed_renewals(&self) {
        loop {
            self.gate.until(|gate| gate.is_closed_by(GateReason::Auth)).await;
            tokio::select! {
                () = self.ports.sender().credential_changed() => {
                    self.keeper.hurry(GateReason::Auth);
                    // It stays changed until an attempt uses it, and another reason may keep the gate closed.
                    tokio::time::sleep(RENEWED_EVERY).await;
                }
                () = self.gate.until(|gate| !gate.is_closed_by(GateReason::Auth)) => {}
            }
        }
    }
}

fn panicked(done: &Result<(), JoinError>) -> bool {
    done.as_ref().is_err_and(JoinError::is_panic)
}
