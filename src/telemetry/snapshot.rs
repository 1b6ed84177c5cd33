//! The daemon's state at one moment as plain data: the probes are pure functions of it.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    broker_status::{BrokerStatus, StuckTier},
    health::GateClosure,
    state::{TelemetryLimits, TelemetryState},
};

/// The daemon's state at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Time since the start.
    pub uptime: Duration,
    /// Time since the last heartbeat of the data plane's event loop.
    pub since_heartbeat: Duration,
    /// Time since a command last progressed, or last waited for an external cause.
    pub since_progress: Duration,
    /// The reasons that keep the gate closed; empty while it is open.
    pub closed_by: Vec<GateClosure>,
    /// Connections, consumer and topology.
    pub broker: BrokerStatus,
    /// Why the journal is in doubt; `None` while it is complete, as far as is known.
    pub journal_doubt: Option<String>,
    /// The delay queues that do not return their messages.
    pub stuck_tiers: Vec<StuckTier>,
    /// The configured limits.
    pub limits: TelemetryLimits,
    /// Commands received and not yet settled.
    pub in_hand: i64,
    /// Attempts in flight.
    pub in_flight: i64,
    /// When a command last succeeded.
    pub last_success: Option<Timestamp>,
}

impl Snapshot {
    pub(super) fn of(state: &TelemetryState) -> Self {
        let TelemetryState { metrics, health, limits } = state;
        Self {
            uptime: health.uptime(),
            since_heartbeat: health.since_heartbeat(),
            since_progress: health.since_progress(),
            closed_by: health.gate_closures(),
            broker: health.broker(),
            journal_doubt: health.journal_doubt(),
            stuck_tiers: health.stuck_tiers().into_iter().flatten().collect(),
            limits: *limits,
            in_hand: metrics.commands.in_hand.get(),
            in_flight: metrics.api.in_flight.get(),
            last_success: health.last_success(),
        }
    }
}
