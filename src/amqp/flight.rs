//! The publishes of one session that are on their way: handed to the library, and not yet judged.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{Channel, Confirmation, message::BasicReturnMessage, options::BasicPublishOptions, types::ShortString};
use tokio::{sync::oneshot, time::Instant};

use super::{
    properties,
    returns::{Address, Confirmed, Returns},
    topology::Names,
};
use crate::{
    domain::message::{Message, Target},
    ports::PublishError,
};

/// How many publishes may await their confirm; the library scans all of them for a multiple confirm.
pub(super) const MAX_UNCONFIRMED: usize = 1_024;
/// With publishes outstanding and none confirmed for this long, the session is given up.
pub(super) const CONFIRM_DEADLINE: Duration = Duration::from_secs(30);

type Reply = oneshot::Sender<Result<(), PublishError>>;
type Confirm = Pin<Box<dyn Future<Output = Result<Confirmed<Landed>, lapin::Error>> + Send>>;

/// A message to publish, and whom to tell what became of it.
pub(super) struct Job {
    pub(super) message: Arc<Message>,
    pub(super) reply: Reply,
}

/// What the broker said, apart from returns.
struct Landed {
    reply: Reply,
    accepted: bool,
}

/// Dropping it drops the replies: whoever waits learns that the confirm did not come.
pub(super) struct Flight {
    channel: Channel,
    names: Names,
    outstanding: FuturesUnordered<Confirm>,
    returns: Returns<Landed>,
    last_progress: Instant,
}

impl Flight {
    pub(super) fn new(channel: Channel, names: Names) -> Self {
        Self {
            channel,
            names,
            outstanding: FuturesUnordered::new(),
            returns: Returns::default(),
            last_progress: Instant::now(),
        }
    }

    /// How many have no confirm yet.
    pub(super) fn unconfirmed(&self) -> usize {
        self.outstanding.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.outstanding.len() < MAX_UNCONFIRMED && !self.returns.must_settle()
    }

    /// Sends a message, persistent and mandatory. It leaves when [`Self::land`] is polled next.
    pub(super) fn take_off(&mut self, job: Job) {
        if self.outstanding.is_empty() {
            self.restart_deadline();
        }
        let address = address(&self.names, &job.message.target);
        self.outstanding.push(Box::pin(publish(self.channel.clone(), address, job)));
    }

    /// Waits for a confirm, takes all that are ready, judges them and tells who waits. Pends while there are none.
    pub(super) async fn land(&mut self) -> Result<(), lapin::Error> {
        let Some(first) = self.outstanding.next().await else { return std::future::pending().await };
        self.returns.collect(first?);
        while let Some(Some(ready)) = self.outstanding.next().now_or_never() {
            self.returns.collect(ready?);
        }
        self.restart_deadline();
        for (landed, routed) in self.returns.judge(self.outstanding.len()) {
            let result = match (landed.accepted, routed) {
                (false, _) => Err(PublishError::Refused),
                (true, false) => Err(PublishError::Returned),
                (true, true) => Ok(()),
            };
            // Who waited may have given up, at shutdown.
            let _ = landed.reply.send(result);
        }
        Ok(())
    }

    pub(super) fn restart_deadline(&mut self) {
        self.last_progress = Instant::now();
    }

    /// When a confirm must have come, if any is outstanding.
    pub(super) fn deadline(&self) -> Instant {
        self.last_progress + CONFIRM_DEADLINE
    }
}

async fn publish(channel: Channel, address: Address, job: Job) -> Result<Confirmed<Landed>, lapin::Error> {
    let Job { message, reply } = job;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = properties::write(&message.properties);
    let (exchange, key) = (short(&address.exchange), short(&address.key));
    let confirm = channel.basic_publish(exchange, key, options, &message.body, properties).await?.await?;
    let (accepted, returned) = match confirm {
        Confirmation::Ack(returned) => (true, returned),
        Confirmation::Nack(returned) => (false, returned),
        // The channel is in confirm mode; without it nothing is known of any message.
        Confirmation::NotRequested => (false, None),
    };
    let returned = returned.as_ref().map(returned_from);
    Ok(Confirmed { address, returned, item: Landed { reply, accepted } })
}

fn returned_from(message: &BasicReturnMessage) -> Address {
    Address { exchange: message.exchange.as_str().to_owned(), key: message.routing_key.as_str().to_owned() }
}

fn address(names: &Names, target: &Target) -> Address {
    let (exchange, key) = match target {
        Target::Event { outcome, channel_type } => {
            (names.events(), format!("send.{}.{channel_type}", outcome.as_str()))
        }
        Target::Dead(reason) => (names.dead(), reason.as_str().to_owned()),
        Target::Reply(queue) => (String::new(), queue.clone()),
        Target::Tier { tier, key } => (names.retry(tier), key.clone()),
    };
    Address { exchange, key }
}

/// Prefix, outcome, channel and reply queue are bounded far below a short string's 255 bytes.
fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}
