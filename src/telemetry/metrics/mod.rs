//! Every family, in a registry of its own: no globals, so several instances live side by side in one process.

mod api;
mod broker;
mod commands;
mod family;
mod journal;

use prometheus::{Error, IntGauge, Registry, TextEncoder};

use self::{
    api::Api,
    broker::Broker,
    commands::Commands,
    family::{Children, Families},
    journal::Journal,
};
use super::health::Health;
use crate::{
    domain::tier::Tiers,
    gate::{GateReason, GateState},
};

/// All families; label values are closed sets, and all of them are there at zero from the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    gate_closed: Children<GateReason, IntGauge>,
    /// Counts commands.
    pub(crate) commands: Commands,
    /// Counts what the API does.
    pub(crate) api: Api,
    /// Counts what the broker does.
    pub(crate) broker: Broker,
    /// Measures the journal.
    pub(crate) journal: Journal,
}

impl Metrics {
    /// Registers everything; fails only when two families share a name.
    pub(crate) fn new(tiers: &Tiers) -> Result<Self, Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let families = Families(&registry);
        families
            .gauges(("build_info", "Which version runs; always 1."), ["version"], [((), [env!("CARGO_PKG_VERSION")])])?
            .set((), true);
        Ok(Self {
            gate_closed: families.gauges(
                ("gate_closed", "1 while this reason keeps the gate closed: no attempt starts."),
                ["reason"],
                GateReason::ALL.map(|reason| (reason, [reason.as_str()])),
            )?,
            commands: Commands::register(&families, tiers)?,
            api: Api::register(&families)?,
            broker: Broker::register(&families)?,
            journal: Journal::register(&families)?,
            registry,
        })
    }

    /// The families in the Prometheus text format 0.0.4; state that others own is read at this moment, so it can't go stale.
    pub(crate) fn gather(&self, gate: GateState, health: &Health) -> Result<String, Error> {
        for reason in GateReason::ALL {
            self.gate_closed.set(reason, gate.is_closed_by(reason));
        }
        self.commands.show(health);
        self.broker.show(health);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
