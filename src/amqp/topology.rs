//! The exchanges, queues and bindings of the contract, as data; and declaring, checking and removing them.

use lapin::{
    Channel, Connection, ExchangeKind,
    options::{
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{connect::timed, error::SessionError};
use crate::domain::reason::Reason;

/// What producers publish commands with.
pub const COMMAND_KEY: &str = "send";
/// The delay queues: name and length in milliseconds.
const TIERS: [(&str, i64); 5] = [("5s", 5_000), ("30s", 30_000), ("2m", 120_000), ("10m", 600_000), ("1h", 3_600_000)];
/// After so many returns the broker gives a command up to `<p>.dead`, key `poison`.
const DELIVERY_LIMIT: i64 = 20;
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

    fn retry(&self, tier: &str) -> String {
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
    pub fn new(names: &Names, default_events_queue: bool) -> Self {
        let mut queues = vec![commands_queue(names), dead_queue(names), unroutable_queue(names)];
        queues.extend(TIERS.map(|(tier, ttl_ms)| retry_queue(names, tier, ttl_ms)));
        if default_events_queue {
            queues.push(events_queue(names));
        }
        Self { exchanges: exchanges(names), queues }
    }

    /// Declares everything; what is there already with the same arguments is left as it is.
    ///
    /// # Errors
    /// The broker refuses (missing permission, other arguments) or does not answer.
    pub async fn declare(&self, channel: &Channel) -> Result<(), SessionError> {
        for exchange in &self.exchanges {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let (kind, arguments) = (exchange.kind.clone(), exchange.arguments.clone());
            timed("exchange.declare", channel.exchange_declare(short(&exchange.name), kind, options, arguments))
                .await?;
        }
        for queue in &self.queues {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let declaring = channel.queue_declare(short(&queue.name), options, queue.arguments.clone());
            timed("queue.declare", declaring).await?;
            for Binding { exchange, key } in &queue.bindings {
                let options = QueueBindOptions::default();
                let binding =
                    channel.queue_bind(short(&queue.name), short(exchange), short(key), options, FieldTable::default());
                timed("queue.bind", binding).await?;
            }
        }
        Ok(())
    }

    /// Checks that what the daemon itself reads and writes is there: the commands queue, the events and dead exchanges.
    ///
    /// # Errors
    /// [`SessionError::Missing`] with the first that is not; others when the broker does not answer. A user that may
    /// not even look (access refused) is no proof that something is missing and passes.
    pub async fn verify(names: &Names, connection: &Connection) -> Result<(), SessionError> {
        for exchange in [names.events(), names.dead()] {
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

    /// Deletes everything of this prefix, messages included; what is gone already is no error.
    ///
    /// # Errors
    /// The broker refuses or does not answer.
    pub async fn remove(&self, channel: &Channel) -> Result<(), SessionError> {
        for queue in &self.queues {
            let deleting = channel.queue_delete(short(&queue.name), QueueDeleteOptions::default());
            timed("queue.delete", deleting).await?;
        }
        for exchange in &self.exchanges {
            let deleting = channel.exchange_delete(short(&exchange.name), ExchangeDeleteOptions::default());
            timed("exchange.delete", deleting).await?;
        }
        Ok(())
    }
}

fn there<T>(what: &str, name: &str, answer: Result<T, SessionError>) -> Result<(), SessionError> {
    const NOT_FOUND: u16 = 404;
    const ACCESS_REFUSED: u16 = 403;
    let Err(SessionError::Broken(error)) = &answer else { return answer.map(|_| ()) };
    let lapin::ErrorKind::ProtocolError(refusal) = error.kind() else { return answer.map(|_| ()) };
    match refusal.get_id() {
        NOT_FOUND => Err(SessionError::Missing(format!("{what} {name}"))),
        ACCESS_REFUSED => Ok(()),
        _ => answer.map(|_| ()),
    }
}

fn exchanges(names: &Names) -> Vec<Exchange> {
    let unroutable = table([("alternate-exchange", text(&names.unroutable()))]);
    let caught = |name, kind| Exchange { name, kind, arguments: unroutable.clone() };
    let fanout = |name| Exchange { name, kind: ExchangeKind::Fanout, arguments: FieldTable::default() };
    let mut exchanges = vec![
        fanout(names.unroutable()),
        caught(names.commands(), ExchangeKind::Direct),
        caught(names.events(), ExchangeKind::Topic),
        caught(names.dead(), ExchangeKind::Direct),
    ];
    exchanges.extend(TIERS.map(|(tier, _)| fanout(names.retry(tier))));
    exchanges
}

fn commands_queue(names: &Names) -> Queue {
    let mut arguments = dead_lettering_to(&names.dead());
    insert(&mut arguments, "x-dead-letter-routing-key", text(Reason::Poison.as_str()));
    insert(&mut arguments, "x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT));
    bound(names.commands(), arguments, names.commands(), [COMMAND_KEY])
}

/// No dead-letter routing key: what comes back keeps the key that it came with.
fn retry_queue(names: &Names, tier: &str, ttl_ms: i64) -> Queue {
    let mut arguments = dead_lettering_to(&names.commands());
    insert(&mut arguments, "x-message-ttl", AMQPValue::LongLongInt(ttl_ms));
    bound(names.retry(tier), arguments, names.retry(tier), [""])
}

fn dead_queue(names: &Names) -> Queue {
    let arguments = table([("x-queue-type", text("quorum")), ("x-overflow", text("reject-publish"))]);
    bound(names.dead(), arguments, names.dead(), Reason::ALL.map(Reason::as_str))
}

fn unroutable_queue(names: &Names) -> Queue {
    bound(names.unroutable(), table([("x-queue-type", text("quorum"))]), names.unroutable(), [""])
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
fn short(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}
