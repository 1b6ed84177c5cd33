//! The gate closes and opens.

use tracing::{error, info, warn};

use super::Event;
use crate::{gate::GateReason, telemetry::Telemetry};

/// What an operator does about a closed gate, for logs and `/readyz`.
#[must_use]
pub const fn remedy(reason: GateReason) -> &'static str {
    match reason {
        GateReason::Auth => "check the credential in the section api; the gate opens once the API accepts it",
        GateReason::Throttle => "nothing to do: the gate opens when the wait that the API asked for is over",
        GateReason::Breaker => "check that the API works and can be reached; the gate opens once it takes a command",
        GateReason::Brake => {
            "check api.base_url, api.path, api.descriptor_field and the last deploys on both sides; \
             the gate opens once the API takes a command"
        }
        GateReason::Blocked => {
            "check the broker's memory and disk alarms, full queues and the topology; \
             the gate opens once the broker stores what we publish"
        }
        GateReason::Journal => {
            "check the disk, its room and the rights of journal.dir, or that Redis answers; \
             the gate opens once the journal can be written"
        }
        GateReason::Operator => "run `edna-courier resume` when the work may go on",
        GateReason::Drain => "nothing to do: the daemon is shutting down",
    }
}

/// Somebody closed the gate, or found a new problem while it holds it closed.
#[derive(Clone, Copy, Debug)]
pub struct GateClosed<'a> {
    /// Why.
    pub reason: GateReason,
    /// What was seen; [`remedy`] is added.
    pub problem: &'a str,
}

impl Event for GateClosed<'_> {
    /// The gauge itself is read from the gate at each scrape, where holds of one reason add up.
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.health.set_gate_problem(self.reason, Some(self.problem));
        telemetry.moved();
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

/// Whoever had closed the gate for this reason let go of it; other reasons may still keep it closed.
#[derive(Clone, Copy, Debug)]
pub struct GateOpened {
    /// Which reason is over.
    pub reason: GateReason,
}

impl Event for GateOpened {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.health.set_gate_problem(self.reason, None);
        telemetry.moved();
    }

    fn log(&self) {
        let reason = self.reason.as_str();
        info!(reason, "the gate is no longer closed for this reason: {reason}");
    }
}
