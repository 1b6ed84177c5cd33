//! Events of the gate.

use tracing::{error, info, warn};

use super::event::TelemetryEvent;
use crate::{gate::GateReason, telemetry::state::TelemetryState};

/// What an operator does about a closed gate, for logs and `/readyz`.
#[must_use]
pub const fn remedy(reason: GateReason) -> &'static str {
    match reason {
        GateReason::Auth => "check the credential in section `api`; the gate opens when the API accepts it",
        GateReason::Throttle => "no action needed: the gate opens when the delay that the API requested ends",
        GateReason::Breaker => "check that the API is up and reachable; the gate opens when the API accepts a command",
        GateReason::Brake => {
            "check api.base_url, api.path, api.descriptor_field and the last deploys on both sides; \
             the gate opens when the API accepts a command, or with `edna-courier resume`"
        }
        GateReason::Blocked => {
            "check the broker's memory and disk alarms, full queues and the topology; \
             the gate opens when the broker confirms publishes"
        }
        GateReason::Journal => {
            "check the disk, its free space and the permissions of journal.dir, or that Redis is reachable; \
             the gate opens when the journal can be written"
        }
        GateReason::Operator => "run `edna-courier resume` to continue",
        GateReason::Drain => "the daemon finishes the commands in hand and exits",
    }
}

/// A reason closed the gate.
#[derive(Clone, Copy, Debug)]
pub struct GateClosed<'a> {
    /// Why.
    pub reason: GateReason,
    /// What was observed; [`remedy`] is appended.
    pub problem: &'a str,
}

impl TelemetryEvent for GateClosed<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.gate_closed(self.reason, Some(self.problem));
        state.health.record_progress();
    }

    fn log(&self) {
        let Self { reason, problem } = *self;
        let (why, remedy) = (reason.as_str(), remedy(reason));
        match reason {
            GateReason::Auth | GateReason::Breaker | GateReason::Brake | GateReason::Blocked | GateReason::Journal => {
                error!(reason = why, problem, "the gate is closed ({why}): {problem}; {remedy}");
            }
            GateReason::Throttle | GateReason::Operator => {
                warn!(reason = why, problem, "the gate is closed ({why}): {problem}; {remedy}");
            }
            GateReason::Drain => info!(reason = why, problem, "the gate is closed ({why}): {problem}; {remedy}"),
        }
    }
}

/// A reason no longer closes the gate; other reasons may still keep it closed.
#[derive(Clone, Copy, Debug)]
pub struct GateOpened {
    /// The reason that ended.
    pub reason: GateReason,
}

impl TelemetryEvent for GateOpened {
    fn count(&self, state: &TelemetryState) {
        state.health.gate_opened(self.reason);
        state.health.record_progress();
    }

    fn log(&self) {
        let reason = self.reason.as_str();
        info!(reason, "the gate is no longer closed by {reason}");
    }
}
