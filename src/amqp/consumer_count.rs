//! Polls the broker for the number of consumers of the command queue.
//!
//! The count shows whether the broker still knows this daemon's consumer, and whether other daemons consume the queue. The
//! poll also finds a node that is of no use: one that does not answer, and one that was cut off from its cluster, which
//! answers for a queue that it led but can neither deliver nor store.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use lapin::Connection;
use tokio::time::{Instant, sleep, timeout};

use super::{error::SessionError, timeout::OPERATION_TIMEOUT, topology::TopologyProbe};

/// A passive `queue.declare` costs the broker next to nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(3);
/// For the first poll, so that other consumers are noticed early, and to confirm a count of zero.
const FAST_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a node of several may take for an answer: with [`POLL_INTERVAL`], it is left within 8 s.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);

/// Consecutive counts of zero that end the session, about one a second. Fewer prove nothing: a queue whose leader is being
/// elected, or is busy, reports none.
const MAX_ZERO_COUNTS: u32 = 10;
/// While a node of a cluster is cut off, the others report none for the queues that it led, although they serve them: until
/// they give it up (`net_ticktime` 60 s, plus a quarter).
const CLUSTER_MAX_ZERO_COUNTS: u32 = 75;

/// How long the broker may count the consumer of a lost connection: in a partitioned cluster, until the other nodes give
/// up the connection's node (`net_ticktime` 60 s, plus a quarter); on one node, two to three heartbeats.
const LOST_CONSUMER_LIFETIME: Duration = Duration::from_secs(90);

/// Called after each count with the number of consumers of other daemons.
pub type OnOtherConsumers = Arc<dyn Fn(u32) + Send + Sync>;

/// The broker's reply to one poll.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsumerCount {
    pub(super) requested_at: Instant,
    pub(super) consumers: u32,
    /// As many consecutive counts of zero prove that the broker has lost this daemon's consumer.
    pub(super) max_zero_counts: u32,
}

/// Polls on a channel of its own.
pub(super) struct ConsumerCountPoller<'a> {
    probe: TopologyProbe<'a>,
    queue: String,
    /// How long the broker may take for an answer.
    timeout: Duration,
    max_zero_counts: u32,
    /// Whether [`Self::check_consensus`] is of use: there is another node, and the queue is not known to refuse it.
    checks_consensus: bool,
}

impl<'a> ConsumerCountPoller<'a> {
    pub(super) const fn new(connection: &'a Connection, queue: String, has_other_nodes: bool) -> Self {
        let (timeout, max_zero_counts) = if has_other_nodes {
            (NODE_TIMEOUT, CLUSTER_MAX_ZERO_COUNTS)
        } else {
            (OPERATION_TIMEOUT, MAX_ZERO_COUNTS)
        };
        Self {
            probe: TopologyProbe::new(connection),
            queue,
            timeout,
            max_zero_counts,
            checks_consensus: has_other_nodes,
        }
    }

    /// Waits for the poll interval, then polls. Pends forever if the broker user may not inspect the queue.
    ///
    /// # Errors
    /// The queue is gone, or the broker does not answer.
    pub(super) async fn next(mut self, fast: bool) -> Result<(Self, ConsumerCount), SessionError> {
        sleep(if fast { FAST_POLL_INTERVAL } else { POLL_INTERVAL }).await;
        let requested_at = Instant::now();
        let counting = timeout(self.timeout, self.probe.consumer_count(&self.queue));
        match counting.await.map_err(|_| self.timed_out("queue.declare"))?? {
            Some(consumers) => {
                let max_zero_counts = self.max_zero_counts;
                Ok((self, ConsumerCount { requested_at, consumers, max_zero_counts }))
            }
            None => pending().await,
        }
    }

    /// Checks that the node can commit a change of the queue, which takes a majority of its members. Must be called only
    /// while this daemon's consumer waits for a message: then the queue has none that the check would fetch.
    ///
    /// # Errors
    /// The broker does not answer, as on a node that was cut off.
    pub(super) async fn check_consensus(&mut self) -> Result<(), SessionError> {
        if self.checks_consensus {
            let fetching = timeout(self.timeout, self.probe.can_fetch(&self.queue));
            // A queue with a single active consumer refuses it.
            self.checks_consensus = fetching.await.map_err(|_| self.timed_out("basic.get"))??;
        }
        Ok(())
    }

