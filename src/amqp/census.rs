//! Asks the broker who consumes our queue: what we believe of our own consumer is not enough, and others matter too.

use std::{future::pending, time::Duration};

use lapin::{Channel, Connection, options::QueueDeclareOptions, types::FieldTable};
use tokio::time::{Instant, sleep};

use super::{
    connect::timed,
    error::SessionError,
    topology::{self, NOT_FOUND},
};

/// How often it is asked; a question costs the broker next to nothing.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// The first time, so that others are known of soon.
const ASK_FIRST: Duration = Duration::from_secs(1);

/// The broker's answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    /// When it was asked.
    pub(super) asked: Instant,
    /// How many consumers the queue has.
    pub(super) consumers: u32,
}

/// One who asks, on a channel of its own: a refusal closes it.
pub(super) struct Census<'a> {
    connection: &'a Connection,
    queue: String,
    channel: Option<Channel>,
    wait: Duration,
}

impl<'a> Census<'a> {
    pub(super) fn new(connection: &'a Connection, queue: String) -> Self {
        Self { connection, queue, channel: None, wait: ASK_FIRST }
    }

    /// Waits until it is time, and asks. Pends for ever for a user who may not even look.
    ///
    /// # Errors
    /// The queue is gone, or the broker does not answer.
    pub(super) async fn next(mut self) -> Result<(Self, Count), SessionError> {
        sleep(std::mem::replace(&mut self.wait, ASK_EVERY)).await;
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => timed("channel.open", self.connection.create_channel()).await?,
        };
        let asked = Instant::now();
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asking = channel.queue_declare(topology::short(&self.queue), options, FieldTable::default());
        let answer = timed("queue.declare", asking).await;
        match (topology::refusal(&answer), answer) {
            (_, Ok(queue)) => {
                self.channel = Some(channel);
                Ok((self, Count { asked, consumers: queue.consumer_count() }))
            }
            (Some(NOT_FOUND), _) => Err(SessionError::Missing(format!("queue {}", self.queue))),
            (Some(_), _) => pending().await,
            (None, Err(error)) => Err(error),
        }
    }
}
