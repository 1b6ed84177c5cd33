//! Fakes of all ports, scripted and inspected by the tests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};

use super::{fake_journal::FakeJournal, port_support::impl_ports};
use crate::{
    domain::{
        evidence::{Answer, Evidence},
        message::{Message, Target},
        properties::{Properties, header},
        tier::Tiers,
    },
    ports::{Clock, Delivery, DeliveryTag, Outbox, PublishError, Random, Sender, Settler},
};

/// 2026-11-22T12:00:00Z.
pub(super) const START: Timestamp = Timestamp::constant(1_795_348_800, 0);

/// All ports as fakes; clones share their state.
#[derive(Clone)]
pub(super) struct FakePorts {
    state: Arc<Mutex<FakeState>>,
    /// Publishes wait until this is true.
    confirms: watch::Sender<bool>,
    /// POSTs wait until this is true.
    answers: watch::Sender<bool>,
    started: tokio::time::Instant,
    journal: Arc<Mutex<FakeJournal>>,
    credential_changed: Arc<Notify>,
    /// Leads to the inbox of the current daemon.
    pub(super) queue: Arc<Mutex<mpsc::UnboundedSender<Delivery>>>,
}

type AnswerByText = Box<dyn FnMut(&str) -> Evidence + Send>;

#[derive(Default)]
pub(super) struct FakeState {
    script: VecDeque<Evidence>,
    /// Answers by text, instead of the script.
    pub(super) answers: Option<AnswerByText>,
    posts: Vec<String>,
    publish_errors: VecDeque<PublishError>,
    /// How many more events the broker accepts; `None` is any number.
    pub(super) room_for_events: Option<usize>,
    pub(super) publishes: usize,
    stored: Vec<Message>,
    pub(super) deliveries: u64,
    acked: Vec<u64>,
    /// All deliveries so far, for redelivery.
    delivered: Vec<Delivery>,
    /// The latency of every call, once before its effect and once after.
    latency: Duration,
    delayed_tiers: Vec<String>,
    /// The number of stored messages at each ack.
    stored_at_ack: Vec<usize>,
    /// The current session; deliveries of earlier ones cannot be acked.
    generation: u64,
    in_flight: usize,
    max_in_flight_posts: usize,
    /// The texts that the API answered with 200.
    delivered_texts: Vec<String>,
    /// The texts of the POSTs in flight.
    in_flight_texts: Vec<String>,
    /// The most concurrent POSTs whose texts begin with the same word.
    max_posts_per_device: usize,
}

impl FakeState {
    fn start_post(&mut self, text: String, is_delivered: bool) {
        self.in_flight += 1;
        self.max_in_flight_posts = self.max_in_flight_posts.max(self.in_flight);
        self.posts.push(text.clone());
        if is_delivered {
            self.delivered_texts.push(text.clone());
        }
        self.in_flight_texts.push(text.clone());
        let word = |text: &str| text.split(' ').next().map(str::to_owned);
        let per_device = self.in_flight_texts.iter().filter(|other| word(other) == word(&text)).count();
        self.max_posts_per_device = self.max_posts_per_device.max(per_device);
    }
}

impl FakePorts {
    pub(super) fn new() -> Self {
        // Replaced by each daemon.
        let queue = Arc::new(Mutex::new(mpsc::unbounded_channel().0));
        let (state, journal) = (Arc::default(), Arc::default());
        let started = tokio::time::Instant::now();
        Self {
            state,
            confirms: watch::Sender::new(true),
            answers: watch::Sender::new(true),
            started,
            journal,
            credential_changed: Arc::default(),
            queue,
        }
    }

    /// The tier of each delayed copy so far.
    pub(super) fn delayed_tiers(&self) -> Vec<String> {
        self.state().delayed_tiers.clone()
    }

    /// The number of deliveries, those from tiers included.
    pub(super) fn deliveries(&self) -> u64 {
        self.state().deliveries
    }

    /// Delivers a message to the pipeline.
    pub(super) fn deliver(&self, body: Bytes, properties: Properties, change: impl FnOnce(&mut Delivery)) {
        let tag = {
            let mut state = self.state();
            state.deliveries += 1;
            DeliveryTag { generation: state.generation, number: state.deliveries }
        };
        let source = "edna.commands/send".to_owned();
        let mut delivery =
            Delivery { tag, body, properties, redelivered: false, returns: 0, is_sole_consumer: false, source };
        change(&mut delivery);
        self.state().delivered.push(delivery.clone());
        self.enqueue(delivery);
    }

    fn enqueue(&self, delivery: Delivery) {
        // Fails after the end of a test.
        let _ = self.queue.lock().unwrap().send(delivery);
    }

    /// Redelivers what is not acked, as the broker does when a session ends.
    pub(super) fn redeliver(&self) {
        let (unacked, generation) = {
            let state = self.state();
            let unacked = state.delivered.iter().filter(|delivery| !state.acked.contains(&delivery.tag.number));
            (unacked.cloned().collect::<Vec<_>>(), state.generation)
        };
        for delivery in unacked {
            let tag = DeliveryTag { generation, ..delivery.tag };
            self.enqueue(Delivery { tag, redelivered: true, ..delivery });
        }
    }

    /// Gives every call a latency, so that a crash can come between.
    pub(super) fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    pub(super) async fn pass_latency(&self) {
        let latency = self.state().latency;
        tokio::time::sleep(latency).await;
    }

    /// Scripts the evidence of the next attempts; after that, the API answers 200.
    pub(super) fn script_evidence(&self, evidence: impl IntoIterator<Item = Evidence>) {
        self.state().script.extend(evidence);
    }

    /// Makes the next publishes fail with these errors.
    pub(super) fn fail_publishes(&self, errors: impl IntoIterator<Item = PublishError>) {
        self.state().publish_errors.extend(errors);
    }

