//! Posts one command until there is an ending: the loop around the decision table.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::{sync::SemaphorePermit, time::Instant};

use super::{
    Pipeline, Shared,
    journey::Journey,
    keeper::{Probe, Shown, Turn},
};
use crate::{
    domain::{
        command::Command,
        event::{Ending, Failure, Response},
        evidence::Evidence,
        reason::Reason,
        request, retry,
        verdict::{self, Next, Verdict},
    },
    ports::{Clock, Delivery, Ports, Random, Sender, Settler, Tag},
    telemetry::events::{AnswerUnread, AttemptMade},
};

impl<P: Ports> Pipeline<P> {
    /// Attempts the command until it ends; `None` when it must be released instead, as the daemon shuts down or the
    /// session that brought it is gone.
    pub(super) async fn attempt(
        &self,
        delivery: &Delivery,
        command: &Command,
        journey: &mut Journey,
    ) -> Option<Ending> {
        let shared = &*self.shared;
        let request = Bytes::from(request::render(command, &shared.rules.descriptor_field));
        let deadline = shared.deadline(command, journey);
        let on_uncertain = command.on_uncertain.unwrap_or(shared.rules.on_uncertain);
        loop {
            let permission = tokio::select! {
                biased;
                // Not even the gate holds back the news that it is too late.
                () = shared.passes(deadline) => return Some(expired(journey)),
                permission = shared.permission(delivery.tag) => permission,
            };
            let (slot, probe) = permission?;
            let (evidence, verdict) = shared.post(command, request.clone(), journey).await;
            let (retry_after, problem) = (evidence.retry_after(), evidence.to_string());
            let now = shared.ports.clock().now();
            let shown = Shown { verdict, by_probe: probe.is_some(), retry_after, problem: &problem, now };
            let braked = shared.keeper.judge(shown);
            // Not before the gate is closed: whoever waits for the slot must find it so.
            drop((slot, probe));
            let wait = match verdict::next(verdict, journey.attempts, shared.rules.max_attempts, on_uncertain) {
                Next::Bury(Reason::Rejected) if braked => shared.uncounted(journey),
                Next::Succeed => return Some(shared.succeeded(command, &evidence)),
                Next::Bury(reason) => return Some(buried(reason, &evidence, journey.attempts)),
                Next::Retry => retry::wait_after(journey.attempts, shared.ports.random().dice()),
                Next::Wait => Duration::ZERO,
            };
            if shared.has_passed(deadline, wait) {
                return Some(expired(journey));
            }
            shared.wait(wait).await?;
        }
    }
}

impl<P: Ports> Shared<P> {
    /// Makes one attempt, whatever becomes of it in the journey's books.
    async fn post(&self, command: &Command, request: Bytes, journey: &mut Journey) -> (Evidence, Verdict) {
        let in_flight = self.telemetry.in_flight();
        journey.attempt_started(self.ports.clock().now());
        let (evidence, took) = self.ports.sender().send(request).await;
        drop(in_flight);
        let verdict = self.rules.statuses.judge(&evidence);
        journey.attempt_ended(verdict, took);
        self.telemetry.record(AttemptMade { command_id: &command.id, verdict, evidence: &evidence, took });
        (evidence, verdict)
    }

    /// A 2xx is delivered whatever its body says.
    fn succeeded(&self, command: &Command, evidence: &Evidence) -> Ending {
        let body = match evidence {
            Evidence::Answer(answer) => answer.body.as_deref(),
            Evidence::NotSent(_) | Evidence::NoAnswer(_) => None,
        };
        let response = body.and_then(Response::parse);
        if response.is_none() {
            self.telemetry.record(AnswerUnread { command_id: &command.id });
        }
        Ending::Succeeded(response)
    }

    /// While the brake is on, everything is rejected, and it is no fault of this command's: it waits with the others.
    fn uncounted(&self, journey: &mut Journey) -> Duration {
        journey.attempts = journey.attempts.saturating_sub(1);
        Duration::ZERO
    }

    /// Waits until an attempt may start: the gate is open, or it is this command's turn to try whether it could be; and
    /// a slot is free. `None` when none may start any more.
    async fn permission(&self, tag: Tag) -> Option<(SemaphorePermit<'_>, Option<Probe<'_>>)> {
        loop {
            let (mut gate, mut keeper) = (self.gate.subscribe(), self.keeper.changes());
            let probe = match self.keeper.turn() {
                Turn::Open => None,
                Turn::Probe(probe) => Some(probe),
                Turn::Wait(until) => {
                    tokio::select! {
                        biased;
                        () = self.drain.cancelled() => return None,
                        _ = gate.changed() => {}
                        _ = keeper.changed() => {}
                        () = at(until) => {}
                    }
                    continue;
                }
            };
            let slot = tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                slot = self.slots.acquire() => slot.ok()?,
            };
            // That took time: the session may be gone (the broker hands the command out again, so this copy must not be
            // posted as well), or somebody may have closed the gate.
            if !self.ports.settler().is_current(tag) {
                return None;
            }
            let is_probe = probe.is_some();
            if self.gate.state().reasons().all(|reason| is_probe && reason.is_probed()) {
                return Some((slot, probe));
            }
        }
    }

    /// Waits; `None` when the daemon shuts down meanwhile.
    async fn wait(&self, wait: Duration) -> Option<()> {
        tokio::select! {
            biased;
            () = self.drain.cancelled() => None,
            () = tokio::time::sleep(wait) => Some(()),
        }
    }

    /// No attempt starts after it: the command's own, else the default counted from when it was made.
    fn deadline(&self, command: &Command, journey: &Journey) -> Option<Timestamp> {
        let by_default = || journey.made_at.unwrap_or(journey.first_seen).checked_add(self.rules.default_ttl?).ok();
        command.expires_at.or_else(by_default)
    }

    /// Resolves when the deadline has passed.
    async fn passes(&self, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else { return std::future::pending().await };
        // Negative when it has passed already.
        if let Ok(left) = Duration::try_from(deadline.duration_since(self.ports.clock().now())) {
            tokio::time::sleep(left).await;
        }
    }

    /// Whether the deadline will have passed after this wait.
    fn has_passed(&self, deadline: Option<Timestamp>, wait: Duration) -> bool {
        let then = self.ports.clock().now().checked_add(wait);
        deadline.is_some_and(|deadline| then.is_ok_and(|then| then > deadline))
    }
}

fn expired(journey: &Journey) -> Ending {
    let detail = match journey.may_have_arrived() {
        true => "the deadline passed before another attempt could start; an earlier one may have reached the API",
        false => "the deadline passed before an attempt could start",
    };
    Ending::Failed(Failure { reason: Reason::Expired, http_status: None, detail: detail.into() })
}

fn buried(reason: Reason, evidence: &Evidence, attempts: u32) -> Ending {
    let detail = match reason {
        Reason::Exhausted => format!("{attempts} attempts, the last: {evidence}"),
        _ => evidence.to_string(),
    };
    Ending::Failed(Failure { reason, http_status: evidence.status(), detail: detail.into() })
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
