//! Every metric family, in a registry of its own: several instances fit in one process.

mod api;
mod broker;
mod command;
mod family;
mod journal;

use prometheus::{Error, IntCounter, IntGauge, Registry, TextEncoder};

use self::{
    api::ApiMetrics,
    broker::BrokerMetrics,
    command::CommandMetrics,
    family::{Children, Families},
    journal::JournalMetrics,
};
use super::health::Health;
use crate::{domain::tier::Tiers, gate::GateReason};

/// Every metric; label values are closed sets, present at zero from the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    gate_closed: Children<GateReason, IntGauge>,
    pub(crate) log_lines_dropped: IntCounter,
    pub(crate) commands: CommandMetrics,
    pub(crate) api: ApiMetrics,
    pub(crate) broker: BrokerMetrics,
    pub(crate) journal: JournalMetrics,
}

impl Metrics {
    /// Registers every family; fails only if two share a name.
    pub(crate) fn new(tiers: &Tiers) -> Result<Self, Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let families = Families(&registry);
        families
            .gauges(("build_info", "The running version; always 1."), ["version"], [((), [env!("CARGO_PKG_VERSION")])])?
            .set((), true);
        Ok(Self {
            gate_closed: families.gauges(
                ("gate_closed", "1 while this reason keeps the gate closed: no attempt starts."),
                ["reason"],
                GateReason::ALL.map(|reason| (reason, [reason.as_str()])),
            )?,
            log_lines_dropped: families.counter((
                "log_lines_dropped_total",
                "Log lines that were not written because standard error is closed or is not read.",
            ))?,
            commands: CommandMetrics::register(&families, tiers)?,
            api: ApiMetrics::register(&families)?,
            broker: BrokerMetrics::register(&families, tiers)?,
            journal: JournalMetrics::register(&families)?,
            registry,
        })
    }

    /// Every family in the Prometheus text format 0.0.4. Gauges of the health state are set here, at each scrape.
    pub(crate) fn gather(&self, health: &Health) -> Result<String, Error> {
        let closures = health.gate_closures();
        for reason in GateReason::ALL {
            self.gate_closed.set(reason, closures.iter().any(|closure| closure.reason == reason));
        }
        self.commands.set_gauges(health);
        self.broker.set_gauges(health);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
