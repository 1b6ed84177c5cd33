//! A world without a broker and an API: every port is a fake that the test scripts and then questions.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};

use super::memory::Memory;
use crate::{
    domain::{
        evidence::{Answer, Evidence},
        message::{Message, Target},
        properties::Properties,
        tier::Tiers,
    },
    ports::{Clock, Delivery, DeliveryTag, Outbox, Ports, PublishError, Random, Sender, Settler},
};

/// 2026-11-22T12:00:00Z.
const START: Timestamp = Timestamp::constant(1_795_348_800, 0);

/// What a test sees and sets.
#[derive(Clone)]
pub(super) struct World {
    state: Arc<Mutex<State>>,
    /// Publishes wait until this is true.
    confirms: watch::Sender<bool>,
    /// POSTs wait until this is true.
    answers: watch::Sender<bool>,
    started: tokio::time::Instant,
    memory: Arc<Mutex<Memory>>,
    /// Somebody replaced the credential.
    renewed: Arc<Notify>,
    /// What is parked comes back by it after its tier's length.
    pub(super) queue: Arc<Mutex<mpsc::UnboundedSender<Delivery>>>,
}

#[derive(Default)]
pub(super) struct State {
    script: VecDeque<Evidence>,
    posts: Vec<String>,
    publish_errors: VecDeque<PublishError>,
    refuses_events: bool,
    stored: Vec<Message>,
    /// How many deliveries there were.
    pub(super) delivered: u64,
    acked: Vec<u64>,
    /// Every delivery, for a broker that hands them out again.
    kept: Vec<Delivery>,
    /// Everything takes this long before it happens, and again until it is known.
    step: Duration,
    /// In which tiers commands waited.
    parked: Vec<String>,
    /// What was stored when each ack came.
    stored_at_ack: Vec<usize>,
    /// How many sessions were lost: a delivery of one of them can't be acknowledged any more.
    lost: u64,
    in_flight: usize,
    most_in_flight: usize,
    /// The texts that the API took.
    taken: Vec<String>,
    /// The texts under way.
    under_way: Vec<String>,
    /// The most POSTs at once whose texts begin with the same word.
    most_of_one: usize,
}

impl State {
    /// A POST of this text begins.
    fn begin(&mut self, text: String, is_taken: bool) {
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        self.posts.push(text.clone());
        if is_taken {
            self.taken.push(text.clone());
        }
        self.under_way.push(text.clone());
        let word = |text: &str| text.split(' ').next().map(str::to_owned);
        let of_one = self.under_way.iter().filter(|other| word(other) == word(&text)).count();
        self.most_of_one = self.most_of_one.max(of_one);
    }
}

impl World {
    pub(super) fn new() -> Self {
        // Every daemon brings its own.
        let queue = Arc::new(Mutex::new(mpsc::unbounded_channel().0));
        let (state, memory) = (Arc::default(), Arc::default());
        let started = tokio::time::Instant::now();
        Self {
            state,
            confirms: watch::Sender::new(true),
            answers: watch::Sender::new(true),
            started,
            memory,
            renewed: Arc::default(),
            queue,
        }
    }

    /// In which tiers commands waited, one after the other.
    pub(super) fn parked(&self) -> Vec<String> {
        self.state().parked.clone()
    }

    /// How many deliveries there were, those from tiers included.
    pub(super) fn delivered(&self) -> u64 {
        self.state().delivered
    }

    /// Hands a message to the pipeline.
    pub(super) fn deliver(&self, body: Bytes, properties: Properties, change: impl FnOnce(&mut Delivery)) {
        let tag = {
            let mut state = self.state();
            state.delivered += 1;
            DeliveryTag { generation: state.lost, number: state.delivered }
        };
        let source = "edna.commands/send".to_owned();
        let mut delivery = Delivery { tag, body, properties, redelivered: false, source };
        change(&mut delivery);
        self.state().kept.push(delivery.clone());
        self.hand_out(delivery);
    }

