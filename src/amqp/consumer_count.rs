//! Polls the broker for the number of consumers of the command queue.
//!
//! The count shows whether the broker still knows this daemon's consumer, and whether other daemons consume the queue. The
//! poll also finds a node that does not answer. One that was cut off from its cluster may answer for a queue that it led,
//! but can neither deliver nor store: only another subscription finds it.

use std::{future::pending, sync::Arc, time::Duration};

use lapin::Connection;
use tokio::time::{Instant, sleep, timeout};

use super::{error::SessionError, other_consumers::ConsumerCount, timeout::OPERATION_TIMEOUT, topology::TopologyProbe};

/// A passive `queue.declare` costs the broker next to nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(3);
/// For the first poll, so that other consumers are noticed early, and to confirm a count of zero.
const FAST_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a node of several may take for an answer: with [`POLL_INTERVAL`], it is left within 8 s.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the broker may take for an answer that another node could give.
pub(super) const fn answer_timeout(has_other_nodes: bool) -> Duration {
    if has_other_nodes { NODE_TIMEOUT } else { OPERATION_TIMEOUT }
}

/// Called after each count with the number of consumers of other daemons.
pub type OnOtherConsumers = Arc<dyn Fn(u32) + Send + Sync>;

/// Polls on a channel of its own.
pub(super) struct ConsumerCountPoller<'a> {
    probe: TopologyProbe<'a>,
    queue: String,
    /// How long the broker may take for an answer.
    timeout: Duration,
}

impl<'a> ConsumerCountPoller<'a> {
    pub(super) const fn new(connection: &'a Connection, queue: String, has_other_nodes: bool) -> Self {
        Self { probe: TopologyProbe::new(connection), queue, timeout: answer_timeout(has_other_nodes) }
    }

    /// Waits for the poll interval, then polls. Pends forever if the broker user may not inspect the queue.
    ///
    /// # Errors
    /// The queue is gone, or the broker does not answer.
    pub(super) async fn next(mut self, fast: bool) -> Result<(Self, ConsumerCount), SessionError> {
        sleep(if fast { FAST_POLL_INTERVAL } else { POLL_INTERVAL }).await;
        let requested_at = Instant::now();
        let counting = timeout(self.timeout, self.probe.queue_counts(&self.queue));
        let timed_out = |_| SessionError::Timeout { operation: "queue.declare", timeout: self.timeout };
        match counting.await.map_err(timed_out)?? {
            Some(counts) => Ok((self, ConsumerCount { requested_at, counts })),
            None => pending().await,
        }
    }
}
