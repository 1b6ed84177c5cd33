//! The contract's exchanges, queues and bindings as data.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::names::TopologyNames;
use crate::domain::{
    delayed::COMMAND_KEY,
    reason::Reason,
    returns::DELIVERY_LIMIT,
    tier::{Tier, Tiers},
};

/// High enough never to be reached, see [`inspected_by_operators`].
const OPERATOR_DELIVERY_LIMIT: i64 = 1_000_000;
/// The default events queue is a convenience; without a consumer it keeps the newest events.
const EVENTS_MAX_LENGTH: i64 = 100_000;

/// All objects of one prefix.
#[derive(Clone, Debug, Serialize)]
pub struct Topology {
    #[serde(skip)]
    pub(super) names: TopologyNames,
    #[serde(skip)]
    pub(super) tiers: Tiers,
    /// Each after its alternate exchange.
    pub exchanges: Vec<Exchange>,
    /// With their bindings.
    pub queues: Vec<Queue>,
}

/// A durable exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// Starts with the prefix.
    pub name: String,
    /// How it routes.
    #[serde(rename = "type")]
    pub exchange_type: ExchangeType,
    /// The alternate exchange, if it has one.
    pub arguments: DeclareArguments,
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExchangeType {
    /// By the whole routing key.
    Direct,
    /// To every bound queue.
    Fanout,
    /// By patterns of the routing key's words.
    Topic,
}

impl ExchangeType {
    /// The type's name in AMQP.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
        }
    }
}

/// A durable queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Starts with the prefix.
    pub name: String,
    /// As in `queue.declare`.
    pub arguments: DeclareArguments,
    /// The exchanges that route to it.
    pub bindings: Vec<Binding>,
}

/// A binding of the queue that contains it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// The source.
    pub exchange: String,
    /// The routing key; a pattern for a topic exchange, empty for a fanout exchange.
    pub key: String,
}

/// Optional arguments of a declaration, by their names in AMQP.
pub type DeclareArguments = BTreeMap<&'static str, ArgumentValue>;

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ArgumentValue {
    /// A name or keyword.
    Text(String),
    /// A count, or milliseconds.
    Number(i64),
}

impl From<&str> for ArgumentValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for ArgumentValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl Topology {
    /// The contract's objects; the events queue only if `default_events_queue`.
    #[must_use]
    pub fn new(names: &TopologyNames, tiers: &Tiers, default_events_queue: bool) -> Self {
        let mut queues = vec![commands_queue(names, names.commands(), COMMAND_KEY)];
        queues.extend(tiers.iter().map(|tier| retry_queue(names, tier)));
        queues.extend(default_events_queue.then(|| events_queue(names)));
        queues.extend([dead_queue(names), unroutable_queue(names)]);
        Self { names: names.clone(), tiers: tiers.clone(), exchanges: exchanges(names, tiers), queues }
    }
}

fn exchanges(names: &TopologyNames, tiers: &Tiers) -> Vec<Exchange> {
    let unroutable = names.unroutable();
    let with_alternate = |name, exchange_type| Exchange {
        name,
        exchange_type,
        arguments: [("alternate-exchange", (*unroutable).into())].into(),
    };
    let fanout = |name| Exchange { name, exchange_type: ExchangeType::Fanout, arguments: DeclareArguments::new() };
    let mut exchanges = vec![fanout(names.unroutable()), with_alternate(names.commands(), ExchangeType::Direct)];
    exchanges.extend(tiers.iter().map(|tier| fanout(names.retry(&tier.name))));
    exchanges.push(with_alternate(names.events(), ExchangeType::Topic));
    exchanges.push(with_alternate(names.dead(), ExchangeType::Direct));
    exchanges
}

/// The queue of all commands, or of one partition with its own key.
fn commands_queue(names: &TopologyNames, name: String, key: &str) -> Queue {
    let mut arguments = dead_lettering_to(&names.dead());
    arguments.insert("x-dead-letter-routing-key", Reason::Poison.as_str().into());
    arguments.insert("x-delivery-limit", ArgumentValue::Number(DELIVERY_LIMIT.into()));
    Queue { name, arguments, bindings: bindings(&names.commands(), [key]) }
}

/// Without a dead-letter routing key, so that a command returns with the key that it was published with.
fn retry_queue(names: &TopologyNames, tier: &Tier) -> Queue {
    let ttl_ms = i64::try_from(tier.length.as_millis()).unwrap_or(i64::MAX);
    let mut arguments = dead_lettering_to(&names.commands());
    arguments.insert("x-message-ttl", ArgumentValue::Number(ttl_ms));
    let name = names.retry(&tier.name);
    Queue { bindings: bindings(&name, [""]), name, arguments }
}

fn dead_queue(names: &TopologyNames) -> Queue {
    let mut arguments = inspected_by_operators();
    arguments.insert("x-overflow", "reject-publish".into());
    Queue { name: names.dead(), arguments, bindings: bindings(&names.dead(), Reason::ALL.map(Reason::as_str)) }
}

fn unroutable_queue(names: &TopologyNames) -> Queue {
    let name = names.unroutable();
    Queue { bindings: bindings(&name, [""]), name, arguments: inspected_by_operators() }
}

