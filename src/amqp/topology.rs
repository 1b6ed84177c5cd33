//! The exchanges, queues and bindings of the contract, as data; and declaring, checking and removing them.

use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use tracing::warn;

use super::{connect::timed, error::SessionError};
use crate::domain::{
    parked::COMMAND_KEY,
    reason::Reason,
    tier::{Tier, Tiers},
};

/// After so many returns the broker gives a command up to `<p>.dead`, key `poison`.
const DELIVERY_LIMIT: i64 = 20;
/// See [`kept_for_people`].
const LOOKED_AT: i64 = 1_000_000;
/// The events queue is a convenience; without a reader it keeps the newest.
const EVENTS_KEPT: i64 = 100_000;

/// The names of one prefix.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// `prefix` as in `broker.prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Exchange and queue of the commands.
    #[must_use]
    pub fn commands(&self) -> String {
        format!("{}.commands", self.prefix)
    }

    /// Exchange and default queue of the events.
    #[must_use]
    pub fn events(&self) -> String {
        format!("{}.events", self.prefix)
    }

    /// Exchange and queue of the dead letters.
    #[must_use]
    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// Exchange and queue of what nobody is bound for.
    #[must_use]
    pub fn unroutable(&self) -> String {
        format!("{}.unroutable", self.prefix)
    }

    /// Every name of the contract's table; each is an exchange's and a queue's.
    #[must_use]
    pub fn all(&self, tiers: &Tiers) -> Vec<String> {
        let tiers = tiers.iter().map(|tier| self.retry(&tier.name));
        [self.commands(), self.events(), self.dead(), self.unroutable()].into_iter().chain(tiers).collect()
    }

    /// Exchange and queue of a tier.
    #[must_use]
    pub fn retry(&self, tier: &str) -> String {
        format!("{}.retry.{tier}", self.prefix)
    }
}

struct Exchange {
    name: String,
    kind: ExchangeKind,
    arguments: FieldTable,
}

struct Queue {
    name: String,
    arguments: FieldTable,
    bindings: Vec<Binding>,
}

struct Binding {
    exchange: String,
    key: String,
}

/// The whole of one prefix.
pub struct Topology {
    exchanges: Vec<Exchange>,
    queues: Vec<Queue>,
}

impl Topology {
    /// The contract's table; the events queue only if `default_events_queue`.
    #[must_use]
    pub fn new(names: &Names, tiers: &Tiers, default_events_queue: bool) -> Self {
        let mut queues = vec![commands_queue(names), dead_queue(names), unroutable_queue(names)];
        queues.extend(tiers.iter().map(|tier| retry_queue(names, tier)));
        if default_events_queue {
            queues.push(events_queue(names));
        }
        Self { exchanges: exchanges(names, tiers), queues }
    }

    /// Declares everything. What is there already is left as it is, also when it differs: its owner may have declared it
    /// with policies instead of arguments.
    ///
    /// # Errors
    /// The broker refuses for want of a permission, or does not answer.
    pub async fn declare(&self, connection: &Connection) -> Result<(), SessionError> {
        let mut channel = timed("channel.open", connection.create_channel()).await?;
        for exchange in &self.exchanges {
            if left_as_it_is(&exchange.name, exchange.declare(&channel).await)? {
                channel = timed("channel.open", connection.create_channel()).await?;
            }
        }
        for queue in &self.queues {
            if left_as_it_is(&queue.name, queue.declare(&channel).await)? {
                channel = timed("channel.open", connection.create_channel()).await?;
            }
            queue.bind(&channel).await?;
        }
        Ok(())
    }

    /// Checks that what the daemon itself reads and writes is there: the commands queue, the exchanges of events, dead
    /// letters and tiers.
    ///
    /// # Errors
    /// [`SessionError::Missing`] with the first that is not; others when the broker does not answer. A user that may
    /// not even look (access refused) is no proof that something is missing and passes.
    pub async fn verify(names: &Names, tiers: &Tiers, connection: &Connection) -> Result<(), SessionError> {
        let tiers = tiers.iter().map(|tier| names.retry(&tier.name));
        for exchange in [names.events(), names.dead()].into_iter().chain(tiers) {
            let channel = timed("channel.open", connection.create_channel()).await?;
            let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            let asking =
                channel.exchange_declare(short(&exchange), ExchangeKind::Topic, options, FieldTable::default());
            there("exchange", &exchange, timed("exchange.declare", asking).await)?;
        }
        let queue = names.commands();
        let channel = timed("channel.open", connection.create_channel()).await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asking = channel.queue_declare(short(&queue), options, FieldTable::default());
        there("queue", &queue, timed("queue.declare", asking).await)
    }
}

impl Exchange {
    async fn declare(&self, channel: &Channel) -> Result<(), SessionError> {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let (kind, arguments) = (self.kind.clone(), self.arguments.clone());
        timed("exchange.declare", channel.exchange_declare(short(&self.name), kind, options, arguments)).await
    }
}

