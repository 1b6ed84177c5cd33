//! A pipeline that runs on fake ports.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::fake_ports::FakePorts;
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

struct FakeInbox {
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    is_consuming: watch::Receiver<bool>,
}

impl Inbox for FakeInbox {
    async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    fn try_next(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }

    fn is_consuming(&self) -> bool {
        *self.is_consuming.borrow()
    }

    fn max_in_hand(&self) -> u16 {
        80
    }

    fn set_prefetch(&mut self, _: u16) {}
}

/// Settings with little of everything, which a test changes.
pub(super) fn settings() -> PipelineSettings {
    PipelineSettings {
        limits: DecodeLimits::default(),
        descriptor_field: "clientApplicationDescriptor".to_owned(),
        statuses: StatusLists::default(),
        api_timeout: Duration::from_secs(10),
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
        is_shared: watch::Sender::new(false).subscribe(),
        drain: Duration::from_secs(30),
    }
}

/// A running pipeline with its fakes.
pub(super) struct TestDaemon {
    pub(super) fakes: FakePorts,
    pub(super) gate: Gate,
    telemetry: Telemetry,
    drain: CancellationToken,
    is_consuming: watch::Sender<bool>,
    pipeline: tokio::task::JoinHandle<Drained>,
}

impl TestDaemon {
    pub(super) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(super) fn start_with(change: impl FnOnce(&mut PipelineSettings)) -> Self {
        Self::start_on(FakePorts::new(), change)
    }

    /// Starts a daemon on the fakes of an earlier one.
    pub(super) fn start_on_fakes(fakes: FakePorts) -> Self {
        Self::start_on(fakes, |_| {})
    }

    fn start_on(fakes: FakePorts, change: impl FnOnce(&mut PipelineSettings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let (queue, deliveries) = mpsc::unbounded_channel();
        *fakes.queue.lock().unwrap() = queue;
        let telemetry = Telemetry::new(TelemetryLimits { max_in_flight: 4, prefetch: 5 }, &Tiers::default()).unwrap();
        let (gate, drain) = (Gate::observed_by(Arc::new(telemetry.clone())), CancellationToken::new());
        let pipeline = Pipeline::new(settings, fakes.clone(), gate.clone(), telemetry.clone(), drain.clone());
        let is_consuming = watch::Sender::new(true);
        let inbox = FakeInbox { deliveries, is_consuming: is_consuming.subscribe() };
        let pipeline = tokio::spawn(pipeline.run(inbox));
        Self { fakes, gate, telemetry, drain, is_consuming, pipeline }
    }

    /// Delivers a command with this text and the fields of `more`.
    pub(super) fn deliver(&mut self, text: &str, more: serde_json::Value) {
        let mut body = serde_json::json!({
            "commandId": format!("c-{}", self.fakes.state().deliveries + 1), "text": text,
            "channelType": "WHATSAPP", "deviceAddress": "89000000000",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.deliver_raw(body.to_string().into_bytes(), |_| {});
    }

    pub(super) fn deliver_raw(&mut self, body: Vec<u8>, change: impl FnOnce(&mut Delivery)) {
        self.fakes.deliver(body.into(), Properties::default(), change);
    }

    /// Starts or cancels the subscription; the pipeline reads the change on its next turn.
    pub(super) fn set_consuming(&self, is_consuming: bool) {
        self.is_consuming.send_replace(is_consuming);
    }

    /// Closes the gate as another component does.
    pub(super) fn close_gate(&self, reason: GateReason) -> GateHold {
        self.gate.close(reason, "a test")
    }

    /// Kills this daemon and starts another on the same fakes; unacked deliveries are redelivered.
    pub(super) async fn crash_and_restart(self) -> Self {
        self.crash_and_restart_with(|_| {}).await
    }

    pub(super) async fn crash_and_restart_with(self, change: impl FnOnce(&mut PipelineSettings)) -> Self {
        self.pipeline.abort();
        assert!(self.pipeline.await.is_err_and(|error| error.is_cancelled()), "the pipeline was running");
        // Its tasks are aborted with it, and dropped when they are polled next.
        tokio::task::yield_now().await;
        self.fakes.orphan_attempts();
        let successor = Self::start_on(self.fakes, change);
        successor.fakes.redeliver();
        successor
    }

    /// Advances the paused clock step by step, so that all timers within `time` fire.
    pub(super) async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub(super) fn begin_drain(&self) {
        self.drain.cancel();
    }

    pub(super) async fn drain(self) -> Drained {
        self.drain.cancel();
        self.pipeline.await.unwrap()
    }

    /// The metrics of attempts that are not zero.
    pub(super) fn counted_attempts(&self) -> Vec<String> {
        let metrics = self.telemetry.scrape().unwrap();
        let counts = metrics.lines().filter(|line| line.starts_with("courier_attempts_total{"));
        counts.filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect()
    }

    pub(super) fn in_hand(&self) -> i64 {
        self.telemetry.snapshot().in_hand
    }

    /// All metrics in the text format.
    pub(super) fn metrics(&self) -> String {
        self.telemetry.scrape().unwrap()
    }

    /// The sum of a counter over its labels.
    pub(super) fn counter(&self, name: &str) -> u64 {
        let metrics = self.telemetry.scrape().unwrap();
        let lines = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// The reported problems that keep the gate closed.
    pub(super) fn gate_problems(&self) -> Vec<String> {
        self.telemetry.snapshot().closed_by.into_iter().filter_map(|closure| closure.problem).collect()
    }

    /// The sum of `courier_blocked_publishes`.
    pub(super) fn blocked_publishes(&self) -> usize {
        let scrape = self.telemetry.scrape().unwrap();
        let lines = scrape.lines().filter(|line| line.starts_with("courier_blocked_publishes{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
    }

    pub(super) fn gate_is_open(&self) -> bool {
        GateState::is_open(&self.gate.state())
    }
}
