//! The demo's backend: publishes the commands, and consumes events and dead letters.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    message::Delivery,
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{plan, tracker::SharedTracker};
use crate::{
    amqp::{
        short_string,
        topology::{Topology, TopologyNames},
    },
    domain::{delayed::COMMAND_KEY, properties::header, reason::Reason, tier::Tiers},
};

const MAX_UNCONFIRMED: usize = 256;
const PERSISTENT: u8 = 2;
/// The correlation id of the end markers, see [`Backend::publish_end_markers`].
const END_MARKER: &str = "the-end";
/// A broker that blocks publishers does not read `connection.close` either.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A backend with a connection of its own.
pub(super) struct Backend {
    connection: Connection,
    names: TopologyNames,
}

impl Backend {
    pub(super) fn new(connection: Connection, names: TopologyNames) -> Self {
        Self { connection, names }
    }

    pub(super) async fn declare(&self) -> Result<(), String> {
        let declared = Topology::new(&self.names, &Tiers::default(), true).declare(&self.names, &self.connection).await;
        declared.map_err(|error| format!("cannot declare the demo's exchanges and queues: {error}"))
    }

    /// Closes the connection. No operation on it takes effect afterwards.
    pub(super) async fn close(self) {
        // An error means that the connection is closed already.
        drop(tokio::time::timeout(CLOSE_TIMEOUT, self.connection.close(200, "done".into())).await);
    }

    /// Publishes the first `count` messages of the plan and awaits all confirms.
    pub(super) async fn send(&self, count: usize, tracker: &SharedTracker) -> Result<(), String> {
        let channel = self.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(broker_error)?;
        let publishes = stream::iter(0..count).map(|index| self.publish(&channel, index, tracker));
        publishes.buffer_unordered(MAX_UNCONFIRMED).try_collect::<()>().await
    }

    async fn publish(&self, channel: &Channel, index: usize, tracker: &SharedTracker) -> Result<(), String> {
        let planned = plan::planned(index);
        tracker.lock().sent(index, planned.expected);
        let properties = BasicProperties::default()
            .with_content_type(planned.content_type.into())
            .with_correlation_id(index.to_string().into())
            .with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (short_string(self.names.commands()), short_string(COMMAND_KEY));
        let confirm = channel.basic_publish(exchange, key, options, &planned.body, properties).await;
        match confirm.map_err(broker_error)?.await.map_err(broker_error)? {
            Confirmation::Ack(None) => Ok(()),
            _ => Err("the broker returned or refused a command".to_owned()),
        }
    }

    /// Tracks all events and dead letters, until the end marker arrives in both queues.
    pub(super) async fn consume(&self, tracker: &SharedTracker) -> Result<(), String> {
        let events = self.consume_queue(&self.names.events()).await?;
        let dead = self.consume_queue(&self.names.dead()).await?;
        let events = events.map(|delivery| delivery.map(|delivery| (true, delivery)));
        let dead = dead.map(|delivery| delivery.map(|delivery| (false, delivery)));
        let (mut deliveries, mut open_queues) = (stream::select(events, dead), 2);
        while let Some((is_event, delivery)) = deliveries.try_next().await.map_err(broker_error)? {
            let id = delivery.properties.correlation_id().as_ref().map_or("", ShortString::as_str);
            let index = id.parse().ok();
            match is_event {
                _ if id == END_MARKER => open_queues -= 1,
                true => tracker.lock().event(index, outcome(&delivery)),
                false => tracker.lock().dead_letter(index, &reason(&delivery)),
            }
            if open_queues == 0 {
                return Ok(());
            }
        }
        Err("the demo's connection to the broker was closed".to_owned())
    }

    /// Publishes a marker to the end of each queue. When it has both, [`Backend::consume`] has consumed all messages
    /// before them.
    pub(super) async fn publish_end_markers(&self) -> Result<(), String> {
        let channel = self.channel().await?;
        for (exchange, key) in [(self.names.events(), END_MARKER), (self.names.dead(), Reason::Malformed.as_str())] {
            let properties = BasicProperties::default().with_correlation_id(END_MARKER.into());
            let options = BasicPublishOptions::default();
            let publish = channel.basic_publish(
                short_string(&exchange),
                short_string(key),
                options,
                END_MARKER.as_bytes(),
                properties,
            );
            drop(publish.await.map_err(broker_error)?);
        }
        Ok(())
    }

    async fn consume_queue(&self, queue: &str) -> Result<lapin::Consumer, String> {
        let channel = self.channel().await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(short_string(queue), ShortString::default(), options, FieldTable::default());
        consumer.await.map_err(broker_error)
    }

    async fn channel(&self) -> Result<Channel, String> {
        self.connection.create_channel().await.map_err(broker_error)
    }
}

/// The routing key of an event is `send.<outcome>.<channelType>`.
fn outcome(event: &Delivery) -> &str {
    event.routing_key.as_str().split('.').nth(1).unwrap_or_default()
}

fn reason(dead_letter: &Delivery) -> String {
    let headers = dead_letter.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(header::REASON)) {
        Some(AMQPValue::LongString(reason)) => reason.to_string(),
        _ => String::new(),
    }
}

fn broker_error(error: lapin::Error) -> String {
    format!("broker: {error}")
}
