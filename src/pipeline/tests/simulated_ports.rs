//! A broker and an API that fails for a time, for simulations of days on a paused clock.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    fake_ports::{START, status, success},
    port_support::{EmptyJournal, impl_ports},
};
use crate::{
    domain::{
        evidence::{Evidence, NoAnswer, NotSent},
        message::{Message, Target},
        properties::Properties,
        reason::Reason,
        tier::Tiers,
    },
    gate::Gate,
    ports::{Clock, Delivery, DeliveryTag, Inbox, Outbox, PublishError, Random, Sender, Settler},
};

const LATENCY: Duration = Duration::from_millis(20);
pub(super) const API_TIMEOUT: Duration = Duration::from_secs(30);

/// How the API fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum ApiFailure {
    Refusing,
    Status(u16),
    Hanging,
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) finished: usize,
    pub(super) exhausted: usize,
    pub(super) expired: usize,
    /// When each letter of an uncertain command was published.
    pub(super) uncertain: Vec<Instant>,
    /// The attempts that the API failed although the gate was open: those that closed it.
    pub(super) closing: usize,
    /// When each attempt at a closed gate started.
    pub(super) probes: Vec<Instant>,
}

struct SimulationState {
    queue: VecDeque<Delivery>,
    unacked: usize,
    prefetch: usize,
    last_tag: u64,
    failure: Option<ApiFailure>,
    tally: Tally,
    random: u64,
}

/// All ports; clones share their state.
#[derive(Clone)]
pub(super) struct SimulatedPorts {
    state: Arc<Mutex<SimulationState>>,
    inbox_changed: Arc<Notify>,
    gate: Gate,
    started: Instant,
}

impl SimulatedPorts {
    pub(super) fn new(gate: Gate, prefetch: u16, seed: u64) -> Self {
        let state = SimulationState {
            queue: VecDeque::new(),
            unacked: 0,
            prefetch: prefetch.into(),
            last_tag: 0,
            failure: None,
            tally: Tally::default(),
            random: seed,
        };
        Self { state: Arc::new(Mutex::new(state)), inbox_changed: Arc::default(), gate, started: Instant::now() }
    }

    fn state(&self) -> MutexGuard<'_, SimulationState> {
        self.state.lock().unwrap()
    }

    pub(super) fn set_failure(&self, failure: Option<ApiFailure>) {
        self.state().failure = failure;
    }

    pub(super) fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    pub(super) fn finished(&self) -> usize {
        self.state().tally.finished
    }

    /// Puts a command at the end of the queue.
    pub(super) fn push(&self, body: Bytes, properties: Properties) {
        {
            let mut state = self.state();
            state.last_tag += 1;
            let tag = DeliveryTag { generation: 0, number: state.last_tag };
            let source = "edna.commands/send".to_owned();
            state.queue.push_back(Delivery {
                tag,
                body,
                properties,
                redelivered: false,
                returns: 0,
                is_sole_consumer: false,
                source,
            });
        }
        self.inbox_changed.notify_one();
    }

    fn take(&self) -> Option<Delivery> {
        let (gate, mut state) = (self.gate.state(), self.state());
        let may_take = if gate.is_open() { state.unacked < state.prefetch } else { gate.probe_requested() };
        let delivery = if may_take { state.queue.pop_front() } else { None };
        state.unacked += usize::from(delivery.is_some());
        delivery
    }

    fn return_from_tier(&self, tier: &str, message: Message) {
        let length = Tiers::default().iter().find(|known| known.name == tier).map(|known| known.length);
        let ports = self.clone();
        tokio::spawn(async move {
            sleep(length.unwrap()).await;
            ports.push(message.body, message.properties);
        });
    }
}

impl Inbox for SimulatedPorts {
    async fn next(&mut self) -> Option<Delivery> {
        let mut gate = self.gate.subscribe();
        loop {
            gate.borrow_and_update();
            if let Some(delivery) = self.take() {
                return Some(delivery);
            }
            tokio::select! {
                () = self.inbox_changed.notified() => {}
                _ = gate.changed() => {}
            }
        }
    }

    fn try_next(&mut self) -> Option<Delivery> {
        self.take()
    }

    fn is_consuming(&self) -> bool {
        self.gate.state().is_open()
    }

    fn max_in_hand(&self) -> u16 {
        u16::try_from(self.state().prefetch).unwrap()
    }

    fn set_prefetch(&mut self, prefetch: u16) {
        self.state().prefetch = prefetch.into();
    }
}

impl Sender for SimulatedPorts {
    async fn send(&self, _: &Bytes) -> (Evidence, Duration) {
        let failure = {
            let mut state = self.state();
            if !self.gate.state().is_open() {
                state.tally.probes.push(Instant::now());
            } else if state.failure.is_some() {
                state.tally.closing += 1;
            }
            state.failure
        };
        let (evidence, latency) = match failure {
            None => (success(), LATENCY),
            Some(ApiFailure::Refusing) => (Evidence::NotSent(NotSent::Connect), LATENCY),
            Some(ApiFailure::Status(code)) => (status(code), LATENCY),
            Some(ApiFailure::Hanging) => (Evidence::NoAnswer(NoAnswer::Timeout), API_TIMEOUT),
        };
        sleep(latency).await;
        (evidence, latency)
    }

    async fn credential_changed(&self) {
        std::future::pending().await
    }
}

impl Outbox for SimulatedPorts {
    async fn publish(&self, message: Arc<Message>) -> Result<(), PublishError> {
        let tally = &mut self.state().tally;
        match &message.target {
            Target::Event { .. } => tally.finished += 1,
            Target::Dead(Reason::Exhausted) => tally.exhausted += 1,
            Target::Dead(Reason::Uncertain) => tally.uncertain.push(Instant::now()),
            Target::Dead(Reason::Expired) => tally.expired += 1,
            Target::Dead(_) | Target::Reply(_) => {}
            Target::Tier { tier, .. } => self.return_from_tier(tier, message.as_ref().clone()),
        }
        Ok(())
    }

    fn destination(&self, _: &Target) -> String {
        String::new()
    }
}

impl Settler for SimulatedPorts {
    fn ack(&self, _: DeliveryTag) {
        self.state().unacked -= 1;
        self.inbox_changed.notify_one();
    }

    fn is_current(&self, _: DeliveryTag) -> bool {
        true
    }
}

impl Clock for SimulatedPorts {
    fn now(&self) -> Timestamp {
        START + self.started.elapsed()
    }
}

/// A xorshift generator, the same numbers in each run.
impl Random for SimulatedPorts {
    fn random_unit(&self) -> f64 {
        let mut state = self.state();
        let mut next = state.random;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        state.random = next;
        f64::from(u32::try_from(next >> 32).unwrap()) / (f64::from(u32::MAX) + 1.0)
    }
}

impl_ports!(SimulatedPorts, journal: EmptyJournal = |_| &EmptyJournal);
