//! What the tasks of one pipeline share.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    api_health::ApiHealth, doubt_tracker::DoubtTracker, outcome_claims::OutcomeClaims, publish_turns::PublishTurns,
    resolution::Resolution, settings::PipelineSettings,
};
use crate::{
    domain::retry,
    gate::Gate,
    ports::{Clock, Ports, Random},
    telemetry::Telemetry,
};

/// Settings, ports and shared state of one pipeline.
pub(super) struct PipelineContext<P: Ports> {
    pub(super) settings: PipelineSettings,
    pub(super) ports: P,
    pub(super) gate: Gate,
    pub(super) telemetry: Telemetry,
    pub(super) api_health: Arc<ApiHealth>,
    pub(super) outcome_claims: OutcomeClaims,
    pub(super) doubt_tracker: DoubtTracker,
    pub(super) publish_turns: PublishTurns,
    /// Cancelled at shutdown: no attempt starts from then on.
    pub(super) drain: CancellationToken,
}

impl<P: Ports> PipelineContext<P> {
    pub(super) fn new(
        settings: PipelineSettings,
        ports: P,
        gate: Gate,
        telemetry: Telemetry,
        drain: CancellationToken,
    ) -> Self {
        let api_health = Arc::new(ApiHealth::new(gate.clone(), settings.api_timeout, ports.clock().monotonic()));
        let (outcome_claims, doubt_tracker) = (OutcomeClaims::default(), DoubtTracker::default());
        let publish_turns = PublishTurns::default();
        Self { settings, ports, gate, telemetry, api_health, outcome_claims, doubt_tracker, publish_turns, drain }
    }

    /// Wall-clock time.
    pub(super) fn now(&self) -> Timestamp {
        self.ports.clock().now()
    }

    /// Monotonic time.
    pub(super) fn monotonic(&self) -> Instant {
        self.ports.clock().monotonic()
    }

    /// The wait after this many failures in a row, with jitter.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        retry::backoff(failures, self.ports.random().random_unit())
    }

    /// Sleeps; a shutdown ends it with [`Resolution::Requeued`].
    pub(super) async fn sleep(&self, duration: Duration) -> Result<(), Resolution> {
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(Resolution::Requeued),
            () = tokio::time::sleep(duration) => Ok(()),
        }
    }
}
