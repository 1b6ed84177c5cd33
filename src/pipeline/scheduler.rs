//! Decides which command may be attempted and which must wait in a tier, and grants it to the command's task.

use std::{mem, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    api_health::{ApiHealth, AttemptTurn, ProbePermit, ProbesInHand},
    command_in_hand::CommandInHand,
    context::PipelineContext,
    probe_choice::{ProbeCandidate, ProbeRank},
    schedule_handle::{AttemptPermit, ScheduleGrant, ScheduleHandle, TaskEvent},
    settings::Order,
};
use crate::{
    domain::{
        limit::ConcurrencyLimit,
        schedule::{Arrival, OrderCounters, Schedule, ScheduleDecision, Ticket},
    },
    ports::{DeliveryTag, Ports, Settler},
    telemetry::events::{OrderEvents, OrderSuspended, RateWaited},
};

/// A command in the schedule.
struct ScheduledCommand {
    tag: DeliveryTag,
    candidate: ProbeCandidate,
    /// Present while its task waits for a grant.
    grant: Option<oneshot::Sender<ScheduleGrant>>,
}

/// The schedule, the concurrency limit and the tasks that wait for a grant. One task owns it, so it needs no lock.
pub(super) struct CommandScheduler<P: Ports> {
    context: Arc<PipelineContext<P>>,
    schedule: Schedule,
    limit: ConcurrencyLimit,
    commands: FxHashMap<Ticket, ScheduledCommand>,
    /// The newest session that delivered a command.
    generation: u64,
    events: mpsc::UnboundedSender<TaskEvent>,
    /// The origin of the schedule's times.
    started: Instant,
    gate_was_open: bool,
    draining: bool,
    reported: OrderCounters,
    wake_at: Option<Instant>,
}

impl<P: Ports> CommandScheduler<P> {
    pub(super) fn new(context: Arc<PipelineContext<P>>, events: mpsc::UnboundedSender<TaskEvent>) -> Self {
        let settings = &context.settings;
        let schedule = Schedule::new(settings.schedule(), &settings.rates.borrow());
        Self {
            schedule,
            limit: settings.concurrency.limit(),
            commands: FxHashMap::default(),
            generation: 0,
            events,
            started: context.monotonic(),
            gate_was_open: true,
            draining: false,
            reported: OrderCounters::default(),
            wake_at: None,
            context,
        }
    }

    /// The time since the start.
    pub(super) fn now(&self) -> Duration {
        self.context.monotonic().saturating_duration_since(self.started)
    }

    /// When to dispatch again although nothing happened.
    pub(super) const fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Whether the gate was open at the last dispatch.
    pub(super) const fn gate_was_open(&self) -> bool {
        self.gate_was_open
    }

    /// The concurrency limit that adaptation aims at.
    pub(super) fn target_concurrency(&self) -> usize {
        self.limit.target()
    }

    /// The commands that wait for nothing but the target's rate and a permit, so that they could be a probe.
    pub(super) fn probes_in_hand(&self) -> ProbesInHand {
        let rank = probe_rank(&self.context.api_health, &self.commands, self.context.monotonic());
        match self.schedule.ready(self.now()).map(rank).min() {
            None => ProbesInHand::None,
            Some(Some(rank)) if rank.is_best() => ProbesInHand::Best,
            Some(_) => ProbesInHand::Failed,
        }
    }

    /// Whether the broker delivers commands: while it does not, delayed commands cannot return.
    pub(super) fn set_consuming(&mut self, consuming: bool) {
        self.schedule.set_consuming(consuming, self.now());
    }

    /// Follows the most deliveries that the session takes now.
    pub(super) fn set_max_in_hand(&mut self, max_in_hand: u16) {
        self.schedule.set_bounds(self.context.settings.hand_bounds(max_in_hand));
    }

    /// The commands in hand that wait for anything but a free slot or the target's rate.
    pub(super) fn waiting(&self) -> usize {
        self.schedule.waiting(self.now())
    }

