//! A small AMQP client for tests. A failing call panics with the broker's error.

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

use super::{TIMEOUT, eventually::eventually, message::Message};

/// The broker's answer to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishResult {
    /// `basic.ack`: stored in at least one queue.
    Confirmed,
    /// `basic.return`: no queue is bound for the routing key.
    Returned,
    /// `basic.nack`: a queue is full or unavailable.
    Nacked,
}

/// One connection to the broker.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Connection,
    /// Locked for each publish: with several in flight, lapin may attach a returned message to the wrong confirm.
    publisher: Mutex<Option<Channel>>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await;
        Self { connection: connection.expect("a connection"), publisher: Mutex::new(None) }
    }

    async fn channel(&self) -> Channel {
        self.connection.create_channel().await.expect("a channel")
    }

    /// Publishes, awaits the confirm and asserts that a queue has stored the message.
    pub(crate) async fn publish(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let published = self.try_publish(exchange, key, body, properties).await;
        assert_eq!(published, PublishResult::Confirmed, "publish to exchange {exchange}, key {key}");
    }

    /// Publishes a persistent, mandatory message and returns the broker's answer.
    pub(crate) async fn try_publish(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        p: BasicProperties,
    ) -> PublishResult {
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
            Confirmation::Ack(None) => PublishResult::Confirmed,
            Confirmation::Ack(Some(_)) => PublishResult::Returned,
            Confirmation::Nack(_) => PublishResult::Nacked,
            Confirmation::NotRequested => unreachable!("the channel is in confirm mode"),
        }
    }

    /// Opens a channel in confirm mode, for tests that await confirms themselves.
    pub(crate) async fn confirming_channel(&self) -> Channel {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirm mode");
        channel
    }

    /// The number of ready messages in the queue; unacknowledged ones are not counted.
    pub(crate) async fn depth(&self, queue: &str) -> u32 {
        // A new channel, as a passive declare of a missing queue closes the channel.
        let channel = self.channel().await;
        let declared =
            channel.queue_declare(queue.into(), QueueDeclareOptions::durable().passive(), FieldTable::default()).await;
        let depth = declared.unwrap_or_else(|e| panic!("queue {queue}: {e}")).message_count();
        close(&channel).await;
        depth
    }

    /// Whether the queue exists.
    pub(crate) async fn exists(&self, queue: &str) -> bool {
        let options = QueueDeclareOptions::durable().passive();
        self.channel().await.queue_declare(queue.into(), options, FieldTable::default()).await.is_ok()
    }

    /// Whether the exchange exists.
    pub(crate) async fn exchange_exists(&self, exchange: &str) -> bool {
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let kind = ExchangeKind::Direct; // Ignored in a passive declare.
        self.channel().await.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await.is_ok()
    }

    /// Asserts that no message is ready in the queue.
    pub(crate) async fn expect_empty(&self, queue: &str) {
        assert_eq!(self.depth(queue).await, 0, "messages in queue {queue}");
    }

    /// Consumes and acks the first `n` messages; later ones stay in the queue, not marked as redelivered.
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
            panic!("queue {queue}: {} of {n} messages after {deadline:?}: {read:?}", read.len());
        }
        // Cancel before the ack, which would make the broker deliver more messages.
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

    /// Binds a new exclusive queue to an exchange and returns its name, for [`read`](Self::read). The queue is deleted
    /// with this client's connection.
    pub(crate) async fn bind_exclusive_queue(&self, exchange: &str, key: &str) -> String {
        let queue = self.declare_exclusive_queue().await;
        bind(&self.channel().await, &queue, exchange, key).await;
        queue
    }

    /// Declares an exclusive queue, as for replies; deleted with this client's connection.
    pub(crate) async fn declare_exclusive_queue(&self) -> String {
        let channel = self.channel().await;
        let queue = channel.queue_declare("".into(), QueueDeclareOptions::exclusive(), FieldTable::default()).await;
        queue.expect("an exclusive queue").name().to_string()
    }

    /// Consumes the queue with automatic acknowledgement.
    pub(crate) async fn subscribe(&self, queue: &str) -> Subscription {
        let channel = self.channel().await;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await;
        Subscription { consumer: consumer.unwrap_or_else(|e| panic!("queue {queue}: {e}")), queue: queue.to_owned() }
    }

    /// Declares a durable exchange and a quorum queue with the same name, bound by the key.
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

    /// Binds a queue to an exchange of another name.
    pub(crate) async fn bind_to(&self, exchange: &str, queue: &str, key: &str) {
        let channel = self.channel().await;
        bind(&channel, queue, exchange, key).await;
        close(&channel).await;
    }

    /// Binds the queue `name` to the exchange `name`.
    pub(crate) async fn bind(&self, name: &str, key: &str) {
        let channel = self.channel().await;
        bind(&channel, name, name, key).await;
        close(&channel).await;
    }

    /// Deletes an exchange and its bindings.
    pub(crate) async fn delete_exchange(&self, name: &str) {
        let channel = self.channel().await;
        let deleted = channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await;
        deleted.unwrap_or_else(|e| panic!("exchange {name}: {e}"));
        close(&channel).await;
    }

    /// Declares a durable quorum queue with extra arguments and binds it by the key to the exchange with the same name.
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

    /// Declares the queue `name`, bound to the exchange of that name, with a length limit, and fills it.
    pub(crate) async fn declare_full_queue(&self, name: &str, key: &str) {
        let limit =
            [("x-overflow", AMQPValue::LongString("reject-publish".into())), ("x-max-length", AMQPValue::LongInt(1))];
        self.declare_queue(name, key, limit).await;
        let fill = async || self.try_publish(name, key, b"filler", BasicProperties::default()).await;
        eventually!(TIMEOUT, fill().await, |published| *published == PublishResult::Nacked, "a full queue");
    }

    /// Deletes a queue and its messages.
    pub(crate) async fn delete_queue(&self, name: &str) {
        let channel = self.channel().await;
        let deleted = channel.queue_delete(name.into(), QueueDeleteOptions::default()).await;
        deleted.unwrap_or_else(|e| panic!("queue {name}: {e}"));
        close(&channel).await;
    }
}

/// A consumer of a queue; dropping it cancels the consumer.
#[derive(Debug)]
pub(crate) struct Subscription {
    consumer: lapin::Consumer,
    queue: String,
}

impl Subscription {
    /// Waits for the next message.
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

/// Closes the channel and waits for the broker's answer, sent after the acks on this channel are processed.
async fn close(channel: &Channel) {
    channel.close(200, "".into()).await.expect("the channel closes");
}
