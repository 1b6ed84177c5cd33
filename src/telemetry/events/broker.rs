//! Events of the broker connections, the consumer and the topology.

use std::time::Duration;

use tracing::{debug, error, info, trace, warn};

use super::event::{TelemetryEvent, millis};
use crate::{
    ports::{Clock, SystemClock},
    telemetry::{broker_status::Role, state::TelemetryState},
};

/// A connection to the broker was opened.
#[derive(Clone, Copy, Debug)]
pub struct Connected {
    /// The connection's role.
    pub role: Role,
}

impl TelemetryEvent for Connected {
    fn count(&self, state: &TelemetryState) {
        if state.health.connected(self.role, SystemClock.now()) {
            state.metrics.broker.count_reconnect(self.role);
        }
        state.health.record_progress();
    }

    fn log(&self) {
        let role = self.role.as_str();
        info!(role, "connected to the broker ({role})");
    }
}

/// A connection to the broker was lost.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLost<'a> {
    /// The connection's role.
    pub role: Role,
    /// The cause, and what to do if a reconnect does not help; without a password. Shown by `/readyz`.
    pub problem: &'a str,
}

impl TelemetryEvent for ConnectionLost<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.disconnected(self.role, SystemClock.now(), self.problem);
    }

    fn log(&self) {
        let (role, problem) = (self.role.as_str(), self.problem);
        warn!(role, problem, "connection to the broker ({role}) lost: {problem}; reconnecting");
    }
}

/// A connection to the broker could not be opened.
#[derive(Clone, Copy, Debug)]
pub struct ConnectFailed<'a> {
    /// The connection's role.
    pub role: Role,
    /// The cause, and what to do; without a password. Shown by `/readyz`.
    pub problem: &'a str,
    /// The delay before the next try.
    pub retry_in: Duration,
}

impl TelemetryEvent for ConnectFailed<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.disconnected(self.role, SystemClock.now(), self.problem);
    }

    fn log(&self) {
        let (role, problem, retry_in_ms) = (self.role.as_str(), self.problem, millis(self.retry_in));
        warn!(
            role,
            problem, retry_in_ms, "connecting to the broker ({role}) failed: {problem}; retrying in {retry_in_ms} ms"
        );
    }
}

/// The broker started to deliver commands.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerStarted<'a> {
    /// The queue.
    pub queue: &'a str,
    /// Maximum number of unacknowledged deliveries.
    pub prefetch: u16,
}

impl TelemetryEvent for ConsumerStarted<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.set_consumer_active(true);
        state.health.record_progress();
    }

    fn log(&self) {
        let Self { queue, prefetch } = *self;
        info!(queue, prefetch, "consuming from queue {queue:?} with prefetch {prefetch}");
    }
}

/// The broker no longer delivers commands.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerStopped<'a> {
    /// The cause.
    pub why: &'a str,
}

impl TelemetryEvent for ConsumerStopped<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.set_consumer_active(false);
    }

    fn log(&self) {
        let why = self.why;
        info!(why, "consumer stopped: {why}");
    }
}

/// The broker reported the number of consumers of the command queue.
#[derive(Clone, Copy, Debug)]
pub struct ConsumersCounted {
    /// Including this daemon.
    pub consumers: u32,
}

impl TelemetryEvent for ConsumersCounted {
    fn count(&self, state: &TelemetryState) {
        state.health.set_consumers(self.consumers);
    }

    fn log(&self) {
        trace!(consumers = self.consumers, "the command queue has {} consumers", self.consumers);
    }
}

/// What an operator does about an incomplete topology, for logs and `/readyz`.
pub const TOPOLOGY_REMEDY: &str = "run `edna-courier topology apply` as a user that may declare, import the output of \
    `edna-courier topology export`, or set broker.declare = true";

/// An exchange, a queue or a binding is missing, or has other arguments.
#[derive(Clone, Copy, Debug)]
pub struct TopologyMissing<'a> {
    /// The missing or different items, by kind and name; [`TOPOLOGY_REMEDY`] is appended.
    pub problem: &'a str,
}

impl TelemetryEvent for TopologyMissing<'_> {
    fn count(&self, state: &TelemetryState) {
        state.health.set_topology_problem(Some(self.problem));
    }

    fn log(&self) {
        let problem = self.problem;
        error!(problem, "topology verification failed: {problem}; {TOPOLOGY_REMEDY}");
    }
}

/// What an operator does about a stuck tier, for logs and `/readyz`.
pub const STUCK_TIER_REMEDY: &str = "run `edna-courier topology verify`; check that the exchange and the queue of commands \
    exist, and the broker's log for errors of dead-lettering; restarting the node of the queue's leader restarts dead-lettering";

/// A delay queue does not return its messages, or does so again.
#[derive(Clone, Copy, Debug)]
pub struct TierWatched<'a> {
    /// The tier's name.
    pub tier: &'a str,
    /// The messages in the queue.
    pub messages: u64,
    /// Whether it does not return them.
    pub is_stuck: bool,
}

impl TelemetryEvent for TierWatched<'_> {
    /// The count that led to this event has set the state.
    fn count(&self, _: &TelemetryState) {}

    fn log(&self) {
        let Self { tier, messages, is_stuck } = *self;
        if is_stuck {
            error!(
                tier,
                messages,
                "queue retry.{tier} does not return its {messages} messages, although nothing was sent to it for longer than \
                 {tier}; {STUCK_TIER_REMEDY}"
            );
        } else {
            info!(tier, messages, "queue retry.{tier} returns its messages again");
        }
    }
}

/// The topology is complete.
#[derive(Clone, Copy, Debug)]
pub struct TopologyVerified;

impl TelemetryEvent for TopologyVerified {
    fn count(&self, state: &TelemetryState) {
        state.health.set_topology_problem(None);
    }

    fn log(&self) {
        debug!("topology verified: it is complete");
    }
}
