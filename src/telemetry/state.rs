//! The state that events update: metrics, health and the configured limits.

use super::{health::Health, metrics::Metrics};
use crate::domain::tier::Tiers;

/// The limits that the daemon runs with, shown by `/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TelemetryLimits {
    /// Maximum number of concurrent attempts.
    pub max_in_flight: u32,
    /// Maximum number of unacknowledged deliveries.
    pub prefetch: u16,
}

/// The state behind every handle of [`super::Telemetry`].
#[derive(Debug)]
pub struct TelemetryState {
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) limits: TelemetryLimits,
}

impl TelemetryState {
    pub(super) fn new(limits: TelemetryLimits, tiers: &Tiers) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(tiers)?;
        metrics.api.concurrency_limit.set(i64::from(limits.max_in_flight));
        Ok(Self { metrics, health: Health::new(tiers), limits })
    }

    /// A heartbeat also counts as progress while commands wait for an external cause: otherwise the liveness probe
    /// would restart the daemon for an outage of the broker or the API, which a restart does not mend.
    pub(super) fn record_heartbeat(&self) {
        self.health.record_heartbeat();
        let is_idle = self.metrics.commands.in_hand.get() == 0;
        if is_idle || !self.health.is_gate_open() || !self.health.broker().is_connected() {
            self.health.record_progress();
        }
    }
}
