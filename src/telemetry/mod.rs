//! Log lines, metrics and the health state behind the probes.
//!
//! Components hold a [`Telemetry`] and record [`events`]. One event struct both logs and counts, so a log line and its
//! counter cannot drift apart. Telemetry only observes: it neither closes the gate nor feeds the schedule. No event has
//! a field for a text, an address, an attachment URL, a token or metadata.

mod broker_status;
pub mod events;
mod gauge_guard;
mod health;
pub mod logging;
mod metrics;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub use self::{
    broker_status::{BrokerStatus, ConnectionStatus, IsolationReason, Role, StuckTier, WatchedQueue},
    events::TelemetryEvent,
    gauge_guard::GaugeGuard,
    health::GateClosure,
    snapshot::Snapshot,
    state::TelemetryLimits,
};
use self::{
    events::{GateClosed, GateOpened, TierWatched},
    logging::LogGuard,
    state::TelemetryState,
};
use crate::{
    domain::{message::Target, tier::Tiers},
    gate::{GateObserver, GateReason},
};

const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A handle on the daemon's telemetry; clones share it. Instances are independent of each other.
#[derive(Clone, Debug)]
pub struct Telemetry {
    state: Arc<TelemetryState>,
}

impl Telemetry {
    /// Registers every metric and starts to measure the uptime.
    ///
    /// # Errors
    /// If two metrics share a name.
    pub fn new(limits: TelemetryLimits, tiers: &Tiers) -> Result<Self, prometheus::Error> {
        Ok(Self { state: Arc::new(TelemetryState::new(limits, tiers)?) })
    }

    /// Counts and logs an event.
    pub fn record(&self, event: impl TelemetryEvent) {
        event.count(&self.state);
        event.log();
    }

    /// Counts the log lines that are dropped from now on.
    pub fn observe_log(&self, log: &LogGuard) {
        log.count_dropped_in(self.state.metrics.log_lines_dropped.clone());
    }

    /// Counts a command in hand until the guard is dropped.
    pub fn in_hand(&self) -> GaugeGuard {
        GaugeGuard::new(&self.state.metrics.commands.in_hand)
    }

    /// Counts an attempt in flight until the guard is dropped.
    pub fn in_flight(&self) -> GaugeGuard {
        GaugeGuard::new(&self.state.metrics.api.in_flight)
    }

    /// Counts an unconfirmed publish until the guard is dropped.
    pub fn unconfirmed(&self) -> GaugeGuard {
        GaugeGuard::new(&self.state.metrics.broker.unconfirmed)
    }

    /// Counts a publish that the broker does not accept until the guard is dropped.
    pub fn blocked_publish(&self, target: &Target) -> Option<GaugeGuard> {
        self.state.metrics.broker.blocked_publishes.guard(target.index())
    }

    /// Records a count of the messages in a queue, as the broker reported it. For a tier, the count should include the
    /// messages that the broker is dead-lettering.
    pub fn observe_queue(&self, queue: WatchedQueue, messages: u64) {
        self.state.metrics.broker.set_queue_messages(queue, messages);
        let WatchedQueue::Tier(index) = queue else { return };
        if let Some(is_stuck) = self.state.health.observe_tier(index, messages) {
            let tier = &self.state.health.tier_name(index);
            self.record(TierWatched { tier, messages, is_stuck });
        }
    }

    /// Sets the current limit of concurrent attempts.
    pub fn set_concurrency_limit(&self, limit: usize) {
        self.state.metrics.api.concurrency_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    /// Records a heartbeat every second and never returns. Run it on the data plane's runtime: it proves that the event
    /// loop there runs.
    pub async fn heartbeat(self) {
        let mut ticks = tokio::time::interval(HEARTBEAT_INTERVAL);
        loop {
            ticks.tick().await;
            self.state.record_heartbeat();
        }
    }

    /// The daemon's state now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.state)
    }

    /// Every metric in the Prometheus text format 0.0.4.
    ///
    /// # Errors
    /// If a family cannot be encoded.
    pub fn scrape(&self) -> Result<String, prometheus::Error> {
        self.state.metrics.gather(&self.state.health)
    }
}

impl GateObserver for Telemetry {
    fn closed(&self, reason: GateReason, problem: Option<&str>) {
        match problem {
            // Reported again unchanged.
            Some(problem) if self.state.health.gate_problem(reason).as_deref() == Some(problem) => {}
            Some(problem) => self.record(GateClosed { reason, problem }),
            None => self.state.health.gate_closed(reason, None),
        }
    }

    fn opened(&self, reason: GateReason) {
        if self.state.health.gate_problem(reason).is_some() {
            self.record(GateOpened { reason });
        } else {
            self.state.health.gate_opened(reason);
        }
    }
}
