//! The demo's own side of the broker: a backend that publishes commands and listens to what becomes of them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    message::Delivery,
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{account::Account, plan};
use crate::{
    amqp::topology::{Names, Topology},
    domain::{delayed::COMMAND_KEY, properties::header, reason::Reason, tier::Tiers},
};

/// How many publishes may await their confirm.
const UNCONFIRMED: usize = 256;
const PERSISTENT: u8 = 2;
/// The correlation id of the message behind all others, see [`Backend::mark_the_end`].
const THE_END: &str = "the-end";
/// A broker that blocks publishers does not even read that we want to go.
const CLOSING: Duration = Duration::from_secs(5);

/// The books, shared by who sends and who listens.
#[derive(Default)]
pub(super) struct Books(Mutex<Account>);

impl Books {
    pub(super) fn open(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        let declared = Topology::new(&self.names, &Tiers::default(), true).declare(&self.names, &self.connection).await;
        declared.map_err(|error| format!("cannot declare the demo's queues and exchanges: {error}"))
    }

    /// Ends the connection; nothing that was asked on it happens after this.
    pub(super) async fn close(self) {
        // Who is gone already need not be told.
        drop(tokio::time::timeout(CLOSING, self.connection.close(200, "done".into())).await);
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
        books.open().sent(index, planned.expected);
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

    /// Enters all events and dead letters into the books, until the end is marked in both queues.
    pub(super) async fn listen(&self, books: &Books) -> Result<(), String> {
        let (events, dead) = (self.consume(&self.names.events()).await?, self.consume(&self.names.dead()).await?);
        let events = events.map(|delivery| delivery.map(|delivery| (true, delivery)));
        let dead = dead.map(|delivery| delivery.map(|delivery| (false, delivery)));
        let (mut both, mut open) = (stream::select(events, dead), 2);
        while let Some((is_event, delivery)) = both.try_next().await.map_err(text)? {
            let id = delivery.properties.correlation_id().as_ref().map_or("", ShortString::as_str);
            let index = id.parse().ok();
            match is_event {
                _ if id == THE_END => open -= 1,
                true => books.open().event(index, delivery.routing_key.as_str().split('.').nth(1).unwrap_or_default()),
                false => books.open().dead_letter(index, &reason(&delivery)),
            }
            if open == 0 {
                return Ok(());
            }
        }
        Err("the demo's connection to the broker ended".to_owned())
    }

    /// Puts a message behind all events and one behind all dead letters: who has seen both has seen everything.
    pub(super) async fn mark_the_end(&self) -> Result<(), String> {
        let channel = self.channel().await?;
        for (exchange, key) in [(self.names.events(), THE_END), (self.names.dead(), Reason::Malformed.as_str())] {
            let properties = BasicProperties::default().with_correlation_id(THE_END.into());
            let options = BasicPublishOptions::default();
            let publishing =
                channel.basic_publish(short(&exchange), short(key), options, THE_END.as_bytes(), properties);
            drop(publishing.await.map_err(text)?);
        }
        Ok(())
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

pub(super) fn short(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}

fn text(error: lapin::Error) -> String {
    format!("the broker: {error}")
}
