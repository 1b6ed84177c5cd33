//! The arguments that the guarantees rest on.

use super::{
    model::{ArgumentValue, DeclareArguments},
    names::TopologyNames,
    probe::TopologyObject,
};

/// Arguments that may change later: an operator tunes them by policies. Of the delivery limit only a lower value voids a
/// guarantee.
const ADJUSTABLE: [&str; 2] = ["x-delivery-limit", "x-max-length"];
/// Arguments that make a queue drop or move its messages. Where the table has none, any value voids a guarantee: a TTL on
/// the command queue, a routing key on a tier, which returns commands by their own key.
const QUEUE_GUARDED: [&str; 6] = [
    "x-message-ttl",
    "x-expires",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-overflow",
];
/// The same for the dead-letter queue. Nothing there expires or is dropped, so a dead-letter target does no harm.
const DEAD_GUARDED: [&str; 3] = ["x-message-ttl", "x-expires", "x-overflow"];
const EXCHANGE_GUARDED: [&str; 1] = ["alternate-exchange"];

/// Whether the exported definitions set this argument by a policy.
pub(super) fn is_adjustable(key: &str) -> bool {
    ADJUSTABLE.contains(&key)
}

/// The name of an argument in policies.
pub(super) fn policy_key(key: &str) -> &str {
    key.strip_prefix("x-").unwrap_or(key)
}

impl TopologyObject<'_> {
    pub(super) const fn arguments(&self) -> &DeclareArguments {
        match self {
            Self::Exchange(exchange) => &exchange.arguments,
            Self::Queue(queue) => &queue.arguments,
        }
    }

    /// The arguments whose values a guarantee rests on; see [`Self::expected`]. None for the queues of events and of
    /// unroutable messages: listeners bind queues of their own, and operators read the other.
    pub(super) fn guarded(&self, names: &TopologyNames) -> &'static [&'static str] {
        match self {
            Self::Exchange(_) => &EXCHANGE_GUARDED,
            Self::Queue(queue) if [names.events(), names.unroutable()].contains(&queue.name) => &[],
            Self::Queue(queue) if queue.name == names.dead() => &DEAD_GUARDED,
            Self::Queue(_) => &QUEUE_GUARDED,
        }
    }

    /// The value of an argument in the table.
    pub(super) fn expected(&self, key: &str) -> Option<&ArgumentValue> {
        self.arguments().get(key)
    }
}
