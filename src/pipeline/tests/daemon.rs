//! A pipeline at work in a world of fakes.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::world::World;
use crate::{
    domain::{
        command::OnUncertain, decode::DecodeLimits, event::EventFormat, properties::Properties, rate::Rates,
        tier::Tiers, verdict::StatusLists,
    },
    gate::{Gate, GateHold, GateReason, GateState},
    pipeline::{Concurrency, Drained, Order, Pipeline, PipelineSettings},
    ports::{Delivery, Inbox},
    telemetry::{Telemetry, TelemetryLimits},
};

struct Queue(mpsc::UnboundedReceiver<Delivery>);

impl Inbox for Queue {
    async fn next(&mut self) -> Option<Delivery> {
        self.0.recv().await
    }

    fn try_next(&mut self) -> Option<Delivery> {
        self.0.try_recv().ok()
    }

    fn is_consuming(&self) -> bool {
        true
    }

    fn set_prefetch(&mut self, _: u16) {}
}

/// A pipeline at work in a [`World`].
pub(super) struct Daemon {
    pub(super) world: World,
    pub(super) gate: Gate,
    telemetry: Telemetry,
    drain: CancellationToken,
    working: tokio::task::JoinHandle<Drained>,
}

impl Daemon {
    pub(super) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(super) fn start_with(change: impl FnOnce(&mut PipelineSettings)) -> Self {
        Self::of(World::new(), change)
    }

    fn of(world: World, change: impl FnOnce(&mut PipelineSettings)) -> Self {
        let mut rules = PipelineSettings {
            limits: DecodeLimits::default(),
            descriptor_field: "clientApplicationDescriptor".to_owned(),
            statuses: StatusLists::default(),
            max_attempts: 8,
            tiers: Tiers::default(),
            on_uncertain: OnUncertain::Resend,
            default_ttl: None,
            event_format: EventFormat::Plain,
            replies: false,
            order: Order::None,
            concurrency: Concurrency::Fixed(4),
            prefetch: 80,
            channels: Vec::new(),
            rates: watch::Sender::new(Rates::default()).subscribe(),
            drain: Duration::from_secs(30),
        };
        change(&mut rules);
        let (queue, inbox) = mpsc::unbounded_channel();
        *world.queue.lock().unwrap() = queue;
        let (gate, drain) = (Gate::default(), CancellationToken::new());
        let telemetry = Telemetry::new(TelemetryLimits { max_in_flight: 4, prefetch: 5 }, &Tiers::default()).unwrap();
        let pipeline = Pipeline::new(rules, world.clone(), gate.clone(), telemetry.clone(), drain.clone());
        let working = tokio::spawn(pipeline.run(Queue(inbox)));
        Self { world, gate, telemetry, drain, working }
    }

    /// Delivers a command of the given text, with the other fields of `more`.
    pub(super) fn deliver(&mut self, text: &str, more: serde_json::Value) {
        let mut body = serde_json::json!({
            "commandId": format!("c-{}", self.world.state().delivered + 1), "text": text,
            "channelType": "WHATSAPP", "deviceAddress": "89000000000",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.deliver_raw(body.to_string().into_bytes(), |_| {});
    }

    pub(super) fn deliver_raw(&mut self, body: Vec<u8>, change: impl FnOnce(&mut Delivery)) {
        self.world.deliver(body.into(), Properties::default(), change);
    }

    /// Closes the gate from outside of the pipeline.
    pub(super) fn close(&self, reason: GateReason) -> GateHold {
        self.gate.close(reason, "a test")
    }

    /// This daemon dies, and another takes over its world: the journal, the queue, the API.
    pub(super) async fn die(self) -> Self {
        self.working.abort();
        assert!(self.working.await.is_err_and(|error| error.is_cancelled()), "it was at work");
        // The tasks of its commands are aborted with it, and gone when they have had their turn.
        tokio::task::yield_now().await;
        self.world.orphan_all();
        let successor = Self::of(self.world, |_| {});
        successor.world.redeliver();
        successor
    }

    /// Lets everything happen that can happen within this time of the paused clock.
    pub(super) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub(super) fn begin_drain(&self) {
        self.drain.cancel();
    }

    /// Drains, and tells how it ended.
    pub(super) async fn drain(self) -> Drained {
        self.drain.cancel();
        self.working.await.unwrap()
    }

    /// How many commands are in hand.
    pub(super) fn in_hand(&self) -> i64 {
        self.telemetry.snapshot().in_hand
    }

    pub(super) fn is_open(&self) -> bool {
        GateState::is_open(&self.gate.state())
    }
}