    fn hand_out(&self, delivery: Delivery) {
        // Nobody takes it any more after the end of a test.
        let _ = self.queue.lock().unwrap().send(delivery);
    }

    /// Hands out again what was not acknowledged, as a broker does when the session ends.
    pub(super) fn redeliver(&self) {
        let (kept, generation) = {
            let state = self.state();
            let unacked = state.kept.iter().filter(|delivery| !state.acked.contains(&delivery.tag.number));
            (unacked.cloned().collect::<Vec<_>>(), state.lost)
        };
        for delivery in kept {
            let tag = DeliveryTag { generation, ..delivery.tag };
            self.hand_out(Delivery { tag, redelivered: true, ..delivery });
        }
    }

    /// From now on everything takes time, so that a daemon can die in between.
    pub(super) fn slow_down(&self, step: Duration) {
        self.state().step = step;
    }

    pub(super) async fn step(&self) {
        let step = self.state().step;
        tokio::time::sleep(step).await;
    }

    /// The evidence of the next attempts; when it is used up, the API answers 200.
    pub(super) fn script(&self, evidence: impl IntoIterator<Item = Evidence>) {
        self.state().script.extend(evidence);
    }

    /// The next publishes fail like this.
    pub(super) fn refuse(&self, errors: impl IntoIterator<Item = PublishError>) {
        self.state().publish_errors.extend(errors);
    }

    /// From now on events find no room, or do again.
    pub(super) fn refuse_events(&self, refused: bool) {
        self.state().refuses_events = refused;
    }

    /// From now on everything works.
    pub(super) fn mend(&self) {
        let mut state = self.state();
        state.script.clear();
        state.publish_errors.clear();
    }

    pub(super) fn withhold_confirms(&self, withheld: bool) {
        self.confirms.send_replace(!withheld);
    }

    pub(super) fn withhold_answers(&self, withheld: bool) {
        self.answers.send_replace(!withheld);
    }

    /// The session that brought the deliveries is gone.
    pub(super) fn lose_session(&self) {
        self.state().lost += 1;
    }

    pub(super) fn posts(&self) -> usize {
        self.state().posts.len()
    }

    /// There is a new credential.
    pub(super) fn renew(&self) {
        self.renewed.notify_one();
    }

    /// The texts that were posted, in order.
    pub(super) fn posted(&self) -> Vec<String> {
        self.state().posts.clone()
    }

    pub(super) fn acked(&self) -> Vec<u64> {
        self.state().acked.clone()
    }

    pub(super) fn stored_at_ack(&self) -> Vec<usize> {
        self.state().stored_at_ack.clone()
    }

    /// The texts that the API took, in order.
    pub(super) fn taken(&self) -> Vec<String> {
        self.state().taken.clone()
    }

    /// The most POSTs at once whose texts begin with the same word.
    pub(super) fn most_of_one(&self) -> usize {
        self.state().most_of_one
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }

    /// The stored events, parsed.
    pub(super) fn events(&self) -> Vec<serde_json::Value> {
        self.bodies(|target| matches!(target, Target::Event { .. }))
    }

    /// The stored dead letters.
    pub(super) fn dead_letters(&self) -> Vec<Message> {
        self.state().stored.iter().filter(|message| matches!(message.target, Target::Dead(_))).cloned().collect()
    }

    /// The stored replies, parsed.
    pub(super) fn replies(&self) -> Vec<serde_json::Value> {
        self.bodies(|target| matches!(target, Target::Reply(_)))
    }

    fn bodies(&self, wanted: impl Fn(&Target) -> bool) -> Vec<serde_json::Value> {
        let state = self.state();
        let messages = state.stored.iter().filter(|message| wanted(&message.target));
        messages.map(|message| serde_json::from_slice(&message.body).unwrap()).collect()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }
}

