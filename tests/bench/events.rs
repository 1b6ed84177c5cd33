//! A consumer of the events queue.

use futures_util::StreamExt;
use lapin::{Connection, ConnectionProperties, Consumer, options::BasicConsumeOptions, types::FieldTable};

use super::{load, support::queues::Queues};

const SUCCEEDED: &str = "send.succeeded.WHATSAPP";

pub(crate) struct Events {
    consumer: Consumer,
    _connection: Connection,
}

impl Events {
    /// Subscribes to the events queue.
    pub(crate) async fn subscribe(queues: &Queues) -> Self {
        let url = queues.broker().url();
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queues.name("events").into(), "".into(), options, FieldTable::default());
        Self { consumer: consumer.await.expect("a consumer"), _connection: connection }
    }

    /// Waits for the next event, which must be a success; returns the number of its command.
    pub(crate) async fn next(&mut self) -> usize {
        let event = self.consumer.next().await.expect("an open consumer").expect("an event");
        assert_eq!(event.routing_key.as_str(), SUCCEEDED, "the outcome");
        load::number(event.properties.correlation_id().as_ref().expect("the command's id").as_str())
    }
}
