//! Events of publishing.

use std::time::Duration;

use tracing::{debug, trace, warn};

use super::event::{TelemetryEvent, millis};
use crate::{domain::message::Target, ports::PublishError, telemetry::state::TelemetryState};

/// The broker confirmed a publish.
#[derive(Clone, Copy, Debug)]
pub struct PublishConfirmed<'a> {
    /// The message's target.
    pub target: &'a Target,
    /// Time from the publish to the confirm.
    pub took: Duration,
}

impl TelemetryEvent for PublishConfirmed<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.broker.count_publish(self.target, Ok(self.took));
        state.health.record_progress();
    }

    fn log(&self) {
        let (publish_target, took_ms) = (label(self.target), millis(self.took));
        trace!(publish_target, took_ms, "publish confirmed by the broker ({publish_target})");
    }
}

/// A publish was returned, refused or not confirmed; the message is published again.
#[derive(Clone, Copy, Debug)]
pub struct PublishFailed<'a> {
    /// The message's target.
    pub target: &'a Target,
    /// Exchange and routing key.
    pub destination: &'a str,
    /// The cause.
    pub error: PublishError,
}

impl TelemetryEvent for PublishFailed<'_> {
    fn count(&self, state: &TelemetryState) {
        state.metrics.broker.count_publish(self.target, Err(self.error));
    }

    /// A missing confirm is `debug`: [`super::ConnectionLost`] logs its cause once for all messages.
    fn log(&self) {
        let (publish_target, destination, error) = (label(self.target), self.destination, self.error);
        match error {
            PublishError::Returned | PublishError::Refused => {
                warn!(publish_target, "publish to {destination} failed: {error}; publishing again");
            }
            PublishError::Unconfirmed => {
                debug!(publish_target, "publish to {destination} failed: {error}; publishing again");
            }
        }
    }
}

/// The metric label. The log field is `publish_target`, because `target` is the module in a log line.
fn label(target: &Target) -> &'static str {
    Target::LABELS.get(target.index()).copied().unwrap_or_default()
}
