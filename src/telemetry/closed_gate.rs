//! Closing the gate so that it is told: a line when a reason closes it, a line when that reason is over.

use super::{
    Telemetry,
    events::{GateClosed, GateOpened},
};
use crate::gate::{GateHold, GateReason};

/// Holds the gate closed; dropped, it lets go and says so if the reason is over.
#[derive(Debug)]
#[must_use = "the gate opens again when this is dropped"]
pub struct ClosedGate {
    /// `None` only while being dropped.
    hold: Option<GateHold>,
    reason: GateReason,
    telemetry: Telemetry,
}

impl ClosedGate {
    /// What it is held for.
    #[must_use]
    pub const fn reason(&self) -> GateReason {
        self.reason
    }
}

impl Drop for ClosedGate {
    fn drop(&mut self) {
        drop(self.hold.take());
        // A drain has no end to tell of: the daemon is gone then.
        let told = self.reason != GateReason::Drain;
        if told && !self.telemetry.inner.gate.state().is_closed_by(self.reason) {
            self.telemetry.record(GateOpened { reason: self.reason });
        }
    }
}

impl Telemetry {
    /// Closes the gate. Of holds that add up for one reason, the first tells the problem and the last tells the end.
    pub fn close_gate(&self, reason: GateReason, problem: &str) -> ClosedGate {
        let first = !self.inner.gate.state().is_closed_by(reason);
        let hold = self.inner.gate.close(reason);
        if first {
            self.record(GateClosed { reason, problem });
        }
        self.closed_by(hold)
    }

    /// The same for a gate that is held already, though nothing was told of it.
    pub fn adopt_hold(&self, hold: GateHold, problem: &str) -> ClosedGate {
        self.record(GateClosed { reason: hold.reason(), problem });
        self.closed_by(hold)
    }

    fn closed_by(&self, hold: GateHold) -> ClosedGate {
        ClosedGate { reason: hold.reason(), hold: Some(hold), telemetry: self.clone() }
    }
}
