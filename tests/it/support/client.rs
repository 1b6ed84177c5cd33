//! A small AMQP client for tests. Every call fails the test by itself and says what the broker said.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tokio::{sync::Mutex, time::timeout};

use super::message::Message;

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// Confirmed: at least one queue has it.
    Stored,
    /// No queue is bound for it.
    Returned,
    /// A queue is full or down.
    Refused,
}

/// One connection to the broker.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Connection,
    /// One publish at a time: lapin may hang a returned message on the wrong confirm otherwise.
    publisher: Mutex<Option<Channel>>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await;
        Self { connection: connection.expect("the broker takes a connection"), publisher: Mutex::new(None) }
    }

    async fn channel(&self) -> Channel {
        self.connection.create_channel().await.expect("the broker opens a channel")
    }

    /// Publishes, waits for the confirm and insists that a queue has the message.
    pub(crate) async fn publish(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let published = self.try_publish(exchange, key, body, properties).await;
        assert_eq!(published, Published::Stored, "a message to exchange {exchange}, key {key}");
    }

    /// Publishes, persistent and mandatory, and tells what became of it.
    pub(crate) async fn try_publish(&self, exchange: &str, key: &str, body: &[u8], p: BasicProperties) -> Published {
        let mut publisher = self.publisher.lock().await;
        let channel = match publisher.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => self.confirming_channel().await,
        };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = channel.basic_publish(exchange.into(), key.into(), options, body, p.with_delivery_mode(2)).await;
        let confirmation = confirm.expect("written").await.unwrap_or_else(|e| panic!("exchange {exchange}: {e}"));
        *publisher = Some(channel);
        match confirmation {
            Confirmation::Ack(None) => Published::Stored,
            Confirmation::Ack(Some(_)) => Published::Returned,
            Confirmation::Nack(_) => Published::Refused,
            Confirmation::NotRequested => unreachable!("the channel is in confirm mode"),
        }
    }

    /// A channel in confirm mode, for tests that look at single confirms.
    pub(crate) async fn confirming_channel(&self) -> Channel {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirm mode");
        channel
    }

    /// How many messages are ready in the queue; those in a consumer's hands do not count.
    pub(crate) async fn depth(&self, queue: &str) -> u32 {
        // A channel of its own, as asking for a queue that is not there closes the channel.
        let channel = self.channel().await;
        let declared =
            channel.queue_declare(queue.into(), QueueDeclareOptions::durable().passive(), FieldTable::default()).await;
        let depth = declared.unwrap_or_else(|e| panic!("queue {queue}: {e}")).message_count();
        close(&channel).await;
        depth
    }

    /// Whether there is such a queue.
    pub(crate) async fn exists(&self, queue: &str) -> bool {
        let asked = QueueDeclareOptions::durable().passive();
        self.channel().await.queue_declare(queue.into(), asked, FieldTable::default()).await.is_ok()
    }

    /// Whether there is such an exchange.
    pub(crate) async fn exchange_exists(&self, exchange: &str) -> bool {
        let asked = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let kind = ExchangeKind::Direct; // Not looked at when it is only asked for.
        self.channel().await.exchange_declare(exchange.into(), kind, asked, FieldTable::default()).await.is_ok()
    }

    /// Insists that no message is ready in the queue now.
    pub(crate) async fn expect_empty(&self, queue: &str) {
        assert_eq!(self.depth(queue).await, 0, "messages in queue {queue}, which must be empty");
    }

    /// Takes the first `n` messages from the queue and acks them; what is behind them stays untouched.
    pub(crate) async fn read(&self, queue: &str, n: u16, deadline: Duration) -> Vec<Message> {
        let channel = self.channel().await;
        channel.basic_qos(n, BasicQosOptions::default()).await.expect("a prefetch limit");
        let consumer =
            channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer = consumer.await.unwrap_or_else(|e| panic!("queue {queue}: {e}"));
        let mut read = Vec::new();
        let fill = async {
            while read.len() < usize::from(n) {
                let delivery = consumer.next().await.unwrap_or_else(|| panic!("queue {queue} was deleted"));
                read.push(delivery.unwrap_or_else(|e| panic!("queue {queue}: {e}")));
            }
        };
        if timeout(deadline, fill).await.is_err() {
            panic!("queue {queue}: {} of {n} messages within {deadline:?}: {read:?}", read.len());
        }
        // Cancelled first: an ack before it would make room for messages that nobody asked for.
        channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await.expect("cancelled");
        if let Some(last) = read.last() {
            channel.basic_ack(last.delivery_tag, BasicAckOptions { multiple: true }).await.expect("acked");
        }
        close(&channel).await;
        read.into_iter().map(Message::from).collect()
    }

    /// Reads one message.
    pub(crate) async fn read_one(&self, queue: &str, deadline: Duration) -> Message {
        self.read(queue, 1, deadline).await.swap_remove(0)
    }

    /// Listens to an exchange from now on: returns a queue to [`read`](Self::read) from, gone with this client.
    pub(crate) async fn listen(&self, exchange: &str, key: &str) -> String {
        let queue = self.own_queue().await;
        bind(&self.channel().await, &queue, exchange, key).await;
        queue
    }

    /// An exclusive queue, as for replies, gone with this client.
    pub(crate) async fn own_queue(&self) -> String {
        let channel = self.channel().await;
        let queue = channel.queue_declare("".into(), QueueDeclareOptions::exclusive(), FieldTable::default()).await;
        queue.expect("an exclusive queue").name().to_string()
    }

    /// Takes whatever comes into the queue from now on, acknowledged by being sent.
    pub(crate) async fn tap(&self, queue: &str) -> Tap {
        let channel = self.channel().await;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await;
        Tap { consumer: consumer.unwrap_or_else(|e| panic!("queue {queue}: {e}")), queue: queue.to_owned() }
    }

    /// Declares a durable exchange and a quorum queue, both of this name, and binds them by the key.
    pub(crate) async fn declare(&self, name: &str, kind: ExchangeKind, key: &str) {
        self.declare_exchange(name, kind).await;
        self.declare_queue(name, key, []).await;
    }

    /// Declares a durable exchange.
    pub(crate) async fn declare_exchange(&self, name: &str, kind: ExchangeKind) {
        let channel = self.channel().await;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await;
        exchange.unwrap_or_else(|e| panic!("exchange {name}: {e}"));
        close(&channel).await;
    }

    /// Binds the queue of this name to the exchange of the same.
    pub(crate) async fn bind(&self, name: &str, key: &str) {
        let channel = self.channel().await;
        bind(&channel, name, name, key).await;
        close(&channel).await;
    }

    /// Deletes an exchange and with it all that is bound to it.
    pub(crate) async fn delete_exchange(&self, name: &str) {
        let channel = self.channel().await;
        let deleted = channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await;
        deleted.unwrap_or_else(|e| panic!("exchange {name}: {e}"));
        close(&channel).await;
    }

    /// Declares a durable quorum queue with these arguments besides, bound by the key to the exchange of its name.
    pub(crate) async fn declare_queue<const N: usize>(&self, name: &str, key: &str, more: [(&str, AMQPValue); N]) {
        let channel = self.channel().await;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        for (argument, value) in more {
            arguments.insert(argument.into(), value);
        }
        let queue = channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await;
        queue.unwrap_or_else(|e| panic!("queue {name}: {e}"));
        bind(&channel, name, name, key).await;
        close(&channel).await;
    }

    /// Deletes a queue with all that is in it.
    pub(crate) async fn delete_queue(&self, name: &str) {
        let channel = self.channel().await;
        let deleted = channel.queue_delete(name.into(), QueueDeleteOptions::default()).await;
        deleted.unwrap_or_else(|e| panic!("queue {name}: {e}"));
        close(&channel).await;
    }
}

/// What comes into a queue, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Tap {
    consumer: lapin::Consumer,
    queue: String,
}

impl Tap {
    /// The next message; pends while there is none.
    pub(crate) async fn next(&mut self) -> Message {
        let delivery = self.consumer.next().await.unwrap_or_else(|| panic!("queue {} was deleted", self.queue));
        delivery.unwrap_or_else(|e| panic!("queue {}: {e}", self.queue)).into()
    }
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) {
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await;
    bound.unwrap_or_else(|e| panic!("queue {queue} to exchange {exchange}: {e}"));
}

/// Waits for the broker's answer, and thereby until it has settled what was acked on this channel.
async fn close(channel: &Channel) {
    channel.close(200, "".into()).await.expect("the channel closes");
}
