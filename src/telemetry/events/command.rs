//! What happens to a command.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use tracing::{debug, info, trace, warn};

use super::{Event, millis};
use crate::{
    domain::{
        command::CommandId,
        evidence::Evidence,
        reason::{Outcome, Reason},
        schedule::OrderCounters,
        verdict::Verdict,
    },
    telemetry::Telemetry,
};

/// The daemon took a command from the queue.
#[derive(Clone, Copy, Debug)]
pub struct CommandReceived {
    /// The broker had handed it out before.
    pub redelivered: bool,
    /// The time in the queue, when the producer dated the message.
    pub waited: Option<Duration>,
}

impl Event for CommandReceived {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.commands.received(self.redelivered, self.waited);
        telemetry.moved();
    }

    fn log(&self) {
        let Self { redelivered, waited } = *self;
        debug!(redelivered, waited_ms = waited.map(millis), "took a command from the queue");
    }
}

/// An attempt ended. Never `Debug`: the evidence holds the API's answer.
#[derive(Clone, Copy)]
pub struct AttemptMade<'a> {
    /// Whose.
    pub command_id: &'a CommandId,
    /// What it proved.
    pub verdict: Verdict,
    /// What came back; only the status, or why there is none, is told.
    pub evidence: &'a Evidence,
    /// From the start of the request to the end of the answer.
    pub took: Duration,
}

impl Event for AttemptMade<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.api.attempt_made(self.verdict, self.evidence.status(), self.took);
        telemetry.moved();
    }

    /// An uncertain attempt is told even without `debug`: it is the one that may reach a customer twice.
    fn log(&self) {
        let (id, verdict, took_ms) = (self.command_id, self.verdict.as_str(), millis(self.took));
        let (command_id, status, answer) = (id.as_str(), self.evidence.status(), self.evidence);
        if self.verdict == Verdict::Uncertain {
            info!(command_id, verdict, status, took_ms, "command {id:?} may have reached the API or not: {answer}");
        } else {
            debug!(command_id, verdict, status, took_ms, "attempt for command {id:?}: {verdict} ({answer})");
        }
    }
}

/// The journal knows an attempt whose owner is gone: it may have reached the API.
#[derive(Clone, Copy, Debug)]
pub struct AttemptOrphaned<'a> {
    /// Whose.
    pub command_id: &'a CommandId,
}

impl Event for AttemptOrphaned<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.moved();
    }

    fn log(&self) {
        let (id, command_id) = (self.command_id, self.command_id.as_str());
        info!(
            command_id,
            "command {id:?} may have reached the API or not: the daemon that sent it was gone before the answer"
        );
    }
}

/// A command whose end the journal knows came again: the event was told again, and nothing was sent.
#[derive(Clone, Copy, Debug)]
pub struct CommandRepeated<'a> {
    /// Whose.
    pub command_id: &'a CommandId,
    /// How it had ended.
    pub outcome: Outcome,
}

impl Event for CommandRepeated<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.commands.repeated();
        telemetry.moved();
    }

    fn log(&self) {
        let (id, command_id, outcome) = (self.command_id, self.command_id.as_str(), self.outcome.as_str());
        debug!(command_id, outcome, "command {id:?} came again: it had {outcome}, and its event was told again");
    }
}

/// The API took a command, and its answer is not the documented one: the event tells no response.
#[derive(Clone, Copy, Debug)]
pub struct AnswerUnread<'a> {
    /// Whose.
    pub command_id: &'a CommandId,
}

impl Event for AnswerUnread<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.moved();
    }

    fn log(&self) {
        let command_id = self.command_id.as_str();
        warn!(
            command_id,
            "the API took command {command_id:?}, but its answer is not the documented JSON: \
             the event's response is null; check api.base_url and the API's version"
        );
    }
}

/// A command waits in a tier; its copy there is confirmed.
#[derive(Clone, Copy, Debug)]
pub struct CommandDelayed<'a> {
    /// Whose.
    pub command_id: &'a CommandId,
    /// In which tier.
    pub tier: &'a str,
    /// Where that stands among the tiers.
    pub place: usize,
    /// Attempts that counted so far.
    pub attempts: u32,
}

impl Event for CommandDelayed<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.commands.parked(self.place);
        telemetry.moved();
    }

    fn log(&self) {
        let (command, command_id) = (Named(Some(self.command_id)), self.command_id.as_str());
        let Self { tier, attempts, .. } = *self;
        debug!(command_id, tier, attempts, "{command} waits in the tier {tier} after {attempts} attempts");
    }
}

/// An attempt starts that had waited for a rate, or for nothing.
#[derive(Clone, Copy, Debug)]
pub struct RateWaited {
    /// How long nothing but rates held it back.
    pub wait: Duration,
}

impl Event for RateWaited {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.commands.rate_waited(self.wait);
    }

    fn log(&self) {
        if !self.wait.is_zero() {
            trace!(wait_ms = millis(self.wait), "an attempt waited for the rate limits");
        }
    }
}

/// Commands were sent to a tier for the order's sake, or their order was given up.
#[derive(Clone, Copy, Debug)]
pub struct OrderEvents {
    /// What had happened when it was looked at before.
    pub before: OrderCounters,
    /// What has happened so far.
    pub now: OrderCounters,
}

impl Event for OrderEvents {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.commands.lanes(self.before, self.now);
    }

    fn log(&self) {
        let (forgotten, given_up) =
            (self.now.forgotten - self.before.forgotten, self.now.given_up - self.before.given_up);
        if forgotten + given_up > 0 {
            warn!(
                forgotten,
                given_up,
                "the order of {} commands is given up: they did not come back from a tier in time, or too many are there",
                forgotten + given_up
            );
        }
    }
}

/// A command reached its end: its outcome is published and confirmed.
#[derive(Clone, Copy, Debug)]
pub struct CommandFinished<'a> {
    /// Whose; `None` when the message was malformed and no id could be read.
    pub command_id: Option<&'a CommandId>,
    /// Why it is a dead letter; `None` when it succeeded.
    pub reason: Option<Reason>,
    /// The dead letter's `courier-detail`: the field and its problem, or the API's status; no personal data.
    pub detail: Option<&'a str>,
    /// Attempts that counted.
    pub attempts: u32,
    /// From the first sight to the outcome.
    pub age: Duration,
    /// More than one request of it may have reached the API.
    pub possible_duplicate: bool,
}

impl Event for CommandFinished<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.commands.finished(self.reason, self.age, self.possible_duplicate);
        if self.reason.is_none() {
            telemetry.inner.health.succeeded(Timestamp::now());
        }
        telemetry.moved();
    }

    fn log(&self) {
        let Self { attempts, possible_duplicate, .. } = *self;
        let (command, age_ms) = (Named(self.command_id), millis(self.age));
        let command_id = self.command_id.map(CommandId::as_str);
        let outcome = self.reason.map_or(Outcome::Succeeded, Reason::outcome).as_str();
        let Some(reason) = self.reason.map(Reason::as_str) else {
            debug!(command_id, outcome, attempts, age_ms, possible_duplicate, "{command} succeeded");
            return;
        };
        let detail = self.detail.unwrap_or("no detail");
        warn!(
            command_id,
            outcome,
            reason,
            detail,
            attempts,
            age_ms,
            possible_duplicate,
            "{command} is a dead letter: {reason} ({detail})"
        );
    }
}

/// A command in a line: its id in quotes and escaped, so that it can't start a line of its own.
struct Named<'a>(Option<&'a CommandId>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "command {id:?}"),
            None => f.write_str("a message without a readable id"),
        }
    }
}
