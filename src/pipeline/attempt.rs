//! Posts one command until there is an ending: the loop around the decision table.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::SemaphorePermit;

use super::{Pipeline, Shared, journey::Journey, trouble::Trouble};
use crate::{
    domain::{
        command::Command,
        event::{Ending, Failure, Response},
        evidence::Evidence,
        reason::Reason,
        request, retry,
        verdict::{self, Next, Verdict},
    },
    gate::{GateReason, GateState},
    ports::{Clock, Delivery, Ports, Random, Sender, Settler, Tag},
    telemetry::events::AttemptMade,
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
        let mut trouble = None;
        loop {
            let slot = shared.permission(delivery.tag, trouble.as_ref()).await?;
            if shared.has_passed(deadline, Duration::ZERO) {
                return Some(expired());
            }
            let (evidence, verdict) = shared.post(command, request.clone(), journey).await;
            let retry_after = evidence.retry_after();
            let next = verdict::next(verdict, retry_after, journey.attempts, shared.rules.max_attempts, on_uncertain);
            let (met, wait) = match next {
                Next::Succeed => return Some(succeeded(&evidence)),
                Next::Bury(reason) => return Some(buried(reason, &evidence, journey.attempts)),
                Next::Retry => (None, retry::wait_after(journey.attempts, shared.ports.random().dice())),
                Next::Throttle(asked) => shared.meet(trouble.take(), GateReason::Throttle, &evidence, asked),
                Next::Unauthorized => shared.meet(trouble.take(), GateReason::Auth, &evidence, None),
            };
            trouble = met;
            // Not before the gate is closed: whoever waits for the slot must find it so.
            drop(slot);
            if shared.has_passed(deadline, wait) {
                return Some(expired());
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

    /// Waits until an attempt may start: the gate is open and a slot is free, both at once. `None` when none may.
    async fn permission(&self, tag: Tag, trouble: Option<&Trouble>) -> Option<SemaphorePermit<'_>> {
        let passable = |state: &GateState| state.reasons().all(|reason| Some(reason) == trouble.map(Trouble::reason));
        loop {
            let gate_and_slot = async {
                self.gate.until(passable).await;
                self.slots.acquire().await.ok()
            };
            let slot = tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                slot = gate_and_slot => slot?,
            };
            // Both took time: the session may be gone (the broker hands the command out again, so this copy must not be
            // posted as well), the daemon may drain, or somebody may have closed the gate.
            if self.drain.is_cancelled() || !self.ports.settler().is_current(tag) {
                return None;
            }
            if passable(&self.gate.state()) {
                return Some(slot);
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

    /// Whether the deadline will have passed after this wait.
    fn has_passed(&self, deadline: Option<Timestamp>, wait: Duration) -> bool {
        let then = self.ports.clock().now().checked_add(wait);
        deadline.is_some_and(|deadline| then.is_ok_and(|then| then > deadline))
    }
}

fn succeeded(evidence: &Evidence) -> Ending {
    let body = match evidence {
        Evidence::Answer(answer) => answer.body.as_deref(),
        Evidence::NotSent(_) | Evidence::NoAnswer(_) => None,
    };
    Ending::Succeeded(body.and_then(Response::parse))
}

fn expired() -> Ending {
    let detail = "the deadline passed before an attempt could start".into();
    Ending::Failed(Failure { reason: Reason::Expired, http_status: None, detail })
}

fn buried(reason: Reason, evidence: &Evidence, attempts: u32) -> Ending {
    let detail = match reason {
        Reason::Exhausted => format!("{attempts} attempts, the last: {evidence}"),
        _ => evidence.to_string(),
    };
    Ending::Failed(Failure { reason, http_status: evidence.status(), detail: detail.into() })
}
