//! What happens between us and the broker.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, error, info, trace, warn};

use super::{Event, millis};
use crate::{
    domain::message::Target,
    ports::PublishError,
    telemetry::{Role, Telemetry},
};

/// A link to the broker is up.
#[derive(Clone, Copy, Debug)]
pub struct Connected {
    /// Which link.
    pub role: Role,
}

impl Event for Connected {
    fn count(&self, telemetry: &Telemetry) {
        if telemetry.inner.health.connected(self.role, Timestamp::now()) {
            telemetry.inner.metrics.broker.reconnected(self.role);
        }
        telemetry.moved();
    }

    fn log(&self) {
        let role = self.role.as_str();
        info!(role, "connected to the broker ({role})");
    }
}

/// A link to the broker broke.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLost<'a> {
    /// Which link.
    pub role: Role,
    /// Why, and what to do where it won't mend itself; without a password in it. `/readyz` shows it.
    pub problem: &'a str,
}

impl Event for ConnectionLost<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.health.disconnected(self.role, Timestamp::now(), self.problem);
    }

    fn log(&self) {
        let (role, problem) = (self.role.as_str(), self.problem);
        warn!(role, problem, "lost the connection to the broker ({role}): {problem}; connecting again");
    }
}

/// A link to the broker could not be made.
#[derive(Clone, Copy, Debug)]
pub struct ConnectFailed<'a> {
    /// Which link.
    pub role: Role,
    /// Why, and what to do; without a password in it. `/readyz` shows it.
    pub problem: &'a str,
    /// The wait before the next try.
    pub retry_in: Duration,
}

impl Event for ConnectFailed<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.health.disconnected(self.role, Timestamp::now(), self.problem);
    }

    fn log(&self) {
        let (role, problem, retry_in_ms) = (self.role.as_str(), self.problem, millis(self.retry_in));
        warn!(
            role,
            problem,
            retry_in_ms,
            "could not connect to the broker ({role}): {problem}; trying again in {retry_in_ms} ms"
        );
    }
}

/// The broker hands commands out to us.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerStarted<'a> {
    /// From which queue.
    pub queue: &'a str,
    /// So many at once.
    pub prefetch: u16,
}

impl Event for ConsumerStarted<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.health.set_consumer_active(true);
        telemetry.moved();
    }

    fn log(&self) {
        let Self { queue, prefetch } = *self;
        info!(queue, prefetch, "taking commands from the queue {queue:?}, up to {prefetch} at once");
    }
}

/// The broker no longer hands commands out to us.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerStopped<'a> {
    /// Why.
    pub why: &'a str,
}

impl Event for ConsumerStopped<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.health.set_consumer_active(false);
    }

    fn log(&self) {
        let why = self.why;
        info!(why, "no longer taking commands: {why}");
    }
}

/// The broker told how many consumers the queue of commands has, ours included.
#[derive(Clone, Copy, Debug)]
pub struct ConsumersCounted {
    /// So many.
    pub consumers: u32,
}

impl Event for ConsumersCounted {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.health.set_consumers(self.consumers);
    }

    fn log(&self) {
        trace!(consumers = self.consumers, "the queue of commands has {} consumers", self.consumers);
    }
}

/// The broker stored a message of ours.
#[derive(Clone, Copy, Debug)]
pub struct PublishConfirmed<'a> {
    /// Where it went.
    pub target: &'a Target,
    /// From the publish to the confirm.
    pub took: Duration,
}

impl Event for PublishConfirmed<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.broker.published(self.target, Ok(self.took));
        telemetry.moved();
    }

    fn log(&self) {
        let (publish_target, took_ms) = (label(self.target), millis(self.took));
        trace!(publish_target, took_ms, "the broker confirmed a publish ({publish_target})");
    }
}

/// A message of ours is not known to be stored; it is published again.
#[derive(Clone, Copy, Debug)]
pub struct PublishFailed<'a> {
    /// Where it should have gone.
    pub target: &'a Target,
    /// Why it did not.
    pub error: PublishError,
}

impl Event for PublishFailed<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.metrics.broker.published(self.target, Err(self.error));
    }

    /// What follows from a lost link is told once, by [`ConnectionLost`], and not again for each message.
    fn log(&self) {
        let (publish_target, error) = (label(self.target), self.error);
        match error {
            PublishError::Returned | PublishError::Refused => {
                warn!(publish_target, "could not publish ({publish_target}): {error}; publishing it again");
            }
            PublishError::Unconfirmed => {
                debug!(publish_target, "could not publish ({publish_target}): {error}; publishing it again");
            }
        }
    }
}

/// The word in metrics; the log's own `target` is the module, hence another field name there.
fn label(target: &Target) -> &'static str {
    Target::LABELS.get(target.index()).copied().unwrap_or_default()
}

/// What an operator does about an incomplete topology, for logs and `/readyz`.
pub const TOPOLOGY_REMEDY: &str = "run `edna-courier topology apply` as a user that may declare, import what \
    `edna-courier topology export` prints, or set broker.declare = true";

/// The broker lacks something that we need, or has something else in its place.
#[derive(Clone, Copy, Debug)]
pub struct TopologyMissing<'a> {
    /// What, by kind and name; [`TOPOLOGY_REMEDY`] is added.
    pub problem: &'a str,
}

impl Event for TopologyMissing<'_> {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.health.set_topology_problem(Some(self.problem));
    }

    fn log(&self) {
        let problem = self.problem;
        error!(problem, "the topology is not as we need it: {problem}; {TOPOLOGY_REMEDY}");
    }
}

/// Everything that we need is there.
#[derive(Clone, Copy, Debug)]
pub struct TopologyVerified;

impl Event for TopologyVerified {
    fn count(&self, telemetry: &Telemetry) {
        telemetry.inner.health.set_topology_problem(None);
    }

    fn log(&self) {
        debug!("the topology is complete");
    }
}
