//! Single requests to the broker. A refusal closes the channel, so the next request opens a new one.

use std::collections::BTreeMap;

use lapin::{
    BasicProperties, Channel, Connection, ErrorKind, ExchangeKind,
    options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::model::{ArgumentValue, Binding, Exchange, ExchangeType, Queue, Topology};
use crate::amqp::{error::SessionError, short_string::short_string, timeout::with_timeout};

const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;

/// An object that can be declared.
#[derive(Clone, Copy)]
pub(super) enum TopologyObject<'a> {
    Exchange(&'a Exchange),
    Queue(&'a Queue),
}

impl TopologyObject<'_> {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Exchange(_) => "exchange",
            Self::Queue(_) => "queue",
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Exchange(exchange) => &exchange.name,
            Self::Queue(queue) => &queue.name,
        }
    }
}

impl Topology {
    /// All objects, in the order in which they can be declared.
    pub(super) fn objects(&self) -> impl Iterator<Item = TopologyObject<'_>> {
        self.exchanges.iter().map(TopologyObject::Exchange).chain(self.queues.iter().map(TopologyObject::Queue))
    }
}

/// The broker's reply to a request, a refusal with its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::amqp) enum BrokerReply {
    Ok,
    NotFound(String),
    AccessRefused(String),
    /// The object exists and differs from the declaration, or is locked by another connection.
    Mismatch(String),
}

/// The broker's counts of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::amqp) struct QueueCounts {
    /// Messages that wait for a consumer.
    pub(in crate::amqp) ready: u32,
    /// A cancelled consumer, also one of a lost connection, is counted until its deliveries are settled or returned. Those
    /// that wait for the single active one to go are not.
    pub(in crate::amqp) consumers: u32,
}

impl From<&lapin::Queue> for QueueCounts {
    fn from(queue: &lapin::Queue) -> Self {
        Self { ready: queue.message_count(), consumers: queue.consumer_count() }
    }
}

impl QueueCounts {
    /// Whether the broker has counted: RabbitMQ reports zeros for a queue whose leader is being elected or does not answer.
    pub(in crate::amqp) const fn is_proven(self) -> bool {
        self.ready > 0 || self.consumers > 0
    }
}

/// Sends one request after the other.
pub(in crate::amqp) struct TopologyProbe<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
}

impl<'a> TopologyProbe<'a> {
    pub(in crate::amqp) const fn new(connection: &'a Connection) -> Self {
        Self { connection, channel: None }
    }

    /// Checks that an object of this kind and name exists; neither changes nor compares it.
    pub(super) async fn check_exists(&mut self, object: TopologyObject<'_>) -> Result<BrokerReply, SessionError> {
        self.request_declare(object, FieldTable::default(), true).await
    }

    /// Creates the object with these arguments, or compares it with the existing one.
    pub(super) async fn declare<K: AsRef<str>>(
        &mut self,
        object: TopologyObject<'_>,
        arguments: &BTreeMap<K, ArgumentValue>,
    ) -> Result<BrokerReply, SessionError> {
        self.request_declare(object, field_table(arguments), false).await
    }

    async fn request_declare(
        &mut self,
        object: TopologyObject<'_>,
        arguments: FieldTable,
        passive: bool,
    ) -> Result<BrokerReply, SessionError> {
        let channel = self.channel().await?;
        let name = short_string(object.name());
        let result = match object {
            TopologyObject::Exchange(Exchange { exchange_type, .. }) => {
                let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
                let kind = exchange_kind(*exchange_type);
                let declare = channel.exchange_declare(name, kind, options, arguments);
                with_timeout("exchange.declare", declare).await
            }
            TopologyObject::Queue(_) => {
                let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
                let declare = channel.queue_declare(name, options, arguments);
                with_timeout("queue.declare", declare).await.map(drop)
            }
        };
        self.reply(result)
    }

