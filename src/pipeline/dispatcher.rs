//! Receives deliveries, runs a task for each, and lets the tasks finish at shutdown.

use std::{cell::Cell, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    api_health::ProbesInHand, command_in_hand::CommandInHand, context::PipelineContext, delivery_state::DeliveryState,
    prefetch::PrefetchControl, schedule_handle::TaskEvent, scheduler::CommandScheduler, settings::PipelineSettings,
    task,
};
use crate::{
    domain::{
        command::Command,
        decode::{self, Malformed},
    },
    gate::{Gate, GateReason},
    ports::{Delivery, Inbox, Ports, Sender},
    telemetry::Telemetry,
};

/// How often a closed gate is checked for lost sessions and for the need to request a probe.
const PROBE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Commands in hand beyond the prefetch that probes may need, so that a hand full of wrong commands is no dead end.
const PROBE_ROOM: usize = 64;
/// The minimum interval between probes that a changed credential causes.
const CREDENTIAL_PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long the broker may take to cancel the subscription at a shutdown, and how often that is checked.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
const CANCEL_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// How a pipeline stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every delivery in hand was settled or requeued.
    Complete,
    /// Every delivery was settled, but the broker may not have read the last acks, and may redeliver some.
    Unflushed,
    /// The drain time ran out with this many deliveries in hand, which the broker redelivers.
    OutOfTime(usize),
    /// A task ended that must not: a bug. The broker redelivers what was in hand.
    Panicked,
}

/// Works on the deliveries of one inbox.
pub struct Pipeline<P: Ports> {
    context: Arc<PipelineContext<P>>,
}

impl<P: Ports> Pipeline<P> {
    /// A pipeline that drains once `drain` is cancelled.
    #[must_use]
    pub fn new(
        settings: PipelineSettings,
        ports: P,
        gate: Gate,
        telemetry: Telemetry,
        drain: CancellationToken,
    ) -> Self {
        Self { context: Arc::new(PipelineContext::new(settings, ports, gate, telemetry, drain)) }
    }

    /// Works until the drain begins, then finishes the deliveries in hand. The broker's prefetch bounds their number.
    pub async fn run(self, mut inbox: impl Inbox) -> Drained {
        let mut dispatcher = Dispatcher::new(self.context.clone());
        let is_bug = dispatcher.run_until_drain(&mut inbox).await;
        self.context.drain.cancel();
        dispatcher.scheduler.drain();
        let finished = tokio::time::timeout(self.context.settings.drain, dispatcher.finish(&mut inbox)).await;
        match finished {
            _ if is_bug => Drained::Panicked,
            Ok(drained) => drained,
            Err(_) => Drained::OutOfTime(dispatcher.tasks.len()),
        }
    }
}

/// The event loop; its task owns the schedule.
struct Dispatcher<P: Ports> {
    context: Arc<PipelineContext<P>>,
    scheduler: CommandScheduler<P>,
    prefetch: PrefetchControl,
    /// The most deliveries that the session takes now.
    max_in_hand: usize,
    events: mpsc::UnboundedReceiver<TaskEvent>,
    tasks: JoinSet<()>,
}

