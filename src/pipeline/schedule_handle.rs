//! A task's side of the schedule: it requests attempts and delays, and the dispatcher grants them.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::api_health::ProbePermit;
use crate::domain::{limit::Sample, schedule::Ticket};

/// What a task sends to the dispatcher.
pub(super) enum TaskEvent {
    /// Requests another attempt.
    AttemptRequested(Ticket, oneshot::Sender<ScheduleGrant>),
    /// Waits in process for this time before it requests another attempt.
    Resting(Ticket, Duration),
    /// Requests a delay in the tier of this index, for the command and those behind it in the order.
    DelayRequested(Ticket, usize, oneshot::Sender<ScheduleGrant>),
    /// The broker has stored the copy in the granted tier.
    Delayed(Ticket),
    /// The command leaves the schedule for good.
    Finished(Ticket),
    /// The session is lost, and the broker delivers the command again.
    Requeued(Ticket),
    /// An attempt ended after this latency.
    AttemptFinished(Duration, Sample),
}

/// What the dispatcher grants to a task.
pub(super) enum ScheduleGrant {
    /// One attempt.
    Attempt(AttemptPermit),
    /// A copy in the tier of this index.
    Delay(usize),
    /// Neither: the broker delivers the command again.
    Requeue,
}

/// Permits one attempt. Held until the gate reflects the attempt's result; dropping it frees the slot.
pub(super) struct AttemptPermit {
    events: mpsc::UnboundedSender<TaskEvent>,
    probe: Option<ProbePermit>,
    latency: Duration,
    sample: Sample,
}

impl AttemptPermit {
    pub(super) const fn new(events: mpsc::UnboundedSender<TaskEvent>, probe: Option<ProbePermit>) -> Self {
        Self { events, probe, latency: Duration::ZERO, sample: Sample::Neutral }
    }

    /// Whether the attempt probes a closed gate.
    pub(super) const fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Keeps for the concurrency limit what the attempt showed of the API's load.
    pub(super) const fn set_result(&mut self, latency: Duration, sample: Sample) {
        (self.latency, self.sample) = (latency, sample);
    }
}

impl Drop for AttemptPermit {
    fn drop(&mut self) {
        // Before the event: the dispatcher may grant the next probe as soon as it receives that.
        drop(self.probe.take());
        // Fails only when the dispatcher is gone, and with it the limit.
        let _ = self.events.send(TaskEvent::AttemptFinished(self.latency, self.sample));
    }
}

/// A command's position in the schedule. Dropping it gives the position up.
pub(super) struct ScheduleHandle {
    ticket: Ticket,
    events: mpsc::UnboundedSender<TaskEvent>,
    grant: oneshot::Receiver<ScheduleGrant>,
    /// The event that drop sends.
    last_event: fn(Ticket) -> TaskEvent,
}

impl ScheduleHandle {
    /// The handle waits for a first attempt; the dispatcher grants it by the sender.
    pub(super) fn new(
        ticket: Ticket,
        events: mpsc::UnboundedSender<TaskEvent>,
    ) -> (Self, oneshot::Sender<ScheduleGrant>) {
        let (sender, grant) = oneshot::channel();
        (Self { ticket, events, grant, last_event: TaskEvent::Finished }, sender)
    }

    /// Waits for the grant that was requested last.
    pub(super) async fn granted(&mut self) -> ScheduleGrant {
        (&mut self.grant).await.unwrap_or(ScheduleGrant::Requeue)
    }

    pub(super) fn request_attempt(&mut self) {
        let ticket = self.ticket;
        self.request(|grant| TaskEvent::AttemptRequested(ticket, grant));
    }

    /// Reports a wait in process.
    pub(super) fn rest(&self, wait: Duration) {
        let _ = self.events.send(TaskEvent::Resting(self.ticket, wait));
    }

    /// The grant may name another tier.
    pub(super) fn request_delay(&mut self, tier: usize) {
        let ticket = self.ticket;
        self.request(|grant| TaskEvent::DelayRequested(ticket, tier, grant));
    }

    /// Keeps the position until the copy in the tier returns.
    pub(super) fn delayed(mut self) {
        self.last_event = TaskEvent::Delayed;
    }

    /// Keeps the position until the broker delivers the command again.
    pub(super) fn requeued(mut self) {
        self.last_event = TaskEvent::Requeued;
    }

    fn request(&mut self, event: impl FnOnce(oneshot::Sender<ScheduleGrant>) -> TaskEvent) {
        let (sender, grant) = oneshot::channel();
        self.grant = grant;
        let _ = self.events.send(event(sender));
    }
}

impl Drop for ScheduleHandle {
    fn drop(&mut self) {
        let _ = self.events.send((self.last_event)(self.ticket));
    }
}
