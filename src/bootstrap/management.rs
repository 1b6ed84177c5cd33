//! Polls the management API, if `broker.management_url` names it: it counts the messages that AMQP does not show.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::{
    amqp::{ManagementApi, ManagementError, topology::TopologyNames},
    config::BrokerSettings,
    domain::tier::Tiers,
    telemetry::{Telemetry, WatchedQueue},
};

/// RabbitMQ updates the counts every 5 s.
const INTERVAL: Duration = Duration::from_secs(10);
/// What to do about a disabled feature flag.
const STREAM_QUEUE_DISABLED: &str = "the broker's feature flag stream_queue is disabled: RabbitMQ 3.10 and 3.11 then \
    dead-letter at most once, and a delayed command may be lost; run `rabbitmqctl enable_feature_flag stream_queue`";

/// Counts the messages of the daemon's queues.
pub(super) struct ManagementPoller {
    api: ManagementApi,
    names: TopologyNames,
    tiers: Tiers,
    telemetry: Telemetry,
    /// The last count succeeded; AMQP counts the messages while it is not set.
    is_counting: Arc<AtomicBool>,
    /// The last poll failed.
    has_failed: bool,
    flags_checked: bool,
}

impl ManagementPoller {
    /// `None` without `broker.management_url`.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub(super) fn new(
        broker: &BrokerSettings,
        tiers: &Tiers,
        telemetry: &Telemetry,
    ) -> Result<Option<Self>, ManagementError> {
        let api = broker.management_api()?;
        Ok(api.map(|api| Self {
            api,
            names: TopologyNames::new(&broker.prefix),
            tiers: tiers.clone(),
            telemetry: telemetry.clone(),
            is_counting: Arc::default(),
            has_failed: false,
            flags_checked: false,
        }))
    }

    /// Set while the API counts the messages.
    pub(super) fn is_counting(&self) -> Arc<AtomicBool> {
        self.is_counting.clone()
    }

    /// Polls until it is dropped.
    pub(super) async fn run(mut self) -> Infallible {
        loop {
            let result = self.poll().await;
            let had_failed = std::mem::replace(&mut self.has_failed, result.is_err());
            match result {
                Ok(()) if had_failed => info!("the management API answers again"),
                Err(problem) if !had_failed => {
                    warn!(%problem, "{problem}; messages that the broker cannot dead-letter are not counted meanwhile");
                }
                Ok(()) | Err(_) => {}
            }
            sleep(INTERVAL).await;
        }
    }

    async fn poll(&mut self) -> Result<(), ManagementError> {
        let counted = self.count_messages().await;
        self.is_counting.store(counted.is_ok(), Ordering::Relaxed);
        counted?;
        self.check_feature_flags().await
    }

    async fn count_messages(&self) -> Result<(), ManagementError> {
        for queue in WatchedQueue::all(&self.tiers) {
            let name = self.names.watched(queue, &self.tiers);
            if let Some(messages) = self.api.queue(&name).await?.and_then(|queue| queue.messages) {
                self.telemetry.observe_queue(queue, messages);
            }
        }
        Ok(())
    }

    /// Once: a flag cannot be disabled again.
    async fn check_feature_flags(&mut self) -> Result<(), ManagementError> {
        if !self.flags_checked {
            if self.api.is_stream_queue_disabled().await? == Some(true) {
                error!("{STREAM_QUEUE_DISABLED}");
            }
            self.flags_checked = true;
        }
        Ok(())
    }
}
