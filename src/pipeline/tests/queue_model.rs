//! A broker with a first-in-first-out queue, a prefetch and delay tiers, and an API that fails each command as often as
//! its text says. All on the paused clock.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::fake_ports::{START, status, success};
use crate::{
    domain::{
        evidence::Evidence,
        journal::{AttemptHistory, Record, RecordedOutcome, SendKey},
        message::{Message, Target},
        properties::Properties,
        tier::Tiers,
    },
    ports::{
        Clock, Delivery, DeliveryTag, Inbox, Journal, JournalResult, Outbox, Ports, PublishError, Random, Sender,
        Settler,
    },
};

/// The duration of one POST.
pub(super) const POST_TIME: Duration = Duration::from_millis(10);
/// Until the broker has confirmed a message.
const CONFIRM_TIME: Duration = Duration::from_millis(2);
/// The broker delivers ten messages in this time, the shortest that tokio's timers resolve.
const TEN_DELIVERIES: Duration = Duration::from_millis(1);

#[derive(Clone)]
pub(super) struct QueueModel {
    state: Arc<Mutex<ModelState>>,
    tiers: Tiers,
    started: Instant,
    has_work: Arc<Notify>,
}

#[derive(Default)]
struct ModelState {
    queue: VecDeque<(Bytes, Properties)>,
    delayed: BTreeMap<String, VecDeque<Message>>,
    unacked: BTreeSet<u64>,
    prefetch: usize,
    deliveries: u64,
    copies: usize,
    posts: BTreeMap<String, u32>,
    /// The events with the time since the start.
    events: Vec<(Duration, Bytes)>,
}

impl QueueModel {
    pub(super) fn new(tiers: &Tiers, prefetch: u16) -> Self {
        let state = ModelState { prefetch: prefetch.into(), ..ModelState::default() };
        Self {
            state: Arc::new(Mutex::new(state)),
            tiers: tiers.clone(),
            started: Instant::now(),
            has_work: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, ModelState> {
        self.state.lock().unwrap()
    }

    pub(super) fn enqueue(&self, body: &serde_json::Value) {
        self.state().queue.push_back((body.to_string().into(), Properties::default()));
        self.has_work.notify_one();
    }

    /// The number of messages published to tiers.
    pub(super) fn copies(&self) -> usize {
        self.state().copies
    }

    pub(super) fn event_count(&self) -> usize {
        self.state().events.len()
    }

    /// The times of the events so far, since the start.
    pub(super) fn times(&self) -> impl Iterator<Item = Duration> {
        self.state().events.iter().map(|(at, _)| *at).collect::<Vec<_>>().into_iter()
    }

    /// The events so far, with the time since the start.
    pub(super) fn events(&self) -> Vec<(Duration, serde_json::Value)> {
        self.state().events.iter().map(|(at, json)| (*at, serde_json::from_slice(json).unwrap())).collect()
    }

    /// The inbox of a daemon that consumes the queue.
    pub(super) fn inbox(&self) -> ModelInbox {
        let (sender, deliveries) = mpsc::unbounded_channel();
        tokio::spawn(self.clone().deliver_all(sender));
        ModelInbox { deliveries, model: self.clone() }
    }

    async fn deliver_all(self, sender: mpsc::UnboundedSender<Delivery>) {
        loop {
            let deliveries: Vec<_> = {
                let mut state = self.state();
                std::iter::from_fn(|| state.next_delivery()).take(10).collect()
            };
            if deliveries.is_empty() {
                self.has_work.notified().await;
            }
            deliveries.into_iter().for_each(|delivery| sender.send(delivery).unwrap());
            tokio::time::sleep(TEN_DELIVERIES).await;
        }
    }

    fn delay(&self, tier: String, message: Message) {
        let length = self.tiers.iter().find(|known| known.name == tier).map(|known| known.length);
        let mut state = self.state();
        state.copies += 1;
        state.delayed.entry(tier.clone()).or_default().push_back(message);
        let model = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(length.unwrap()).await;
            model.state().end_delay(&tier);
            model.has_work.notify_one();
        });
    }
}