    pub(super) fn update_rates(&mut self) {
        let (now, rates) = (self.now(), self.context.settings.rates.borrow().clone());
        self.schedule.set_rates(&rates, now);
    }

    /// Suspends the order while other daemons consume the queue: a delayed command may return to one of them.
    pub(super) fn update_shared(&mut self) {
        let (now, settings) = (self.now(), &self.context.settings);
        let is_shared = *settings.is_shared.borrow();
        self.schedule.set_shared(is_shared, now);
        if settings.order == Order::Device {
            let has_device_interval = !settings.rates.borrow().key_interval.is_zero();
            self.context.telemetry.record(OrderSuspended { is_suspended: is_shared, has_device_interval });
        }
    }

    /// Adds a command in queue order. One with a generated id has no order key: its delayed copy gets another id.
    pub(super) fn add(&mut self, in_hand: &CommandInHand, has_generated_id: bool) -> ScheduleHandle {
        let (now, tag) = (self.now(), in_hand.delivery.tag);
        let settings = &self.context.settings;
        let key = settings.order_key(&in_hand.command).filter(|_| !has_generated_id);
        let class = settings.rate_class(&in_hand.command);
        let ticket = self.schedule.insert(Arrival { key: key.as_deref(), id: in_hand.identity(), class }, now);
        let (handle, grant) = ScheduleHandle::new(ticket, self.events.clone());
        let candidate = in_hand.probe_candidate(settings.on_uncertain);
        self.commands.insert(ticket, ScheduledCommand { tag, candidate, grant: Some(grant) });
        handle
    }

    pub(super) fn handle_event(&mut self, event: TaskEvent) {
        let now = self.now();
        match event {
            TaskEvent::AttemptRequested(ticket, grant) => {
                self.schedule.request_attempt(ticket, now);
                // While draining, dropping the sender denies the request.
                if !self.draining {
                    self.await_grant(ticket, grant, now);
                }
            }
            TaskEvent::Resting(ticket, wait) => self.schedule.rest(ticket, now.saturating_add(wait), now),
            TaskEvent::DelayRequested(ticket, tier, grant) => {
                self.schedule.delay(ticket, tier, now);
                self.await_grant(ticket, grant, now);
            }
            TaskEvent::Delayed(ticket) => {
                self.commands.remove(&ticket);
                self.schedule.confirm_delayed(ticket, now);
            }
            TaskEvent::Finished(ticket) => {
                self.commands.remove(&ticket);
                self.schedule.remove(ticket, now);
            }
            TaskEvent::Requeued(ticket) => {
                self.commands.remove(&ticket);
                self.schedule.requeue(ticket, now);
            }
            TaskEvent::AttemptFinished(latency, sample) => self.limit.finish_attempt(now, latency, sample),
        }
    }

    /// Keeps the request until it can be granted. A command of a lost session is requeued at once.
    fn await_grant(&mut self, ticket: Ticket, grant: oneshot::Sender<ScheduleGrant>, now: Duration) {
        let Some(command) = self.commands.get_mut(&ticket) else { return };
        if self.context.ports.settler().is_current(command.tag) {
            command.grant = Some(grant);
        } else {
            self.schedule.requeue(ticket, now);
            drop(grant.send(ScheduleGrant::Requeue));
        }
    }

    /// Grants all that can be granted now, and sets the time of the next wake-up.
    pub(super) fn dispatch(&mut self) {
        let now = self.now();
        let is_open = !self.draining && self.context.gate.state().is_open();
        if is_open && !mem::replace(&mut self.gate_was_open, is_open) {
            // How much load the API bears now is unknown.
            self.limit.restart(now);
        }
        self.gate_was_open = is_open;
        while let Some(decision) = self.schedule.next_decision(now, is_open && self.limit.has_room()) {
            self.grant(decision, None);
        }
        let schedule = self.schedule.wake_at().map(|at| self.started + at);
        let probe = if is_open || self.draining { None } else { self.dispatch_probe() };
        self.wake_at = schedule.into_iter().chain(probe).min();
        self.report();
    }