/// Operators read these messages and requeue them repeatedly. RabbitMQ 4 drops a message after 20 redeliveries by
/// default, and not every version accepts "unlimited".
fn inspected_by_operators() -> DeclareArguments {
    quorum([("x-delivery-limit", ArgumentValue::Number(OPERATOR_DELIVERY_LIMIT))])
}

fn events_queue(names: &TopologyNames) -> Queue {
    let max_length = ArgumentValue::Number(EVENTS_MAX_LENGTH);
    let arguments = quorum([("x-max-length", max_length), ("x-overflow", "drop-head".into())]);
    Queue { name: names.events(), arguments, bindings: bindings(&names.events(), ["#"]) }
}

/// RabbitMQ dead-letters at least once only together with `reject-publish`; with another overflow it silently falls
/// back to at most once.
fn dead_lettering_to(exchange: &str) -> DeclareArguments {
    quorum([
        ("x-dead-letter-exchange", exchange.into()),
        ("x-dead-letter-strategy", "at-least-once".into()),
        ("x-overflow", "reject-publish".into()),
    ])
}

fn quorum<const N: usize>(others: [(&'static str, ArgumentValue); N]) -> DeclareArguments {
    [("x-queue-type", "quorum".into())].into_iter().chain(others).collect()
}

fn bindings<'a>(exchange: &str, keys: impl IntoIterator<Item = &'a str>) -> Vec<Binding> {
    keys.into_iter().map(|key| Binding { exchange: exchange.to_owned(), key: key.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(default_events_queue: bool) -> Topology {
        Topology::new(&TopologyNames::new("p"), &Tiers::default(), default_events_queue)
    }

    fn arguments(queue: &Queue) -> String {
        let arguments: Vec<_> = queue.arguments.iter().map(|(key, value)| format!("{key}={value}")).collect();
        arguments.join(" ")
    }

    #[test]
    fn topology_exchanges_match_the_contract() {
        let text = |exchange: &Exchange| {
            let alternate = exchange.arguments.get("alternate-exchange").map(ToString::to_string);
            format!("{} {} {}", exchange.name, exchange.exchange_type.as_str(), alternate.unwrap_or_default())
        };
        let actual: Vec<_> = topology(true).exchanges.iter().map(text).collect();
        let expected = [
            "p.unroutable fanout ",
            "p.commands direct p.unroutable",
            "p.retry.5s fanout ",
            "p.retry.30s fanout ",
            "p.retry.2m fanout ",
            "p.retry.10m fanout ",
            "p.retry.1h fanout ",
            "p.events topic p.unroutable",
            "p.dead direct p.unroutable",
        ];
        assert_eq!(actual, expected);
    }

    #[test]
    fn topology_queues_match_the_contract() {
        let actual: BTreeMap<_, _> =
            topology(true).queues.iter().map(|queue| (queue.name.clone(), arguments(queue))).collect();
        let tier = |ttl_ms: u32| {
            format!(
                "x-dead-letter-exchange=p.commands x-dead-letter-strategy=at-least-once x-message-ttl={ttl_ms} \
                 x-overflow=reject-publish x-queue-type=quorum"
            )
        };
        let commands = "x-dead-letter-exchange=p.dead x-dead-letter-routing-key=poison \
                        x-dead-letter-strategy=at-least-once x-delivery-limit=20 x-overflow=reject-publish \
                        x-queue-type=quorum";
        let expected = [
            ("p.commands", commands.to_owned()),
            ("p.retry.5s", tier(5_000)),
            ("p.retry.30s", tier(30_000)),
            ("p.retry.2m", tier(120_000)),
            ("p.retry.10m", tier(600_000)),
            ("p.retry.1h", tier(3_600_000)),
            ("p.events", "x-max-length=100000 x-overflow=drop-head x-queue-type=quorum".to_owned()),
            ("p.dead", "x-delivery-limit=1000000 x-overflow=reject-publish x-queue-type=quorum".to_owned()),
            ("p.unroutable", "x-delivery-limit=1000000 x-queue-type=quorum".to_owned()),
        ];
        assert_eq!(actual, expected.map(|(name, arguments)| (name.to_owned(), arguments)).into());
    }

    #[test]
    fn topology_bindings_match_the_contract() {
        let topology = topology(true);
        let keys = topology.queues.iter().map(|queue| {
            assert!(queue.bindings.iter().all(|binding| binding.exchange == queue.name), "{queue:?}");
            queue.bindings.iter().map(|binding| binding.key.as_str()).collect::<Vec<_>>().join(" ")
        });
        let dead = "malformed rejected exhausted uncertain expired poison";
        assert_eq!(keys.collect::<Vec<_>>(), ["send", "", "", "", "", "", "#", dead, ""]);
    }

    #[test]
    fn topology_without_default_events_queue_keeps_exchange() {
        let topology = topology(false);
        assert!(topology.queues.iter().all(|queue| queue.name != "p.events"));
        assert!(topology.exchanges.iter().any(|exchange| exchange.name == "p.events"));
    }
}
