//! Asks the broker who consumes our queue: what we believe of our own consumer is not enough, and others matter too.

use std::{future::pending, time::Duration};

use lapin::Connection;
use tokio::time::{Instant, sleep};

use super::{error::SessionError, topology::Asker};

/// How often it is asked; a question costs the broker next to nothing.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// At first, so that others are known of soon, and after a strange answer.
const ASK_SOON: Duration = Duration::from_secs(1);

/// The broker's answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    /// When it was asked.
    pub(super) asked: Instant,
    /// How many consumers the queue has.
    pub(super) consumers: u32,
}

/// One who asks.
pub(super) struct Census<'a> {
    asker: Asker<'a>,
    queue: String,
}

impl<'a> Census<'a> {
    pub(super) fn new(connection: &'a Connection, queue: String) -> Self {
        Self { asker: Asker::new(connection), queue }
    }

    /// Waits until it is time, and asks. Pends for ever for a user who may not even look.
    ///
    /// # Errors
    /// The queue is gone, or the broker does not answer.
    pub(super) async fn next(mut self, soon: bool) -> Result<(Self, Count), SessionError> {
        sleep(if soon { ASK_SOON } else { ASK_EVERY }).await;
        let asked = Instant::now();
        match self.asker.consumers(&self.queue).await? {
            Some(consumers) => Ok((self, Count { asked, consumers })),
            None => pending().await,
        }
    }
}