    /// Returns the broker's counts of a queue, or `None` if the user may not inspect it.
    ///
    /// # Errors
    /// [`SessionError::Missing`] if the queue does not exist, or the broker does not answer.
    pub(in crate::amqp) async fn queue_counts(&mut self, queue: &str) -> Result<Option<QueueCounts>, SessionError> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declare = channel.queue_declare(short_string(queue), options, FieldTable::default());
        let result = with_timeout("queue.declare", declare).await;
        let counts = result.as_ref().map(QueueCounts::from).ok();
        match self.reply(result.map(drop))? {
            BrokerReply::NotFound(_) => Err(SessionError::Missing(vec![format!("queue {queue}")])),
            BrokerReply::Ok | BrokerReply::AccessRefused(_) | BrokerReply::Mismatch(_) => Ok(counts),
        }
    }

    /// Resolves once the broker accepts publishes on this connection.
    ///
    /// RabbitMQ reports `connection.blocked` only after a publish, and then reads nothing more: publishes in a
    /// transaction and rolls it back, so that nothing is stored. A refused publish proves it, too.
    ///
    /// # Errors
    /// The connection broke.
    pub(in crate::amqp) async fn await_unblocked(&mut self, exchange: &str) -> Result<(), SessionError> {
        let channel = self.channel().await?;
        let publish = async {
            channel.tx_select().await?;
            let (exchange, key) = (short_string(exchange), ShortString::default());
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            channel.basic_publish(exchange, key, options, b"-", properties).await?;
            channel.tx_rollback().await
        };
        match publish.await {
            // A refusal closes the channel, possibly before the rollback is sent: then the error does not name it.
            Err(_) if self.connection.status().connected() => {
                self.channel = None;
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Binds a queue; an existing binding stays.
    pub(super) async fn bind(&mut self, queue: &str, binding: &Binding) -> Result<BrokerReply, SessionError> {
        let channel = self.channel().await?;
        let (queue, exchange, key) = (short_string(queue), short_string(&binding.exchange), short_string(&binding.key));
        let bind = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default());
        let result = with_timeout("queue.bind", bind).await;
        self.reply(result)
    }

    async fn channel(&mut self) -> Result<Channel, SessionError> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let channel = with_timeout("channel.open", self.connection.create_channel()).await?;
        Ok(self.channel.insert(channel).clone())
    }

    /// Turns a refusal into a reply; any error makes the channel unusable.
    fn reply(&mut self, result: Result<(), SessionError>) -> Result<BrokerReply, SessionError> {
        let Err(error) = result else { return Ok(BrokerReply::Ok) };
        self.channel = None;
        let refusal = if let SessionError::Lapin(error) = &error { channel_refusal(error) } else { None };
        refusal.ok_or(error)
    }
}

/// The broker's refusal of a single request, which closes the channel only; `None` for any other error.
pub(in crate::amqp) fn channel_refusal(error: &lapin::Error) -> Option<BrokerReply> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    let message = error.get_message().to_string();
    match error.get_id() {
        ACCESS_REFUSED => Some(BrokerReply::AccessRefused(message)),
        NOT_FOUND => Some(BrokerReply::NotFound(message)),
        RESOURCE_LOCKED | PRECONDITION_FAILED => Some(BrokerReply::Mismatch(message)),
        _ => None,
    }
}

const fn exchange_kind(exchange_type: ExchangeType) -> ExchangeKind {
    match exchange_type {
        ExchangeType::Direct => ExchangeKind::Direct,
        ExchangeType::Fanout => ExchangeKind::Fanout,
        ExchangeType::Topic => ExchangeKind::Topic,
    }
}

fn field_table<K: AsRef<str>>(arguments: &BTreeMap<K, ArgumentValue>) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        let value = match value {
            ArgumentValue::Text(text) => AMQPValue::LongString(text.as_str().into()),
            ArgumentValue::Number(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert(short_string(key.as_ref()), value);
    }
    table
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError};

    use super::*;

    fn refusal(kind: AMQPErrorKind) -> Option<BrokerReply> {
        channel_refusal(&lapin::Error::from(ErrorKind::ProtocolError(AMQPError::new(kind, "text".into()))))
    }

    #[test]
    fn channel_refusal_is_some_for_channel_errors_only() {
        let soft = |error| refusal(AMQPErrorKind::Soft(error));
        let text = || "text".to_owned();
        assert_eq!(soft(AMQPSoftError::ACCESSREFUSED), Some(BrokerReply::AccessRefused(text())));
        assert_eq!(soft(AMQPSoftError::NOTFOUND), Some(BrokerReply::NotFound(text())));
        assert_eq!(soft(AMQPSoftError::RESOURCELOCKED), Some(BrokerReply::Mismatch(text())));
        assert_eq!(soft(AMQPSoftError::PRECONDITIONFAILED), Some(BrokerReply::Mismatch(text())));
        assert_eq!(refusal(AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED)), None);
        assert_eq!(channel_refusal(&ErrorKind::ChannelsLimitReached.into()), None);
    }
}
