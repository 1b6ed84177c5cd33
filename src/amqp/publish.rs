//! One publish: from a message to its confirm.

use std::{future::Future, sync::Arc};

use lapin::{Channel, Confirmation, message::BasicReturnMessage, options::BasicPublishOptions};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    properties,
    returns::{Confirm, Route},
    short_string::short_string,
    topology::TopologyNames,
};
use crate::{
    domain::message::{Message, Target},
    ports::PublishError,
};

pub(super) type ResultSender = oneshot::Sender<Result<(), PublishError>>;

/// A message to publish, and where to send the result.
pub(super) struct PublishRequest {
    pub(super) message: Arc<Message>,
    pub(super) reply: ResultSender,
}

/// A publish whose confirm has arrived; a return may still be matched to it.
pub(super) struct ConfirmedPublish {
    /// As given to [`publish`].
    pub(super) sequence: u64,
    pub(super) message: Arc<Message>,
    pub(super) reply: ResultSender,
    /// `basic.ack`, not `basic.nack`.
    pub(super) is_acked: bool,
}

/// The future of a publish.
pub(super) trait PublishFuture: Future<Output = Result<Confirm<ConfirmedPublish>, lapin::Error>> {}

impl<F: Future<Output = Result<Confirm<ConfirmedPublish>, lapin::Error>>> PublishFuture for F {}

/// Publishes a message, persistent and mandatory, and waits for its confirm. `unwritten` is dropped once the library
/// has written the message.
pub(super) fn publish<'a>(
    channel: &'a Channel,
    names: &TopologyNames,
    PublishRequest { message, reply }: PublishRequest,
    sequence: u64,
    unwritten: OwnedSemaphorePermit,
) -> impl PublishFuture + Send + use<'a> {
    let Route { exchange, key } = route(names, &message.target);
    async move {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (short_string(exchange), short_string(key));
        let properties = properties::write(&message.properties);
        // Boxed to keep this future small: a thousand may wait for their confirms.
        let written = Box::pin(channel.basic_publish(exchange, key, options, &message.body, properties)).await?;
        drop(unwritten);
        let (is_acked, returned) = match written.await? {
            Confirmation::Ack(returned) => (true, returned),
            Confirmation::Nack(returned) => (false, returned),
            // Impossible in confirm mode; without it the result is unknown.
            Confirmation::NotRequested => (false, None),
        };
        let returned = returned.as_ref().map(returned_route);
        Ok(Confirm { returned, publish: ConfirmedPublish { sequence, message, reply, is_acked } })
    }
}

fn returned_route(message: &BasicReturnMessage) -> Route {
    Route { exchange: message.exchange.as_str().to_owned(), key: message.routing_key.as_str().to_owned() }
}

/// Exchange and routing key of a target.
pub(super) fn route(names: &TopologyNames, target: &Target) -> Route {
    let (exchange, key) = match target {
        Target::Event { outcome, channel_type } => {
            (names.events(), ["send.", outcome.as_str(), ".", channel_type].concat())
        }
        Target::Dead(reason) => (names.dead(), reason.as_str().to_owned()),
        Target::Reply(queue) => (String::new(), queue.clone()),
        Target::Tier { tier, key } => (names.retry(tier), key.clone()),
    };
    Route { exchange, key }
}
