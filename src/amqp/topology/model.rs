//! The contract's table as data.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::names::Names;
use crate::domain::{
    delayed::COMMAND_KEY,
    reason::Reason,
    tier::{Tier, Tiers},
};

/// After so many returns the broker gives a command up to `<p>.dead`, key `poison`.
const DELIVERY_LIMIT: i64 = 20;
/// See [`kept_for_people`].
const LOOKED_AT: i64 = 1_000_000;
/// The events queue is a convenience; without a reader it keeps the newest.
const EVENTS_KEPT: i64 = 100_000;

/// The whole of one prefix.
#[derive(Clone, Debug, Serialize)]
pub struct Topology {
    #[serde(skip)]
    pub(super) names: Names,
    #[serde(skip)]
    pub(super) tiers: Tiers,
    /// Each comes after its alternate exchange.
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
    pub kind: Kind,
    /// Its alternate exchange, if it has one.
    pub arguments: Arguments,
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// By the whole key.
    Direct,
    /// To every queue that is bound.
    Fanout,
    /// By patterns of the key's words.
    Topic,
}

impl Kind {
    /// The word on the wire.
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
    /// As `queue.declare` takes them.
    pub arguments: Arguments,
    /// Where its messages come from.
    pub bindings: Vec<Binding>,
}

/// From an exchange to the queue that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// The source.
    pub exchange: String,
    /// The routing key; a pattern for a topic exchange, empty for a fanout one.
    pub key: String,
}

/// By their names on the wire.
pub type Arguments = BTreeMap<&'static str, Argument>;

/// An argument's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Argument {
    /// A name or a word.
    Text(String),
    /// A count, or milliseconds.
    Number(i64),
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl Topology {
    /// The contract's table; the events queue only if `default_events_queue`.
    #[must_use]
    pub fn new(names: &Names, tiers: &Tiers, default_events_queue: bool) -> Self {
        let mut queues = vec![commands_queue(names, names.commands(), COMMAND_KEY)];
        queues.extend(tiers.iter().map(|tier| retry_queue(names, tier)));
        queues.extend(default_events_queue.then(|| events_queue(names)));
        queues.extend([dead_queue(names), unroutable_queue(names)]);
        Self { names: names.clone(), tiers: tiers.clone(), exchanges: exchanges(names, tiers), queues }
    }
}

fn exchanges(names: &Names, tiers: &Tiers) -> Vec<Exchange> {
    let unroutable = names.unroutable();
    let caught = |name, kind| Exchange { name, kind, arguments: [("alternate-exchange", (*unroutable).into())].into() };
    let fanout = |name| Exchange { name, kind: Kind::Fanout, arguments: Arguments::new() };
    let mut exchanges = vec![fanout(names.unroutable()), caught(names.commands(), Kind::Direct)];
    exchanges.extend(tiers.iter().map(|tier| fanout(names.retry(&tier.name))));
    exchanges.extend([caught(names.events(), Kind::Topic), caught(names.dead(), Kind::Direct)]);
    exchanges
}

/// Of all commands, or of a share of them that comes by a key of its own.
fn commands_queue(names: &Names, name: String, key: &str) -> Queue {
    let mut arguments = dead_lettering_to(&names.dead());
    arguments.insert("x-dead-letter-routing-key", Reason::Poison.as_str().into());
    arguments.insert("x-delivery-limit", Argument::Number(DELIVERY_LIMIT));
    Queue { name, arguments, bindings: bindings(&names.commands(), [key]) }
}

/// No dead-letter routing key: what comes back keeps the key that it came with.
fn retry_queue(names: &Names, tier: &Tier) -> Queue {
    let ttl_ms = i64::try_from(tier.length.as_millis()).unwrap_or(i64::MAX);
    let mut arguments = dead_lettering_to(&names.commands());
    arguments.insert("x-message-ttl", Argument::Number(ttl_ms));
    let name = names.retry(&tier.name);
    Queue { bindings: bindings(&name, [""]), name, arguments }
}

fn dead_queue(names: &Names) -> Queue {
    let mut arguments = kept_for_people();
    arguments.insert("x-overflow", "reject-publish".into());
    Queue { name: names.dead(), arguments, bindings: bindings(&names.dead(), Reason::ALL.map(Reason::as_str)) }
}

fn unroutable_queue(names: &Names) -> Queue {
    let name = names.unroutable();
    Queue { bindings: bindings(&name, [""]), name, arguments: kept_for_people() }
}

/// People look at these messages and put them back, again and again. Without a limit of its own a queue of RabbitMQ 4
/// drops a message at the 20th time; not every version takes "none", so it is a number that nobody reaches.
fn kept_for_people() -> Arguments {
    quorum([("x-delivery-limit", Argument::Number(LOOKED_AT))])
}

fn events_queue(names: &Names) -> Queue {
    let arguments = quorum([("x-max-length", Argument::Number(EVENTS_KEPT)), ("x-overflow", "drop-head".into())]);
    Queue { name: names.events(), arguments, bindings: bindings(&names.events(), ["#"]) }
}

/// At-least-once dead-lettering works only together with reject-publish; with anything else it falls back silently.
fn dead_lettering_to(exchange: &str) -> Arguments {
    quorum([
        ("x-dead-letter-exchange", exchange.into()),
        ("x-dead-letter-strategy", "at-least-once".into()),
        ("x-overflow", "reject-publish".into()),
    ])
}

fn quorum<const N: usize>(more: [(&'static str, Argument); N]) -> Arguments {
    [("x-queue-type", "quorum".into())].into_iter().chain(more).collect()
}

fn bindings<'a>(exchange: &str, keys: impl IntoIterator<Item = &'a str>) -> Vec<Binding> {
    keys.into_iter().map(|key| Binding { exchange: exchange.to_owned(), key: key.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(default_events_queue: bool) -> Topology {
        Topology::new(&Names::new("p"), &Tiers::default(), default_events_queue)
    }

    fn arguments(queue: &Queue) -> String {
        let told: Vec<_> = queue.arguments.iter().map(|(key, value)| format!("{key}={value}")).collect();
        told.join(" ")
    }

    #[test]
    fn exchanges_are_those_of_the_contract() {
        let told = |exchange: &Exchange| {
            let alternate = exchange.arguments.get("alternate-exchange").map(ToString::to_string);
            format!("{} {} {}", exchange.name, exchange.kind.as_str(), alternate.unwrap_or_default())
        };
        let told: Vec<_> = topology(true).exchanges.iter().map(told).collect();
        let wanted = [
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
        assert_eq!(told, wanted);
    }

    #[test]
    fn queues_are_those_of_the_contract() {
        let told: BTreeMap<_, _> =
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
        let wanted = [
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
        assert_eq!(told, wanted.map(|(name, arguments)| (name.to_owned(), arguments)).into());
    }

    #[test]
    fn bindings_are_those_of_the_contract() {
        let topology = topology(true);
        let keys = topology.queues.iter().map(|queue| {
            assert!(queue.bindings.iter().all(|binding| binding.exchange == queue.name), "{queue:?}");
            queue.bindings.iter().map(|binding| binding.key.as_str()).collect::<Vec<_>>().join(" ")
        });
        let dead = "malformed rejected exhausted uncertain expired poison";
        assert_eq!(keys.collect::<Vec<_>>(), ["send", "", "", "", "", "", "#", dead, ""]);
    }

    #[test]
    fn without_a_default_queue_nobody_keeps_the_events() {
        let topology = topology(false);
        assert!(topology.queues.iter().all(|queue| queue.name != "p.events"));
        assert!(topology.exchanges.iter().any(|exchange| exchange.name == "p.events"));
    }
}
