//! The settings of the consumer of the command queue.

use std::sync::{Arc, atomic::AtomicBool};

use super::{
    consumer_count::OnOtherConsumers,
    topology::{Topology, TopologyNames},
};
use crate::{domain::tier::Tiers, gate::Gate, telemetry::Telemetry};

/// How to consume.
pub struct Consumer {
    /// Names of the queue to consume and of the other objects that must exist.
    pub names: TopologyNames,
    /// Their exchanges must exist.
    pub tiers: Tiers,
    /// Declared before consuming; `None` only verifies that the topology exists.
    pub declare: Option<Topology>,
    /// Limit of unsettled deliveries, until the inbox sets another.
    pub prefetch: u16,
    /// Bound of the bodies of unsettled deliveries, in bytes: while bodies are large, fewer are in hand.
    pub max_bytes: u32,
    /// Set while the management API counts the messages of the queues: AMQP does not show those that the broker is
    /// dead-lettering.
    pub are_messages_counted: Arc<AtomicBool>,
    /// Called whenever the broker has reported the number of consumers.
    pub on_other_consumers: OnOtherConsumers,
    /// Deliveries are consumed only while it is open.
    pub gate: Gate,
    /// Records connections, subscriptions and the state of the topology.
    pub telemetry: Telemetry,
}