impl<P: Ports> Dispatcher<P> {
    fn new(context: Arc<PipelineContext<P>>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "bounded by the prefetch: a command in hand has few events")]
        let (sender, events) = mpsc::unbounded_channel();
        let scheduler = CommandScheduler::new(context.clone(), sender);
        let prefetch = PrefetchControl::new(context.settings.prefetch);
        let max_in_hand = prefetch.current();
        Self { context, scheduler, prefetch, max_in_hand, events, tasks: JoinSet::new() }
    }

    /// Returns whether a bug ended it.
    async fn run_until_drain(&mut self, inbox: &mut impl Inbox) -> bool {
        let context = self.context.clone();
        let mut probe_checks = tokio::time::interval(PROBE_CHECK_INTERVAL);
        probe_checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut gate, mut rates) = (context.gate.subscribe(), context.settings.rates.clone());
        let mut is_shared = context.settings.is_shared.clone();
        let credential = probe_changed_credentials(&context);
        tokio::pin!(credential);
        loop {
            self.dispatch(inbox);
            if context.gate.state().is_closed_by(GateReason::Brake) {
                // At once: the next probe follows shortly.
                self.request_probe();
            }
            tokio::select! {
                biased;
                () = context.drain.cancelled() => return false,
                Some(result) = self.tasks.join_next() => if self.reap(&result) { return true },
                Some(event) = self.events.recv() => self.handle_events(event),
                () = &mut credential => {}
                _ = gate.changed() => {}
                Ok(()) = rates.changed() => self.scheduler.update_rates(),
                Ok(()) = is_shared.changed() => self.scheduler.update_shared(),
                () = sleep_until(self.scheduler.wake_at()) => {}
                _ = probe_checks.tick(), if !self.scheduler.gate_was_open() => {
                    self.scheduler.requeue_lost();
                    self.request_probe();
                }
                delivery = inbox.next() => match delivery {
                    Some(delivery) => self.receive_all(delivery, inbox),
                    // The sessions outlive the pipeline.
                    None => return true,
                },
            }
        }
    }

    /// Waits for the tasks and for the end of the subscription: until then deliveries arrive, which are not attempted.
    async fn finish(&mut self, inbox: &mut impl Inbox) -> Drained {
        let cancel_deadline = Instant::now() + CANCEL_TIMEOUT;
        let mut cancel_checks = tokio::time::interval(CANCEL_CHECK_INTERVAL);
        loop {
            self.scheduler.dispatch();
            // Read before the last deliveries are taken: none arrives after the end of the subscription.
            let is_cancelled = !inbox.is_consuming() || Instant::now() >= cancel_deadline;
            while let Some(delivery) = inbox.try_next() {
                self.release(delivery);
            }
            if is_cancelled && self.tasks.is_empty() {
                return Drained::Complete;
            }
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.handle_events(event),
                Some(result) = self.tasks.join_next() => if panicked(&result) { return Drained::Panicked },
                _ = cancel_checks.tick(), if !is_cancelled => {}
            }
        }
    }

    /// Leaves a delivery to the broker, which delivers it again, and records that it was not posted.
    fn release(&mut self, delivery: Delivery) {
        let has_generated_id = Cell::new(false);
        let Ok(command) = self.decode(&delivery, &has_generated_id) else { return };
        if !has_generated_id.get() {
            let state = DeliveryState::new(&delivery, self.context.now(), self.context.monotonic());
            let (has_generated_id, needs_doubt_record) = (false, false);
            let in_hand = Box::new(CommandInHand { delivery, command, state, has_generated_id, needs_doubt_record });
            let context = self.context.clone();
            self.tasks.spawn(async move { context.record_unposted(&in_hand).await });
        }
    }

    fn dispatch(&mut self, inbox: &mut impl Inbox) {
        self.scheduler.set_consuming(inbox.is_consuming());
        self.scheduler.set_max_in_hand(inbox.max_in_hand());
        self.max_in_hand = inbox.max_in_hand().into();
        self.scheduler.dispatch();
        let (concurrency, waiting) = (self.scheduler.target_concurrency(), self.scheduler.waiting());
        if let Some(prefetch) = self.prefetch.adjust(concurrency, waiting, self.scheduler.now()) {
            inbox.set_prefetch(prefetch);
        }
    }

    /// Receives deliveries in batches: a turn of the loop costs more than a delivery.
    fn receive_all(&mut self, first: Delivery, inbox: &mut impl Inbox) {
        self.context.gate.request_probe(false);
        let mut next = Some(first);
        while let Some(delivery) = next {
            self.receive(delivery);
            next = inbox.try_next();
        }
    }

    fn receive(&mut self, delivery: Delivery) {
        self.scheduler.session_started(delivery.tag.generation);
        let has_generated_id = Cell::new(false);
        match self.decode(&delivery, &has_generated_id) {
            Ok(command) => self.spawn_command(delivery, command, has_generated_id.get()),
            Err(malformed) => self.spawn_malformed(delivery, malformed),
        }
    }

    fn decode(&self, delivery: &Delivery, has_generated_id: &Cell<bool>) -> Result<Command, Malformed> {
        let new_id = || {
            has_generated_id.set(true);
            uuid::Uuid::new_v4().to_string()
        };
        decode::decode(&delivery.body, &delivery.properties, &self.context.settings.limits, new_id)
    }

    fn spawn_command(&mut self, delivery: Delivery, command: Command, has_generated_id: bool) {
        let state = DeliveryState::new(&delivery, self.context.now(), self.context.monotonic());
        let mut in_hand =
            Box::new(CommandInHand { delivery, command, state, has_generated_id, needs_doubt_record: false });
        let (delivery, journal) = (&in_hand.delivery, self.context.ports.journal());
        in_hand.needs_doubt_record = self.context.doubt_tracker.receive(delivery, in_hand.lasting_identity(), journal);
        let handle = self.scheduler.add(&in_hand, has_generated_id);
        // Boxed: spawning moves the future several times.
        self.tasks.spawn(Box::pin(task::run_command(self.context.clone(), in_hand, handle)));
    }

    fn spawn_malformed(&mut self, delivery: Delivery, malformed: Malformed) {
        self.tasks.spawn(task::dead_letter_malformed(self.context.clone(), delivery, malformed));
    }

    fn handle_events(&mut self, first: TaskEvent) {
        let mut next = Some(first);
        while let Some(event) = next {
            self.scheduler.handle_event(event);
            next = self.events.try_recv().ok();
        }
    }

    /// Removes the tasks that ended; returns whether one panicked.
    fn reap(&mut self, first: &Result<(), JoinError>) -> bool {
        let others = std::iter::from_fn(|| self.tasks.try_join_next()).any(|result| panicked(&result));
        others || panicked(first)
    }

    /// Requests a command for a probe if none in hand is a good one. That one may have to wait, too, so their number is
    /// limited.
    fn request_probe(&self) {
        // Where large bodies lower the prefetch, probes have no room of their own.
        let extra = if self.max_in_hand < self.prefetch.current() { 1 } else { PROBE_ROOM };
        let has_room = self.tasks.len() < self.max_in_hand + extra;
        let in_hand = if !has_room {
            ProbesInHand::Full
        } else if self.context.gate.state().is_closed_by(GateReason::Brake) {
            // Wrong commands arrive together: one further back in the queue is likelier to be a good one.
            ProbesInHand::Failed
        } else {
            self.scheduler.probes_in_hand()
        };
        self.context.api_health.request_probe(in_hand, self.context.monotonic());
    }
}

/// Probes at once when the credential changes while the old one keeps the gate closed. Never returns.
async fn probe_changed_credentials<P: Ports>(context: &PipelineContext<P>) {
    loop {
        context.gate.until(|gate| gate.is_closed_by(GateReason::Auth)).await;
        tokio::select! {
            () = context.ports.sender().credential_changed() => {
                context.api_health.probe_now(GateReason::Auth, context.monotonic());
                // The credential counts as changed until an attempt uses it, and another reason may keep the gate closed.
                tokio::time::sleep(CREDENTIAL_PROBE_INTERVAL).await;
            }
            () = context.gate.until(|gate| !gate.is_closed_by(GateReason::Auth)) => {}
        }
    }
}

/// Never returns without a time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn panicked(result: &Result<(), JoinError>) -> bool {
    result.as_ref().is_err_and(JoinError::is_panic)
}