impl ModelState {
    fn next_delivery(&mut self) -> Option<Delivery> {
        if self.unacked.len() >= self.prefetch {
            return None;
        }
        let (body, properties) = self.queue.pop_front()?;
        self.deliveries += 1;
        self.unacked.insert(self.deliveries);
        let tag = DeliveryTag { generation: 0, number: self.deliveries };
        let source = "edna.commands/send".to_owned();
        Some(Delivery { tag, body, properties, redelivered: false, is_sole_consumer: true, returns: 0, source })
    }

    /// The oldest message of a tier returns to the queue: all stay equally long.
    fn end_delay(&mut self, tier: &str) {
        let Message { body, properties, .. } = self.delayed.get_mut(tier).unwrap().pop_front().unwrap();
        self.queue.push_back((body, properties));
    }
}

pub(super) struct ModelInbox {
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    model: QueueModel,
}

impl Inbox for ModelInbox {
    async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    fn try_next(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }

    fn is_consuming(&self) -> bool {
        true
    }

    fn max_in_hand(&self) -> u16 {
        self.model.state().prefetch.try_into().unwrap()
    }

    fn set_prefetch(&mut self, prefetch: u16) {
        self.model.state().prefetch = prefetch.into();
        self.model.has_work.notify_one();
    }
}

impl Settler for QueueModel {
    fn ack(&self, tag: DeliveryTag) {
        self.state().unacked.remove(&tag.number);
        self.has_work.notify_one();
    }

    fn is_current(&self, _: DeliveryTag) -> bool {
        true
    }
}

impl Outbox for QueueModel {
    async fn publish(&self, message: Arc<Message>) -> Result<(), PublishError> {
        tokio::time::sleep(CONFIRM_TIME).await;
        let message = Arc::unwrap_or_clone(message);
        match &message.target {
            Target::Tier { tier, .. } => self.delay(tier.clone(), message),
            Target::Event { .. } => {
                self.state().events.push((self.started.elapsed(), message.body));
            }
            Target::Dead(_) | Target::Reply(_) => {}
        }
        Ok(())
    }

    fn destination(&self, _: &Target) -> String {
        String::new()
    }
}

impl Sender for QueueModel {
    async fn send(&self, body: &Bytes) -> (Evidence, Duration) {
        tokio::time::sleep(POST_TIME).await;
        let request: serde_json::Value = serde_json::from_slice(body).unwrap();
        let text = request["text"].as_str().unwrap().to_owned();
        let failures: u32 = text.rsplit(' ').next().unwrap().parse().unwrap();
        let mut state = self.state();
        let posts = state.posts.entry(text).or_default();
        *posts += 1;
        (if *posts > failures { success() } else { status(503) }, POST_TIME)
    }

    async fn credential_changed(&self) {
        std::future::pending().await
    }
}

/// A complete journal without records.
impl Journal for QueueModel {
    async fn lookup(&self, _: &SendKey) -> JournalResult<Record> {
        Ok(Record::Unknown)
    }

    async fn start_attempt(&self, _: &SendKey) -> JournalResult<Record> {
        Ok(Record::Unknown)
    }

    async fn finish_attempt(&self, _: &SendKey, _: AttemptHistory) -> JournalResult<()> {
        Ok(())
    }

    async fn record_outcome(&self, _: &SendKey, _: RecordedOutcome) -> JournalResult<()> {
        Ok(())
    }

    async fn record_letter_stored(&self, _: &SendKey) -> JournalResult<()> {
        Ok(())
    }

    async fn record_told(&self, _: &SendKey) -> JournalResult<()> {
        Ok(())
    }

    async fn record_doubt(&self, _: &SendKey) -> JournalResult<()> {
        Ok(())
    }

    fn is_complete(&self) -> bool {
        true
    }
}

impl Clock for QueueModel {
    fn now(&self) -> Timestamp {
        START + self.started.elapsed()
    }
}

impl Random for QueueModel {
    fn random_unit(&self) -> f64 {
        0.5
    }
}

impl Ports for QueueModel {
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
