//! Events of attempts.

use std::time::Duration;

use tracing::{debug, info, trace, warn};

use super::event::{TelemetryEvent, millis};
use crate::{
    domain::{command::CommandId, event::UnreadReason, evidence::Evidence, verdict::Verdict},
    telemetry::state::TelemetryState,
};

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

/// The API accepted a command, but its response is not the documented one: the event's `response` is null.
#[derive(Clone, Copy, Debug)]
pub struct AnswerUnread<'a> {
    /// The command's id.
    pub command_id: &'a CommandId,
    /// Why the response was not read.
    pub why: UnreadReason,
}

impl TelemetryEvent for AnswerUnread<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.api.count_unread_answer(self.why);
        state.health.record_progress();
    }

    fn log(&self) {
        let (command_id, why) = (self.command_id.as_str(), self.why.as_str());
        let problem = match self.why {
            UnreadReason::Empty => "its response has no body",
            UnreadReason::NotJson => "its response is not JSON of at most 64 KiB",
            UnreadReason::NoIds => "its response has none of the documented fields",
        };
        warn!(
            command_id,
            why,
            problem,
            "the API accepted command {command_id:?}, but {problem}: the event's `response` is null; \
             check that api.base_url leads to the API and not to a login page or a proxy"
        );
    }
}
