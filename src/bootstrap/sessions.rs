//! The two connections to the broker: one consumes and acknowledges, the other publishes.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::adapters::SystemRandom;
use crate::{
    amqp::{
        AmqpInbox, AmqpSettler, BrokerAddresses, Consumer, OnOtherConsumers, Publisher,
        topology::{Topology, TopologyNames},
    },
    config::{BrokerSettings, Config},
    gate::Gate,
    pipeline::Drained,
    telemetry::Telemetry,
};

/// For both sessions to flush and close. Each of their steps has a timeout of its own.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// The pipeline's handles of the sessions, and the sessions themselves.
pub(super) struct BrokerHandles {
    pub(super) inbox: AmqpInbox,
    pub(super) settler: AmqpSettler,
    pub(super) publisher: Publisher,
    pub(super) sessions: BrokerSessions,
}

/// The tasks of the two sessions.
pub(super) struct BrokerSessions {
    /// Each returns whether it has flushed everything.
    tasks: JoinSet<bool>,
    stop: CancellationToken,
}

impl BrokerHandles {
    pub(super) fn start(
        config: &Config,
        gate: &Gate,
        telemetry: &Telemetry,
        are_messages_counted: Arc<AtomicBool>,
        on_other_consumers: OnOtherConsumers,
    ) -> Self {
        let BrokerSettings { uris, tls, prefix, declare, .. } = config.broker.clone();
        let (broker, names, stop) =
            (Arc::new(BrokerAddresses::new(uris, tls)), TopologyNames::new(&prefix), CancellationToken::new());
        let (publisher, publishing) =
            Publisher::new(broker.clone(), names.clone(), gate.clone(), telemetry.clone(), SystemRandom, stop.clone());
        let consumer = Consumer {
            declare: declare.then(|| Topology::new(&names, &config.delivery.tiers, config.events.default_queue)),
            names,
            tiers: config.delivery.tiers.clone(),
            prefetch: config.limits.prefetch(),
            max_bytes: config.limits.max_bytes,
            are_messages_counted,
            on_other_consumers,
            gate: gate.clone(),
            telemetry: telemetry.clone(),
        };
        let (inbox, settler, consuming) = consumer.start(broker, SystemRandom, stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(publishing);
        tasks.spawn(consuming);
        Self { inbox, settler, publisher, sessions: BrokerSessions { tasks, stop } }
    }
}

impl BrokerSessions {
    /// Resolves when a session ends, which happens only after [`BrokerSessions::close`] or a panic.
    pub(super) async fn any_ended(&mut self) {
        let _ = self.tasks.join_next().await;
    }

    /// Flushes and closes both. Commands whose acknowledgement is not flushed are redelivered, so the drain is not complete.
    pub(super) async fn close(mut self, drained: Drained) -> Drained {
        self.stop.cancel();
        let closing = async {
            let mut flushed = true;
            while let Some(ended) = self.tasks.join_next().await {
                flushed &= ended.unwrap_or(false);
            }
            flushed
        };
        let flushed = tokio::time::timeout(CLOSE_TIMEOUT, closing).await.unwrap_or(false);
        match drained {
            Drained::Complete if !flushed => Drained::Unflushed,
            other => other,
        }
    }
}
