//! Counts the messages of the queues, and checks that the topology still exists, while a session lasts.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lapin::Connection;
use tokio::time::sleep;

use super::{
    consumer::Consumer,
    error::SessionError,
    topology::{Inspection, Topology, TopologyProbe},
};
use crate::telemetry::{
    WatchedQueue,
    events::{TopologyMissing, TopologyVerified},
};

/// A passive declaration costs the broker next to nothing.
const INTERVAL: Duration = Duration::from_secs(10);

/// Polls on a channel of its own.
pub(super) struct QueueCounter<'a> {
    probe: TopologyProbe<'a>,
    consumer: Arc<Consumer>,
    is_topology_missing: bool,
    /// Optional queues that do not exist: the broker would log each further request.
    absent: Vec<WatchedQueue>,
}

impl<'a> QueueCounter<'a> {
    pub(super) fn new(connection: &'a Connection, consumer: Arc<Consumer>) -> Self {
        Self { probe: TopologyProbe::new(connection), consumer, is_topology_missing: false, absent: Vec::new() }
    }

    /// Polls until it is dropped, or until the user turns out not to be allowed to inspect. A failed poll is repeated: the
    /// session itself detects a lost connection.
    pub(super) async fn run(mut self) -> Infallible {
        loop {
            sleep(INTERVAL).await;
            if let Ok(false) = self.poll().await {
                return pending().await;
            }
        }
    }

    /// Returns whether the user may inspect the topology.
    async fn poll(&mut self) -> Result<bool, SessionError> {
        let consumer = self.consumer.clone();
        let Consumer { names, tiers, are_messages_counted, .. } = &*consumer;
        let Inspection { missing, is_refused } = Topology::inspect_required(names, tiers, &mut self.probe).await?;
        if is_refused {
            return Ok(false);
        }
        let is_complete = missing.is_empty();
        self.report(missing);
        if is_complete && !are_messages_counted.load(Ordering::Relaxed) {
            self.count_messages().await?;
        }
        Ok(true)
    }

    /// Reports a change.
    fn report(&mut self, missing: Vec<String>) {
        let is_missing = !missing.is_empty();
        if std::mem::replace(&mut self.is_topology_missing, is_missing) == is_missing {
            return;
        }
        let telemetry = &self.consumer.telemetry;
        if is_missing {
            telemetry.record(TopologyMissing { problem: &SessionError::Missing(missing).to_string() });
        } else {
            telemetry.record(TopologyVerified);
        }
    }

    async fn count_messages(&mut self) -> Result<(), SessionError> {
        let Consumer { names, tiers, telemetry, .. } = &*self.consumer;
        for queue in WatchedQueue::all(tiers) {
            if self.absent.contains(&queue) {
                continue;
            }
            match self.probe.queue_counts(&names.watched(queue, tiers)).await {
                Ok(Some(counts)) => telemetry.observe_queue(queue, counts.ready.into()),
                Ok(None) | Err(SessionError::Missing(_)) => self.absent.push(queue),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
