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

use super::{
    fake_ports::{START, status, success},
    port_support::{EmptyJournal, impl_ports},
};
use crate::{
    domain::{
        evidence::Evidence,
        message::{Message, Target},
        properties::Properties,
        tier::Tiers,
    },
    ports::{Clock, Delivery, DeliveryTag, Inbox, Outbox, PublishError, Random, Sender, Settler},
};

/// The duration of one POST.
pub(super) const POST_TIME: Duration = Duration::from_millis(10);
/// Until the broker has confirmed a message.
const CONFIRM_TIME: Duration = Duration::from_millis(2);
/// The broker delivers ten messages in this time, the shortest that tokio's timers resolve.
const TEN_DELIVERIES: Duration = Duration::from_millis(1);
/// How long the daemon keeps a narrow subscription.
const MIN_LIFETIME: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(super) struct QueueModel {
    state: Arc<Mutex<ModelState>>,
    tiers: Tiers,
    started: Instant,
    has_work: Arc<Notify>,
}

/// A changed prefetch needs a new subscription, and the settlement of older deliveries makes no room in it.
struct Subscription {
    opened_at: Instant,
    first: u64,
    window: usize,
}

#[derive(Default)]
struct ModelState {
    queue: VecDeque<(Bytes, Properties)>,
    delayed: BTreeMap<String, VecDeque<Message>>,
    unacked: BTreeSet<u64>,
    prefetch: usize,
    subscription: Option<Subscription>,
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
        if self.is_outdated() {
            self.subscribe();
        }
        let subscription = self.subscription.as_ref()?;
        if self.unacked.range(subscription.first..).count() >= subscription.window {
            return None;
        }
        let (body, properties) = self.queue.pop_front()?;
        self.deliveries += 1;
        self.unacked.insert(self.deliveries);
        let tag = DeliveryTag { generation: 0, number: self.deliveries };
        let source = "edna.commands/send".to_owned();
        Some(Delivery { tag, body, properties, redelivered: false, is_sole_consumer: true, returns: 0, source })
    }

    fn subscribe(&mut self) {
        let window = self.free();
        self.subscription = Some(Subscription { opened_at: Instant::now(), first: self.deliveries + 1, window });
    }

    /// What a new subscription would take.
    fn free(&self) -> usize {
        self.prefetch.saturating_sub(self.unacked.len()).max(1)
    }

    fn is_outdated(&self) -> bool {
        self.subscription.as_ref().is_none_or(|Subscription { opened_at, window, .. }| {
            *window < self.prefetch / 2 && *window < self.free().div_ceil(2) && opened_at.elapsed() > MIN_LIFETIME
        })
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
        let mut state = self.model.state();
        state.prefetch = prefetch.into();
        state.subscribe();
        drop(state);
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

impl_ports!(QueueModel, journal: EmptyJournal = |_| &EmptyJournal);
