//! The demo's own side of the broker: a backend that publishes commands and listens to what becomes of them.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    message::Delivery,
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{account::Account, plan};
use crate::{
    amqp::topology::{COMMAND_KEY, Names, Topology},
    domain::properties::header,
};

/// How many publishes may await their confirm.
const UNCONFIRMED: usize = 256;
const PERSISTENT: u8 = 2;

/// The books, shared by who sends and who listens.
pub(super) type Books = Arc<Mutex<Account>>;

/// A backend with a connection of its own.
pub(super) struct Backend {
    connection: Connection,
    names: Names,
}

impl Backend {
    pub(super) fn new(connection: Connection, names: Names) -> Self {
        Self { connection, names }
    }

    pub(super) async fn declare(&self) -> Result<(), String> {
        Topology::new(&self.names, true).declare(&self.connection).await.map_err(|error| error.to_string())
    }

    pub(super) async fn remove(&self) -> Result<(), String> {
        let channel = self.channel().await?;
        Topology::new(&self.names, true).remove(&channel).await.map_err(|error| error.to_string())
    }

    /// Publishes the first `count` planned messages, each confirmed.
    pub(super) async fn send(&self, count: usize, books: &Books) -> Result<(), String> {
        let channel = self.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(text)?;
        let publishes = stream::iter(0..count).map(|index| self.publish(&channel, index, books));
        publishes.buffer_unordered(UNCONFIRMED).try_collect::<()>().await
    }

    async fn publish(&self, channel: &Channel, index: usize, books: &Books) -> Result<(), String> {
        let planned = plan::planned(index);
        books.lock().unwrap_or_else(PoisonError::into_inner).sent(index, planned.expected);
        let properties = BasicProperties::default()
            .with_content_type(planned.content_type.into())
            .with_correlation_id(index.to_string().into())
            .with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (short(&self.names.commands()), short(COMMAND_KEY));
        let confirm = channel.basic_publish(exchange, key, options, &planned.body, properties).await.map_err(text)?;
        match confirm.await.map_err(text)? {
            Confirmation::Ack(None) => Ok(()),
            _ => Err("the broker did not store a command".to_owned()),
        }
    }

    /// Enters all events and dead letters into the books, until the connection ends.
    pub(super) async fn listen(&self, books: Books) -> Result<(), String> {
        let (events, dead) = (self.consume(&self.names.events()).await?, self.consume(&self.names.dead()).await?);
        let events = events.map(|delivery| delivery.map(|delivery| (true, delivery)));
        let dead = dead.map(|delivery| delivery.map(|delivery| (false, delivery)));
        let mut both = stream::select(events, dead);
        while let Some((is_event, delivery)) = both.try_next().await.map_err(text)? {
            let index = delivery.properties.correlation_id().as_ref().and_then(|id| id.as_str().parse().ok());
            let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
            match is_event {
                true => books.event(index, delivery.routing_key.as_str().split('.').nth(1).unwrap_or_default()),
                false => books.dead_letter(index, &reason(&delivery)),
            }
        }
        Err("the demo's connection to the broker ended".to_owned())
    }

    async fn consume(&self, queue: &str) -> Result<lapin::Consumer, String> {
        let channel = self.channel().await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consuming = channel.basic_consume(short(queue), ShortString::default(), options, FieldTable::default());
        consuming.await.map_err(text)
    }

    async fn channel(&self) -> Result<Channel, String> {
        self.connection.create_channel().await.map_err(text)
    }
}

fn reason(delivery: &Delivery) -> String {
    let headers = delivery.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get(header::REASON)) {
        Some(AMQPValue::LongString(reason)) => reason.to_string(),
        _ => String::new(),
    }
}

fn short(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}

fn text(error: lapin::Error) -> String {
    format!("the broker: {error}")
}