    /// Grants a probe if one is due; returns when the next is.
    fn dispatch_probe(&mut self) -> Option<Instant> {
        match self.context.api_health.turn(self.context.monotonic()) {
            AttemptTurn::GateOpen => None,
            AttemptTurn::Wait(until) => until,
            AttemptTurn::Probe(probe) => {
                if let Some(decision) = self.next_probe() {
                    self.grant(decision, Some(probe));
                }
                None
            }
        }
    }

    fn next_probe(&mut self) -> Option<ScheduleDecision> {
        let now = self.now();
        let rank = probe_rank(&self.context.api_health, &self.commands, self.context.monotonic());
        self.schedule.next_probe(now, rank)
    }

    fn grant(&mut self, decision: ScheduleDecision, probe: Option<ProbePermit>) {
        let (ScheduleDecision::Attempt { ticket, .. } | ScheduleDecision::Delay { ticket, .. }) = decision;
        // A task whose deadline has just passed no longer waits; its handle frees the position.
        let Some(command) = self.commands.get_mut(&ticket) else { return };
        let (tag, Some(grant)) = (command.tag, command.grant.take()) else { return };
        let granted = match decision {
            // The broker redelivers the commands of a lost session: this copy must neither be posted nor delayed, and
            // its position is kept for the next delivery.
            _ if !self.context.ports.settler().is_current(tag) => {
                self.schedule.requeue(ticket, self.now());
                ScheduleGrant::Requeue
            }
            ScheduleDecision::Delay { tier, .. } => ScheduleGrant::Delay(tier),
            ScheduleDecision::Attempt { rate_wait, .. } => {
                self.limit.start_attempt(self.now());
                self.context.telemetry.record(RateWaited { wait: rate_wait });
                ScheduleGrant::Attempt(AttemptPermit::new(self.events.clone(), probe))
            }
        };
        // If the task is gone, dropping its handle has already freed the position.
        drop(grant.send(granted));
    }

    /// Requeues the commands of older sessions that wait for a grant, and keeps their positions.
    pub(super) fn session_started(&mut self, generation: u64) {
        if generation <= self.generation {
            return;
        }
        self.generation = generation;
        self.requeue_where(|tag| tag.generation < generation);
    }

    /// Requeues the commands of a lost session that wait for a grant. While the gate is closed, no delivery of a new session
    /// does that, and another daemon may receive them: what was not posted must be on record by then.
    pub(super) fn requeue_lost(&mut self) {
        let context = self.context.clone();
        self.requeue_where(|tag| !context.ports.settler().is_current(tag));
    }

    fn requeue_where(&mut self, is_stale: impl Fn(DeliveryTag) -> bool) {
        let now = self.now();
        let stale = self.commands.iter_mut().filter(|(_, command)| is_stale(command.tag));
        for (ticket, grant) in stale.filter_map(|(ticket, command)| Some((*ticket, command.grant.take()?))) {
            self.schedule.requeue(ticket, now);
            drop(grant.send(ScheduleGrant::Requeue));
        }
    }

    /// Requeues all commands that wait for a grant; no attempt starts from now on.
    pub(super) fn drain(&mut self) {
        self.set_consuming(false);
        self.draining = true;
        for grant in self.commands.values_mut().filter_map(|command| command.grant.take()) {
            drop(grant.send(ScheduleGrant::Requeue));
        }
    }

    fn report(&mut self) {
        self.context.telemetry.set_concurrency_limit(self.limit.current());
        let (before, now) = (self.reported, self.schedule.counters());
        if before != now {
            self.context.telemetry.record(OrderEvents { before, now });
            self.reported = now;
        }
    }
}

/// Ranks the commands of these tickets as probes.
fn probe_rank(
    api_health: &ApiHealth,
    commands: &FxHashMap<Ticket, ScheduledCommand>,
    now: Instant,
) -> impl Fn(Ticket) -> Option<ProbeRank> {
    move |ticket| Some(api_health.rank(commands.get(&ticket)?.candidate, ticket, now))
}
