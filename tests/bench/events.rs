//! Events out of the queue.

use futures_util::StreamExt;
use lapin::{Connection, ConnectionProperties, Consumer, options::BasicConsumeOptions, types::FieldTable};

use super::{load, support::queues::Queues};

const SUCCEEDED: &str = "send.succeeded.WHATSAPP";

/// One who reads them.
pub(crate) struct Events {
    consumer: Consumer,
    _connection: Connection,
}

impl Events {
    pub(crate) async fn of(queues: &Queues) -> Self {
        let url = queues.broker().url();
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queues.name("events").into(), "".into(), options, FieldTable::default());
        Self { consumer: consumer.await.expect("a consumer"), _connection: connection }
    }

    /// The number of the command that the next one is about; it has succeeded.
    pub(crate) async fn next(&mut self) -> usize {
        let event = self.consumer.next().await.expect("the events queue is there").expect("an event");
        assert_eq!(event.routing_key.as_str(), SUCCEEDED, "the outcome");
        load::number(event.properties.correlation_id().as_ref().expect("the command's id").as_str())
    }
}