impl Queue {
    async fn declare(&self, channel: &Channel) -> Result<(), SessionError> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declaring = channel.queue_declare(short(&self.name), options, self.arguments.clone());
        timed("queue.declare", declaring).await.map(|_| ())
    }

    async fn bind(&self, channel: &Channel) -> Result<(), SessionError> {
        for Binding { exchange, key } in &self.bindings {
            let (queue, options) = (short(&self.name), QueueBindOptions::default());
            let binding = channel.queue_bind(queue, short(exchange), short(key), options, FieldTable::default());
            timed("queue.bind", binding).await?;
        }
        Ok(())
    }
}

const ACCESS_REFUSED: u16 = 403;
/// Nothing of that name is there.
pub(super) const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// The broker's reply code, when it refused an operation; it has closed the channel then.
pub(super) fn refusal<T>(answer: &Result<T, SessionError>) -> Option<u16> {
    let Err(SessionError::Broken(error)) = answer else { return None };
    let lapin::ErrorKind::ProtocolError(refusal) = error.kind() else { return None };
    Some(refusal.get_id())
}

/// Whether it was there with other arguments; the channel is gone then.
fn left_as_it_is(name: &str, answer: Result<(), SessionError>) -> Result<bool, SessionError> {
    if refusal(&answer) == Some(PRECONDITION_FAILED) {
        warn!(name, "{name} is there already with other arguments than ours, and stays as it is");
        return Ok(true);
    }
    answer.map(|()| false)
}

fn there<T>(what: &str, name: &str, answer: Result<T, SessionError>) -> Result<(), SessionError> {
    match refusal(&answer) {
        Some(NOT_FOUND) => Err(SessionError::Missing(format!("{what} {name}"))),
        Some(ACCESS_REFUSED) => Ok(()),
        _ => answer.map(|_| ()),
    }
}

fn exchanges(names: &Names, tiers: &Tiers) -> Vec<Exchange> {
    let unroutable = table([("alternate-exchange", text(&names.unroutable()))]);
    let caught = |name, kind| Exchange { name, kind, arguments: unroutable.clone() };
    let fanout = |name| Exchange { name, kind: ExchangeKind::Fanout, arguments: FieldTable::default() };
    let mut exchanges = vec![
        fanout(names.unroutable()),
        caught(names.commands(), ExchangeKind::Direct),
        caught(names.events(), ExchangeKind::Topic),
        caught(names.dead(), ExchangeKind::Direct),
    ];
    exchanges.extend(tiers.iter().map(|tier| fanout(names.retry(&tier.name))));
    exchanges
}

fn commands_queue(names: &Names) -> Queue {
    let mut arguments = dead_lettering_to(&names.dead());
    insert(&mut arguments, "x-dead-letter-routing-key", text(Reason::Poison.as_str()));
    insert(&mut arguments, "x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT));
    bound(names.commands(), arguments, names.commands(), [COMMAND_KEY])
}

/// No dead-letter routing key: what comes back keeps the key that it came with.
fn retry_queue(names: &Names, tier: &Tier) -> Queue {
    let ttl_ms = i64::try_from(tier.length.as_millis()).unwrap_or(i64::MAX);
    let mut arguments = dead_lettering_to(&names.commands());
    insert(&mut arguments, "x-message-ttl", AMQPValue::LongLongInt(ttl_ms));
    bound(names.retry(&tier.name), arguments, names.retry(&tier.name), [""])
}

fn dead_queue(names: &Names) -> Queue {
    let mut arguments = kept_for_people();
    insert(&mut arguments, "x-overflow", text("reject-publish"));
    bound(names.dead(), arguments, names.dead(), Reason::ALL.map(Reason::as_str))
}

fn unroutable_queue(names: &Names) -> Queue {
    bound(names.unroutable(), kept_for_people(), names.unroutable(), [""])
}

/// People look at these messages and put them back, again and again. Without a limit of its own a queue of RabbitMQ 4
/// drops a message at the 20th time; not every version takes "none", so it is a number that nobody reaches.
fn kept_for_people() -> FieldTable {
    table([("x-queue-type", text("quorum")), ("x-delivery-limit", AMQPValue::LongLongInt(LOOKED_AT))])
}

fn events_queue(names: &Names) -> Queue {
    let arguments = table([
        ("x-queue-type", text("quorum")),
        ("x-max-length", AMQPValue::LongLongInt(EVENTS_KEPT)),
        ("x-overflow", text("drop-head")),
    ]);
    bound(names.events(), arguments, names.events(), ["#"])
}

/// At-least-once dead-lettering works only together with reject-publish; with anything else it falls back silently.
fn dead_lettering_to(exchange: &str) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-dead-letter-exchange", text(exchange)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ])
}

fn bound<'a>(name: String, arguments: FieldTable, to: String, keys: impl IntoIterator<Item = &'a str>) -> Queue {
    let bindings = keys.into_iter().map(|key| Binding { exchange: to.clone(), key: key.to_owned() }).collect();
    Queue { name, arguments, bindings }
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        insert(&mut table, key, value);
    }
    table
}

fn insert(table: &mut FieldTable, key: &str, value: AMQPValue) {
    table.insert(short(key), value);
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Names are a prefix of at most 64 bytes and a short word of ours.
pub(super) fn short(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}