impl Sender for World {
    async fn send(&self, body: &Bytes) -> (Evidence, Duration) {
        self.step().await;
        let (text, evidence) = {
            let mut state = self.state();
            let request: serde_json::Value = serde_json::from_slice(body).unwrap();
            let text = request["text"].as_str().unwrap_or_default().to_owned();
            let evidence = state.script.pop_front().unwrap_or_else(ok);
            state.begin(text.clone(), evidence.status() == Some(200));
            (text, evidence)
        };
        self.answers.subscribe().wait_for(|answering| *answering).await.unwrap();
        self.state().in_flight -= 1;
        self.step().await;
        self.state().under_way.retain(|other| *other != text);
        (evidence, Duration::from_millis(20))
    }

    async fn credential_changed(&self) {
        self.renewed.notified().await;
    }
}

impl Outbox for World {
    async fn publish(&self, message: Arc<Message>) -> Result<(), PublishError> {
        self.confirms.subscribe().wait_for(|confirming| *confirming).await.unwrap();
        self.step().await;
        let result = self.take(Arc::unwrap_or_clone(message));
        self.step().await;
        result
    }
}

impl World {
    fn take(&self, message: Message) -> Result<(), PublishError> {
        let mut state = self.state();
        let refused = state.refuses_events && matches!(message.target, Target::Event { .. });
        match state.publish_errors.pop_front().or_else(|| refused.then_some(PublishError::Refused)) {
            Some(error) => Err(error),
            None => {
                if let Target::Tier { tier, .. } = &message.target {
                    state.parked.push(tier.clone());
                    self.come_back(tier, message.clone());
                }
                state.stored.push(message);
                Ok(())
            }
        }
    }

    /// As the broker does it, after the tier's length.
    fn come_back(&self, tier: &str, message: Message) {
        let length = Tiers::default().iter().find(|known| known.name == tier).map(|known| known.length);
        let world = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(length.unwrap()).await;
            world.deliver(message.body, message.properties, |_| {});
        });
    }
}

impl Settler for World {
    fn ack(&self, tag: DeliveryTag) {
        let mut state = self.state();
        if tag.generation != state.lost {
            return;
        }
        let stored = state.stored.len();
        state.acked.push(tag.number);
        state.stored_at_ack.push(stored);
    }

    fn is_current(&self, tag: DeliveryTag) -> bool {
        tag.generation == self.state().lost
    }
}

/// Follows the paused clock of the test.
impl Clock for World {
    fn now(&self) -> Timestamp {
        START + self.started.elapsed()
    }
}

impl Random for World {
    fn random_unit(&self) -> f64 {
        0.5
    }
}

impl Ports for World {
    type Sender = Self;
    type Outbox = Self;
    type Settler = Self;
    type Journal = Self;
    type Clock = Self;
    type Random = Self;

    fn sender(&self) -> &Self {
        self
    }
    fn outbox(&self) -> &Self {
        self
    }
    fn settler(&self) -> &Self {
        self
    }
    fn journal(&self) -> &Self {
        self
    }
    fn clock(&self) -> &Self {
        self
    }
    fn random(&self) -> &Self {
        self
    }
}

/// 200 with the documented answer.
pub(super) fn ok() -> Evidence {
    let body = br#"{"id": 1, "threadId": 2, "clientId": 1, "clientExternalId": null, "agentId": 3}"#;
    Evidence::Answer(Answer { status: 200, retry_after: None, body: Some(body.to_vec()) })
}

/// An answer with this status.
pub(super) fn status(status: u16) -> Evidence {
    Evidence::Answer(Answer { status, retry_after: None, body: Some(Vec::new()) })
}

/// 429 with this `Retry-After`.
pub(super) fn too_many(retry_after_s: u64) -> Evidence {
    let retry_after = Some(Duration::from_secs(retry_after_s));
    Evidence::Answer(Answer { status: 429, retry_after, body: Some(Vec::new()) })
}
