//! Events of a command's life.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use tracing::{debug, info, trace, warn};

use super::event::{TelemetryEvent, millis};
use crate::{
    domain::{
        command::CommandId,
        evidence::Evidence,
        reason::{Outcome, Reason},
        schedule::OrderCounters,
        verdict::Verdict,
    },
    telemetry::state::TelemetryState,
};

/// The broker delivered a command.
#[derive(Clone, Copy, Debug)]
pub struct CommandReceived {
    /// The broker delivered it before.
    pub redelivered: bool,
    /// Time in the queue; `None` if the message has no timestamp.
    pub waited: Option<Duration>,
}

impl TelemetryEvent for CommandReceived {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_received(self.redelivered, self.waited);
        state.health.record_progress();
    }

    fn log(&self) {
        let Self { redelivered, waited } = *self;
        debug!(redelivered, waited_ms = waited.map(millis), "command received");
    }
}

/// An attempt ended. Not `Debug`: the evidence holds the API's response body.
#[derive(Clone, Copy)]
pub struct AttemptMade<'a> {
    /// The command's id.
    pub command_id: &'a CommandId,
    /// What the attempt proved.
    pub verdict: Verdict,
    /// What came back; only the status, or why there is none, is logged.
    pub evidence: &'a Evidence,
    /// Time from the start of the request to the end of the response.
    pub took: Duration,
}

impl TelemetryEvent for AttemptMade<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.api.count_attempt(self.verdict, self.evidence.status(), self.took);
        state.health.record_progress();
    }

    /// An uncertain attempt is `info`: its message may reach a customer twice.
    fn log(&self) {
        let (id, verdict, took_ms) = (self.command_id, self.verdict.as_str(), millis(self.took));
        let (command_id, status, evidence) = (id.as_str(), self.evidence.status(), self.evidence);
        if self.verdict == Verdict::Uncertain {
            info!(command_id, verdict, status, took_ms, "command {id:?} may have reached the API: {evidence}");
        } else {
            debug!(command_id, verdict, status, took_ms, "attempt for command {id:?}: {verdict} ({evidence})");
        }
    }
}

/// The journal holds an unfinished attempt whose owner is gone: the request may have reached the API.
#[derive(Clone, Copy, Debug)]
pub struct AttemptOrphaned<'a> {
    /// The command's id.
    pub command_id: &'a CommandId,
}

impl TelemetryEvent for AttemptOrphaned<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.record_progress();
    }

    fn log(&self) {
        let (id, command_id) = (self.command_id, self.command_id.as_str());
        info!(command_id, "command {id:?} may have reached the API: its daemon stopped before the response");
    }
}

/// A finished command was delivered again: its event was published again, without a POST.
#[derive(Clone, Copy, Debug)]
pub struct CommandRepeated<'a> {
    /// The command's id.
    pub command_id: &'a CommandId,
    /// The recorded outcome.
    pub outcome: Outcome,
}

impl TelemetryEvent for CommandRepeated<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_repeat();
        state.health.record_progress();
    }

    fn log(&self) {
        let (id, command_id, outcome) = (self.command_id, self.command_id.as_str(), self.outcome.as_str());
        debug!(command_id, outcome, "command {id:?} was finished before ({outcome}): its event was published again");
    }
}

/// The API accepted a command, but its response is not the documented one: the event's `response` is null.
#[derive(Clone, Copy, Debug)]
pub struct AnswerUnread<'a> {
    /// The command's id.
    pub command_id: &'a CommandId,
}

impl TelemetryEvent for AnswerUnread<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.record_progress();
    }

    fn log(&self) {
        let command_id = self.command_id.as_str();
        warn!(
            command_id,
            "the API accepted command {command_id:?}, but its response is not the documented JSON: \
             the event's `response` is null; check api.base_url and the API's version"
        );
    }
}

/// A command was delayed: the broker confirmed its copy in a tier.
#[derive(Clone, Copy, Debug)]
pub struct CommandDelayed<'a> {
    /// The command's id.
    pub command_id: &'a CommandId,
    /// The tier's name.
    pub tier: &'a str,
    /// The tier's index among the configured tiers.
    pub tier_index: usize,
    /// Counted attempts so far.
    pub attempts: u32,
}

impl TelemetryEvent for CommandDelayed<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_delayed(self.tier_index);
        state.health.record_progress();
    }

    fn log(&self) {
        let Self { command_id: id, tier, attempts, .. } = *self;
        debug!(
            command_id = id.as_str(),
            tier, attempts, "command {id:?} delayed in tier {tier} after {attempts} attempts"
        );
    }
}

/// An attempt passed the rate limits.
#[derive(Clone, Copy, Debug)]
pub struct RateWaited {
    /// Time that only rate limits held the attempt back; may be zero.
    pub wait: Duration,
}

impl TelemetryEvent for RateWaited {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.observe_rate_wait(self.wait);
    }

    fn log(&self) {
        if !self.wait.is_zero() {
            let wait_ms = millis(self.wait);
            trace!(wait_ms, "an attempt waited {wait_ms} ms for rate limits");
        }
    }
}

/// Commands were delayed to keep the order, or their order was given up.
#[derive(Clone, Copy, Debug)]
pub struct OrderEvents {
    /// The counters at the last report.
    pub before: OrderCounters,
    /// The counters now.
    pub now: OrderCounters,
}

impl TelemetryEvent for OrderEvents {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_order_events(self.before, self.now);
    }

    fn log(&self) {
        let (before, now) = (self.before, self.now);
        let (forgotten, given_up) = (now.forgotten - before.forgotten, now.given_up - before.given_up);
        if forgotten + given_up > 0 {
            warn!(
                forgotten,
                given_up,
                "the order of commands is no longer guaranteed: {forgotten} did not return from their tier in time, \
                 {given_up} exceeded the number of delayed commands that are tracked"
            );
        }
    }
}

/// A command is finished: the broker confirmed its outcome.
#[derive(Clone, Copy, Debug)]
pub struct CommandFinished<'a> {
    /// The command's id; `None` if the message is malformed and no id could be read.
    pub command_id: Option<&'a CommandId>,
    /// The dead letter's reason; `None` if the command succeeded.
    pub reason: Option<Reason>,
    /// The dead letter's `courier-detail`: the field and its problem, or the API's status; no personal data.
    pub detail: Option<&'a str>,
    /// Counted attempts.
    pub attempts: u32,
    /// Time from the first delivery to the outcome.
    pub age: Duration,
    /// More than one of its requests may have reached the API.
    pub possible_duplicate: bool,
}

impl TelemetryEvent for CommandFinished<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.commands.count_finished(self.reason, self.age, self.possible_duplicate);
        if self.reason.is_none() {
            state.health.record_success(Timestamp::now());
        }
        state.health.record_progress();
    }

    fn log(&self) {
        let Self { attempts, possible_duplicate, .. } = *self;
        let (command, age_ms) = (CommandName(self.command_id), millis(self.age));
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
            "{command} was published as a dead letter: {reason} ({detail})"
        );
    }
}

/// A command in a log message. The id is quoted and escaped, so that it cannot start a line of its own.
struct CommandName<'a>(Option<&'a CommandId>);

impl fmt::Display for CommandName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "command {id:?}"),
            None => f.write_str("a message without a readable id"),
        }
    }
}