    /// Makes the broker refuse events, or accept them again.
    pub(super) fn set_events_refused(&self, refused: bool) {
        self.state().room_for_events = refused.then_some(0);
    }

    /// Clears all scripted failures.
    pub(super) fn clear_failures(&self) {
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

    /// Ends the session of all deliveries so far.
    pub(super) fn lose_session(&self) {
        self.state().generation += 1;
    }

    pub(super) fn posts(&self) -> usize {
        self.state().posts.len()
    }

    pub(super) fn change_credential(&self) {
        self.credential_changed.notify_one();
    }

    pub(super) fn posted_texts(&self) -> Vec<String> {
        self.state().posts.clone()
    }

    pub(super) fn acked(&self) -> Vec<u64> {
        self.state().acked.clone()
    }

    pub(super) fn stored_at_ack(&self) -> Vec<usize> {
        self.state().stored_at_ack.clone()
    }

    /// The texts that the API answered with 200, in order.
    pub(super) fn delivered_texts(&self) -> Vec<String> {
        self.state().delivered_texts.clone()
    }

    /// The most concurrent POSTs whose texts begin with the same word.
    pub(super) fn max_posts_per_device(&self) -> usize {
        self.state().max_posts_per_device
    }

    pub(super) fn max_in_flight_posts(&self) -> usize {
        self.state().max_in_flight_posts
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

    pub(super) fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap()
    }

    pub(super) fn journal_state(&self) -> MutexGuard<'_, FakeJournal> {
        self.journal.lock().unwrap()
    }
}

impl Sender for FakePorts {
    async fn send(&self, body: &Bytes) -> (Evidence, Duration) {
        self.pass_latency().await;
        let (text, evidence) = {
            let mut state = self.state();
            let request: serde_json::Value = serde_json::from_slice(body).unwrap();
            let text = request["text"].as_str().unwrap_or_default().to_owned();
            let evidence = match &mut state.answers {
                Some(answer) => answer(&text),
                None => state.script.pop_front().unwrap_or_else(success),
            };
            state.start_post(text.clone(), evidence.status() == Some(200));
            (text, evidence)
        };
        self.answers.subscribe().wait_for(|answering| *answering).await.unwrap();
        self.state().in_flight -= 1;
        self.pass_latency().await;
        self.state().in_flight_texts.retain(|other| *other != text);
        (evidence, Duration::from_millis(20))
    }

    async fn credential_changed(&self) {
        self.credential_changed.notified().await;
    }
}

impl Outbox for FakePorts {
    async fn publish(&self, message: Arc<Message>) -> Result<(), PublishError> {
        self.confirms.subscribe().wait_for(|confirming| *confirming).await.unwrap();
        self.pass_latency().await;
        let result = self.store(Arc::unwrap_or_clone(message));
        self.pass_latency().await;
        result
    }
    fn destination(&self, target: &Target) -> String {
        format!("exchange {:?}", Target::LABELS[target.index()])
    }
}
impl FakePorts {
    fn store(&self, message: Message) -> Result<(), PublishError> {
        let mut state = self.state();
        state.publishes += 1;
        let room = state.room_for_events.filter(|_| matches!(message.target, Target::Event { .. }));
        state.room_for_events = room.map(|room| room.saturating_sub(1)).or(state.room_for_events);
        match state.publish_errors.pop_front().or_else(|| (room == Some(0)).then_some(PublishError::Refused)) {
            Some(error) => Err(error),
            None => {
                if let Target::Tier { tier, .. } = &message.target {
                    state.delayed_tiers.push(tier.clone());
                    self.return_from_tier(tier, message.clone());
                }
                state.stored.push(message);
                Ok(())
            }
        }
    }

    /// Delivers the copy after the tier's length, as the broker does, and marked as the consumer marks it.
    fn return_from_tier(&self, tier: &str, message: Message) {
        let length = Tiers::default().iter().find(|known| known.name == tier).map(|known| known.length);
        let fakes = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(length.unwrap()).await;
            fakes.deliver(message.body, message.properties, |delivery| {
                delivery.redelivered = delivery.properties.headers.contains_key(header::RETURNS);
            });
        });
    }
}

impl Settler for FakePorts {
    fn ack(&self, tag: DeliveryTag) {
        let mut state = self.state();
        if tag.generation != state.generation {
            return;
        }
        let stored = state.stored.len();
        state.acked.push(tag.number);
        state.stored_at_ack.push(stored);
    }

    fn is_current(&self, tag: DeliveryTag) -> bool {
        tag.generation == self.state().generation
    }
}

/// Follows the test's paused clock.
impl Clock for FakePorts {
    fn now(&self) -> Timestamp {
        START + self.started.elapsed()
    }
}

impl Random for FakePorts {
    fn random_unit(&self) -> f64 {
        0.5
    }
}

impl_ports!(FakePorts, journal: Self = |ports| ports);

/// 200 with the documented answer.
pub(super) fn success() -> Evidence {
    let body = br#"{"id": 1, "threadId": 2, "clientId": 1, "clientExternalId": null, "agentId": 3}"#;
    Evidence::Answer(Answer { status: 200, retry_after: None, body: Some(body.to_vec()) })
}

/// An answer with this status.
pub(super) fn status(status: u16) -> Evidence {
    Evidence::Answer(Answer { status, retry_after: None, body: Some(Vec::new()) })
}

/// 429 with this `Retry-After`.
pub(super) fn throttled(retry_after_s: u64) -> Evidence {
    let retry_after = Some(Duration::from_secs(retry_after_s));
    Evidence::Answer(Answer { status: 429, retry_after, body: Some(Vec::new()) })
}
