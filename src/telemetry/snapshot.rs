//! The daemon's state at one moment, as plain data: probes are pure functions of it.

use std::time::Duration;

use jiff::Timestamp;

use super::{BrokerView, Inner, Limits, Telemetry};
use crate::gate::GateReason;

/// A reason that keeps the gate closed, and what whoever closed it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// Why the gate is closed.
    pub reason: GateReason,
    /// What was seen, when it was told.
    pub problem: Option<String>,
}

/// The state at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Since the start.
    pub uptime: Duration,
    /// Since the data plane's event loop last turned.
    pub since_beat: Duration,
    /// Since work last moved, or last had a reason to stand still.
    pub since_moved: Duration,
    /// What keeps the gate closed; empty while it is open.
    pub closed_by: Vec<Closure>,
    /// Links, consumer, topology.
    pub broker: BrokerView,
    /// The bounds.
    pub limits: Limits,
    /// Commands taken and not yet settled.
    pub in_hand: i64,
    /// Attempts under way.
    pub in_flight: i64,
    /// When the last command succeeded.
    pub last_success: Option<Timestamp>,
}

impl Telemetry {
    /// The state now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let Inner { metrics, health, gate, limits } = &*self.inner;
        let closure = |reason| Closure { reason, problem: health.gate_problem(reason) };
        Snapshot {
            uptime: health.uptime(),
            since_beat: health.since_beat(),
            since_moved: health.since_moved(),
            closed_by: gate.state().reasons().map(closure).collect(),
            broker: health.broker(),
            limits: *limits,
            in_hand: metrics.commands.in_hand.get(),
            in_flight: metrics.api.in_flight.get(),
            last_success: health.last_success(),
        }
    }
}