    const fn timed_out(&self, operation: &'static str) -> SessionError {
        SessionError::Timeout { operation, timeout: self.timeout }
    }
}

/// Derives the consumers of other daemons from the counts, which include this daemon's own: the present one, and for a
/// while those of its lost sessions.
#[derive(Debug, Default)]
pub(super) struct OtherConsumers {
    /// The ends of this daemon's recent sessions.
    lost: VecDeque<Instant>,
    /// The first of the present session's consecutive counts with others.
    counted_since: Option<Instant>,
    /// How long others must be counted: a daemon that has just been killed is counted for up to three heartbeats.
    proof_time: Duration,
}

impl OtherConsumers {
    pub(super) fn start_session(&mut self, heartbeat: Duration) {
        (self.counted_since, self.proof_time) = (None, 3 * heartbeat);
    }

    pub(super) fn end_session(&mut self) {
        self.lost.push_back(Instant::now());
    }

    /// Returns the number of other consumers; 0 until they have been counted for long enough.
    pub(super) fn update(&mut self, count: ConsumerCount) -> u32 {
        let is_past = |ended: &Instant| count.requested_at.duration_since(*ended) > LOST_CONSUMER_LIFETIME;
        while self.lost.pop_front_if(|ended| is_past(ended)).is_some() {}
        let own = u32::try_from(self.lost.len()).unwrap_or(u32::MAX).saturating_add(1);
        let others = count.consumers.saturating_sub(own);
        if others == 0 {
            self.counted_since = None;
            return 0;
        }
        let since = *self.counted_since.get_or_insert(count.requested_at);
        if count.requested_at.duration_since(since) > self.proof_time { others } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(10);

    /// The others reported by counts of `consumers` every 10 s, for the given time.
    async fn others_within(others: &mut OtherConsumers, consumers: u32, time: Duration) -> Vec<u32> {
        let mut reported = Vec::new();
        for _ in 0..time.as_secs() / 10 {
            reported.push(others.update(ConsumerCount { requested_at: Instant::now(), consumers, max_zero_counts: 3 }));
            advance(HEARTBEAT).await;
        }
        reported
    }

    #[tokio::test(start_paused = true)]
    async fn consumer_of_lost_session_is_not_of_another_daemon() {
        let mut others = OtherConsumers::default();
        others.start_session(HEARTBEAT);
        others.end_session();
        others.start_session(HEARTBEAT);
        assert_eq!(others_within(&mut others, 2, LOST_CONSUMER_LIFETIME).await, [0; 9]);
        assert_eq!(others_within(&mut others, 1, LOST_CONSUMER_LIFETIME).await, [0; 9]);
    }

    #[tokio::test(start_paused = true)]
    async fn consumer_of_killed_daemon_is_not_of_another_daemon() {
        let mut others = OtherConsumers::default();
        others.start_session(HEARTBEAT);
        assert_eq!(others_within(&mut others, 2, 3 * HEARTBEAT).await, [0; 3]);
        assert_eq!(others_within(&mut others, 1, HEARTBEAT).await, [0]);
        assert_eq!(others_within(&mut others, 2, 3 * HEARTBEAT).await, [0; 3], "another one, counted anew");
    }

    #[tokio::test(start_paused = true)]
    async fn consumers_counted_for_longer_are_of_other_daemons() {
        let mut others = OtherConsumers::default();
        others.start_session(HEARTBEAT);
        assert_eq!(others_within(&mut others, 3, 5 * HEARTBEAT).await, [0, 0, 0, 0, 2]);
        // A lost session hides one of them for a while, not both.
        others.end_session();
        others.start_session(HEARTBEAT);
        assert_eq!(others_within(&mut others, 3, 5 * HEARTBEAT).await, [0, 0, 0, 0, 1]);
        assert_eq!(others_within(&mut others, 3, LOST_CONSUMER_LIFETIME).await.last(), Some(&2));
    }
}
