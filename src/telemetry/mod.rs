//! What the daemon tells about itself: log lines, metrics and the state behind the probes.
//!
//! Everyone holds one [`Telemetry`] and records [`events`]; an event is a struct that both logs and counts, so that
//! a line and its number can't drift apart. Texts, addresses, attachment URLs, tokens and metadata have no place in any
//! event: there is no field for them.

mod closed_gate;
pub mod events;
mod health;
pub mod logging;
mod metrics;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use prometheus::IntGauge;

pub use self::{
    closed_gate::ClosedGate,
    events::Event,
    health::{BrokerView, Link, Role},
    snapshot::{Closure, Snapshot},
};
use self::{health::Health, metrics::Metrics};
use crate::{domain::tier::Tiers, gate::Gate};

/// How often the data plane stamps its heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The bounds that the daemon works within, shown by `/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    /// How many attempts may be under way at once.
    pub max_in_flight: u32,
    /// How many commands the broker hands out before we settle one.
    pub prefetch: u16,
}

/// The one handle; clones share it. Several of them live side by side in one process.
#[derive(Clone, Debug)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    metrics: Metrics,
    health: Health,
    gate: Gate,
    limits: Limits,
}

impl Telemetry {
    /// Registers every metric and starts the clock of the uptime.
    ///
    /// # Errors
    /// When two metrics share a name: a mistake in this module that its tests find.
    pub fn new(gate: Gate, limits: Limits, tiers: &Tiers) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(tiers)?;
        metrics.api.concurrency_limit.set(i64::from(limits.max_in_flight));
        let health = Health::new();
        Ok(Self { inner: Arc::new(Inner { metrics, health, gate, limits }) })
    }

    /// Counts and logs what happened.
    pub fn record(&self, event: impl Event) {
        event.count(self);
        event.log();
    }

    /// One more command is in hand, until the guard is dropped.
    #[must_use = "the command is in hand until the guard is dropped"]
    pub fn in_hand(&self) -> Counted {
        Counted::new(&self.inner.metrics.commands.in_hand)
    }

    /// One more attempt is under way, until the guard is dropped.
    #[must_use = "the attempt is under way until the guard is dropped"]
    pub fn in_flight(&self) -> Counted {
        Counted::new(&self.inner.metrics.api.in_flight)
    }

    /// One more publish awaits its confirm, until the guard is dropped.
    #[must_use = "the confirm is awaited until the guard is dropped"]
    pub fn unconfirmed(&self) -> Counted {
        Counted::new(&self.inner.metrics.broker.unconfirmed)
    }

    /// How many attempts may be under way now.
    pub fn set_concurrency_limit(&self, limit: usize) {
        self.inner.metrics.api.concurrency_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    /// Stamps the heartbeat once a second, for ever: spawn it on the data plane's runtime, whose turning it proves.
    pub async fn heartbeat(self) {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        loop {
            ticks.tick().await;
            self.beat();
        }
    }

    /// A beat also excuses work that stands still for a reason outside of us: without that, a probe would restart the
    /// daemon for an outage of the broker or the API, and restarting mends neither.
    fn beat(&self) {
        let Inner { metrics, health, gate, .. } = &*self.inner;
        health.beat();
        let idle = metrics.commands.in_hand.get() == 0;
        if idle || !gate.state().is_open() || !health.broker().is_connected() {
            health.moved();
        }
    }

    fn moved(&self) {
        self.inner.health.moved();
    }

    /// Every metric in the Prometheus text format 0.0.4.
    ///
    /// # Errors
    /// When a family can't be encoded.
    pub fn scrape(&self) -> Result<String, prometheus::Error> {
        self.inner.metrics.gather(self.inner.gate.state(), &self.inner.health)
    }
}

/// Counts one in a gauge for as long as it lives, so that no way out can forget to count it down.
#[derive(Debug)]
pub struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
