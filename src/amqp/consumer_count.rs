//! Polls the broker for the number of consumers of the command queue.
//!
//! The count shows whether the broker still knows this daemon's consumer, and whether other daemons consume the queue.

use std::{future::pending, sync::Arc, time::Duration};

use lapin::Connection;
use tokio::time::{Instant, sleep};

use super::{error::SessionError, topology::TopologyProbe};

/// A passive `queue.declare` costs the broker next to nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// For the first poll, so that other consumers are noticed early, and to confirm a count of zero.
const FAST_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Called with the number of consumers of the queue, this daemon's included.
pub type OnConsumerCount = Arc<dyn Fn(u32) + Send + Sync>;

/// The broker's reply to one poll.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsumerCount {
    pub(super) requested_at: Instant,
    pub(super) consumers: u32,
}

/// Polls on a channel of its own.
pub(super) struct ConsumerCountPoller<'a> {
    probe: TopologyProbe<'a>,
    queue: String,
}

impl<'a> ConsumerCountPoller<'a> {
    pub(super) fn new(connection: &'a Connection, queue: String) -> Self {
        Self { probe: TopologyProbe::new(connection), queue }
    }

    /// Waits for the poll interval, then polls. Pends forever if the broker user may not inspect the queue.
    ///
    /// # Errors
    /// The queue is gone, or the broker does not answer.
    pub(super) async fn next(mut self, fast: bool) -> Result<(Self, ConsumerCount), SessionError> {
        sleep(if fast { FAST_POLL_INTERVAL } else { POLL_INTERVAL }).await;
        let requested_at = Instant::now();
        match self.probe.consumer_count(&self.queue).await? {
            Some(consumers) => Ok((self, ConsumerCount { requested_at, consumers })),
            None => pending().await,
        }
    }
}
