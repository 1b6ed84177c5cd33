//! Single questions to the broker. A refusal closes the channel, so the next question takes a new one.

use lapin::{
    BasicProperties, Channel, Connection, ErrorKind, ExchangeKind,
    options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::model::{Argument, Arguments, Binding, Exchange, Kind, Queue, Topology};
use crate::amqp::{connect::timed, error::SessionError};

const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;

/// What can be asked for by its name.
#[derive(Clone, Copy)]
pub(super) enum Object<'a> {
    Exchange(&'a Exchange),
    Queue(&'a Queue),
}

impl Object<'_> {
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
    /// In the order in which they can be declared.
    pub(super) fn objects(&self) -> impl Iterator<Item = Object<'_>> {
        self.exchanges.iter().map(Object::Exchange).chain(self.queues.iter().map(Object::Queue))
    }
}

/// The broker's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::amqp) enum Answer {
    Yes,
    /// It is not there.
    NotFound(String),
    /// This user may not.
    AccessRefused(String),
    /// It is there, and not as it was declared.
    Mismatch(String),
}

/// Asks one thing after the other.
pub(in crate::amqp) struct Asker<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
}

impl<'a> Asker<'a> {
    pub(in crate::amqp) const fn new(connection: &'a Connection) -> Self {
        Self { connection, channel: None }
    }

    /// Whether there is something of this name; changes nothing and compares nothing.
    pub(super) async fn is_there(&mut self, object: Object<'_>) -> Result<Answer, SessionError> {
        self.ask(object, true).await
    }

    /// Makes it, or compares it with what is there.
    pub(super) async fn declare(&mut self, object: Object<'_>) -> Result<Answer, SessionError> {
        self.ask(object, false).await
    }

    async fn ask(&mut self, object: Object<'_>, passive: bool) -> Result<Answer, SessionError> {
        let channel = self.channel().await?;
        let name = short(object.name());
        let answer = match object {
            Object::Exchange(Exchange { kind, arguments, .. }) => {
                let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
                timed("exchange.declare", channel.exchange_declare(name, routing(*kind), options, table(arguments)))
                    .await
            }
            Object::Queue(queue) => {
                let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
                let asking = channel.queue_declare(name, options, table(&queue.arguments));
                timed("queue.declare", asking).await.map(|_| ())
            }
        };
        self.answered(answer)
    }

    /// How many consumers the queue has; `None` for a user who may not even look.
    ///
    /// # Errors
    /// The queue is gone, or the broker does not answer.
    pub(in crate::amqp) async fn consumers(&mut self, queue: &str) -> Result<Option<u32>, SessionError> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asking = channel.queue_declare(short(queue), options, FieldTable::default());
        let answer = timed("queue.declare", asking).await;
        let consumers = answer.as_ref().map(lapin::Queue::consumer_count).ok();
        match self.answered(answer.map(drop))? {
            Answer::NotFound(_) => Err(SessionError::Missing(vec![format!("queue {queue}")])),
            Answer::Yes | Answer::AccessRefused(_) | Answer::Mismatch(_) => Ok(consumers),
        }
    }

    /// Comes back when the broker lets this connection publish. One in need says that it does not, and reads nothing more, only
    /// when something is published: so something is, in a transaction that is taken back, and stored nowhere. A refusal is an
    /// answer, too.
    ///
    /// # Errors
    /// The connection broke.
    pub(in crate::amqp) async fn may_publish(&mut self, exchange: &str) -> Result<(), SessionError> {
        let channel = self.channel().await?;
        let publishing = async {
            channel.tx_select().await?;
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            channel.basic_publish(short(exchange), ShortString::default(), options, b"-", properties).await?;
            channel.tx_rollback().await
        };
        match publishing.await {
            // What is refused closes the channel, perhaps before the rollback is asked for: then the library knows no reason.
            Err(_) if self.connection.status().connected() => {
                self.channel = None;
                Ok(())
            }
            answer => Ok(answer?),
        }
    }

    /// Binds; what is bound already stays so.
    pub(super) async fn bind(&mut self, queue: &str, binding: &Binding) -> Result<Answer, SessionError> {
        let channel = self.channel().await?;
        let (exchange, key) = (short(&binding.exchange), short(&binding.key));
        let binding =
            channel.queue_bind(short(queue), exchange, key, QueueBindOptions::default(), FieldTable::default());
        let answer = timed("queue.bind", binding).await;
        self.answered(answer)
    }

    async fn channel(&mut self) -> Result<Channel, SessionError> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let channel = timed("channel.open", self.connection.create_channel()).await?;
        Ok(self.channel.insert(channel).clone())
    }

    fn answered(&mut self, answer: Result<(), SessionError>) -> Result<Answer, SessionError> {
        let Err(problem) = answer else { return Ok(Answer::Yes) };
        // Whatever it was: the channel is not to be trusted any more.
        self.channel = None;
        let refused = if let SessionError::Broken(error) = &problem { refusal(error) } else { None };
        refused.ok_or(problem)
    }
}

/// What the broker answers to a question; anything else is the end of the session.
pub(in crate::amqp) fn refusal(error: &lapin::Error) -> Option<Answer> {
    let ErrorKind::ProtocolError(refusal) = error.kind() else { return None };
    let words = refusal.get_message().to_string();
    match refusal.get_id() {
        ACCESS_REFUSED => Some(Answer::AccessRefused(words)),
        NOT_FOUND => Some(Answer::NotFound(words)),
        RESOURCE_LOCKED | PRECONDITION_FAILED => Some(Answer::Mismatch(words)),
        _ => None,
    }
}

const fn routing(kind: Kind) -> ExchangeKind {
    match kind {
        Kind::Direct => ExchangeKind::Direct,
        Kind::Fanout => ExchangeKind::Fanout,
        Kind::Topic => ExchangeKind::Topic,
    }
}

fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert(short(key), value);
    }
    table
}

/// Names are a prefix of at most 64 bytes and a short word of ours.
fn short(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError};

    use super::*;

    fn answered(kind: AMQPErrorKind) -> Option<Answer> {
        refusal(&lapin::Error::from(ErrorKind::ProtocolError(AMQPError::new(kind, "words".into()))))
    }

    #[test]
    fn a_refusal_is_an_answer_and_anything_else_the_end() {
        let soft = |error| answered(AMQPErrorKind::Soft(error));
        let words = || "words".to_owned();
        assert_eq!(soft(AMQPSoftError::ACCESSREFUSED), Some(Answer::AccessRefused(words())));
        assert_eq!(soft(AMQPSoftError::NOTFOUND), Some(Answer::NotFound(words())));
        assert_eq!(soft(AMQPSoftError::RESOURCELOCKED), Some(Answer::Mismatch(words())));
        assert_eq!(soft(AMQPSoftError::PRECONDITIONFAILED), Some(Answer::Mismatch(words())));
        assert_eq!(answered(AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED)), None);
        assert_eq!(refusal(&ErrorKind::ChannelsLimitReached.into()), None);
    }
}
