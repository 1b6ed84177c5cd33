//! Posts one command until there is an ending: the loop around the decision table.

use std::{convert::Infallible, time::Duration};

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
        request,
        retry::{self, Delay},
        tier::Tier,
        verdict::{self, Next, Verdict},
    },
    ports::{Clock, Delivery, Ports, Random, Sender, Settler, Tag},
    telemetry::events::{AnswerUnread, AttemptMade},
};

/// Early by so little is waited for in memory, however short the tiers are.
const MOMENT: Duration = Duration::from_secs(1);
/// A command is held in memory no longer than this; the broker would ask for it back.
const HELD_AT_MOST: Duration = Duration::from_secs(300);

/// How the work on a command ends.
pub(super) enum End {
    /// There is an outcome to tell.
    Told(Ending),
    /// It waits in a tier.
    Parked(Parking),
    /// Nothing is acknowledged: the daemon shuts down, or the session that brought it is gone.
    Released,
}

/// Where and how long.
pub(super) struct Parking {
    pub(super) tier: Tier,
    /// Longer than the tier.
    pub(super) not_before: Option<Timestamp>,
}

impl<P: Ports> Pipeline<P> {
    /// Works on a command until there is an end.
    pub(super) async fn attempt(&self, delivery: &Delivery, command: &Command, journey: &mut Journey) -> End {
        match self.shared.attempt(delivery, command, journey).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }
}

impl<P: Ports> Shared<P> {
    /// Comes back only with an end.
    async fn attempt(&self, delivery: &Delivery, command: &Command, journey: &mut Journey) -> Result<Infallible, End> {
        let request = Bytes::from(request::render(command, &self.rules.descriptor_field));
        let deadline = self.deadline(command, journey);
        let on_uncertain = command.on_uncertain.unwrap_or(self.rules.on_uncertain);
        self.wait_until_due(journey, deadline).await?;
        loop {
            let (slot, probe) = self.permission_in_time(delivery.tag, journey, deadline).await?;
            let (evidence, verdict) = self.post(command, request.clone(), journey).await;
            let (retry_after, problem) = (evidence.retry_after(), evidence.to_string());
            let now = self.ports.clock().now();
            let shown = Shown { verdict, by_probe: probe.is_some(), retry_after, problem: &problem, now };
            let braked = self.keeper.judge(shown);
            // Not before the gate is closed: whoever waits for the slot must find it so.
            drop((slot, probe));
            match verdict::next(verdict, journey.attempts, self.rules.max_attempts, on_uncertain) {
                Next::Bury(Reason::Rejected) if braked => journey.uncount(),
                Next::Succeed => return Err(End::Told(self.succeeded(command, &evidence))),
                Next::Bury(reason) => return Err(End::Told(buried(reason, &evidence, journey.attempts))),
                Next::Retry => self.delay(journey, deadline).await?,
                Next::Wait => {}
            }
        }
    }

    /// What came back from a tier too early waits on: for a moment here, for longer in a tier again; uncounted.
    async fn wait_until_due(&self, journey: &Journey, deadline: Option<Timestamp>) -> Result<(), End> {
        let Some(not_before) = journey.not_before else { return Ok(()) };
        let early = Duration::try_from(not_before.duration_since(self.ports.clock().now())).unwrap_or_default();
        let shortest = self.rules.tiers.shortest().length;
        if early > shortest.max(MOMENT) {
            let tier = self.rules.tiers.within(early).clone();
            return Err(self.park(journey, deadline, tier, Some(not_before)));
        }
        self.wait(early).await
    }

    /// The delay before the next attempt: in memory, or in a tier.
    async fn delay(&self, journey: &Journey, deadline: Option<Timestamp>) -> Result<(), End> {
        match retry::delay_after(journey.attempts, self.ports.random().dice()) {
            Delay::InProcess(wait) if self.has_passed(deadline, wait) => Err(End::Told(expired(journey))),
            Delay::InProcess(wait) => self.wait(wait).await,
            Delay::InTier(turn) => Err(self.park(journey, deadline, self.rules.tiers.in_turn(turn).clone(), None)),
        }
    }

    /// A command whose deadline is nearer than the tier's end is not sent there to expire.
    fn park(&self, journey: &Journey, deadline: Option<Timestamp>, tier: Tier, not_before: Option<Timestamp>) -> End {
        if self.has_passed(deadline, tier.length) {
            return End::Told(expired(journey));
        }
        End::Parked(Parking { tier, not_before })
    }

    /// [`Self::permission`], unless it comes too late.
    async fn permission_in_time(
        &self,
        tag: Tag,
        journey: &Journey,
        deadline: Option<Timestamp>,
    ) -> Result<(SemaphorePermit<'_>, Option<Probe<'_>>), End> {
        tokio::select! {
            biased;
            // Not even the gate holds back the news that it is too late.
            () = self.passes(deadline) => Err(End::Told(expired(journey))),
            permission = self.permission(tag) => permission.ok_or(End::Released),
            // The queue is the better place to wait for long.
            () = tokio::time::sleep_until(journey.received + HELD_AT_MOST) => {
                Err(self.park(journey, None, self.rules.tiers.shortest().clone(), None))
            }
        }
    }

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

    /// Waits, unless the daemon shuts down meanwhile.
    async fn wait(&self, wait: Duration) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(End::Released),
            () = tokio::time::sleep(wait) => Ok(()),
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
