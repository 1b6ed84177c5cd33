//! Metrics of the broker connections, the consumer and publishes.

use std::time::Duration;

use prometheus::{Error, Histogram, IntCounter, IntGauge};

use super::family::{Children, Families};
use crate::{
    domain::{message::Target, tier::Tiers},
    ports::PublishError,
    telemetry::{
        broker_status::{IsolationReason, Role, WatchedQueue},
        health::Health,
    },
};

/// A quorum queue confirms in milliseconds; the publisher drops the session after 10 s without a confirm.
const CONFIRM_BOUNDS_S: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0, 30.0];

/// `Ok` is confirmed.
type PublishResult = Result<(), PublishError>;

const RESULTS: [(PublishResult, &str); 4] = [
    (Ok(()), "confirmed"),
    (Err(PublishError::Returned), "returned"),
    (Err(PublishError::Refused), "refused"),
    (Err(PublishError::Unconfirmed), "unconfirmed"),
];

/// Metrics of the broker connections, the consumer and publishes.
#[derive(Debug)]
pub(crate) struct BrokerMetrics {
    /// By [`Target::index`] and result.
    publishes: Children<(usize, PublishResult), IntCounter>,
    /// By [`Target::index`].
    confirm_seconds: Children<usize, Histogram>,
    /// By [`Target::index`].
    pub(crate) blocked_publishes: Children<usize, IntGauge>,
    queue_messages: Children<WatchedQueue, IntGauge>,
    /// By the tier's index among the configured tiers.
    tier_stuck: Children<usize, IntGauge>,
    connected: Children<Role, IntGauge>,
    reconnects: Children<Role, IntCounter>,
    consumer_active: IntGauge,
    consumers: IntGauge,
    isolation: Children<IsolationReason, IntGauge>,
    pub(crate) unconfirmed: IntGauge,
}

impl BrokerMetrics {
    pub(super) fn register(families: &Families<'_>, tiers: &Tiers) -> Result<Self, Error> {
        let queues: Vec<_> = WatchedQueue::all(tiers).map(|queue| (queue, queue.label(tiers))).collect();
        let targets = || Target::LABELS.into_iter().enumerate();
        let publishes =
            targets().flat_map(|(index, target)| RESULTS.map(|(result, label)| ((index, result), [target, label])));
        let roles = || Role::ALL.map(|role| (role, [role.as_str()]));
        Ok(Self {
            publishes: families.counters(
                ("publishes_total", "Messages published, by target and the broker's response."),
                ["target", "result"],
                publishes,
            )?,
            confirm_seconds: families.histograms(
                ("publish_confirm_seconds", "Time in seconds from a publish to the broker's confirm."),
                &CONFIRM_BOUNDS_S,
                ["target"],
                targets().map(|(index, target)| (index, [target])),
            )?,
            blocked_publishes: families.gauges(
                ("blocked_publishes", "Messages that wait because the broker does not accept publishes, by target."),
                ["target"],
                targets().map(|(index, target)| (index, [target])),
            )?,
            queue_messages: families.gauges(
                ("queue_messages", "Messages in the queue that wait to be consumed or to expire, at the last count."),
                ["queue"],
                queues.iter().map(|(queue, label)| (*queue, [label.as_str()])),
            )?,
            tier_stuck: families.gauges(
                ("tier_stuck", "1 while this delay queue does not return its messages."),
                ["tier"],
                tiers.iter().enumerate().map(|(index, tier)| (index, [tier.name.as_str()])),
            )?,
            connected: families.gauges(
                ("connected", "1 while this connection to the broker is up."),
                ["role"],
                roles(),
            )?,
            reconnects: families.counters(
                ("reconnects_total", "Reconnects to the broker after a lost connection."),
                ["role"],
                roles(),
            )?,
            consumer_active: families.gauge(("consumer_active", "1 while the broker delivers commands."))?,
            consumers: families.gauge((
                "consumers",
                "Consumers of the command queue, this daemon included. 0 before the broker's first count.",
            ))?,
            isolation: families.gauges(
                ("isolation", "1 while commands are taken one at a time, to isolate a message that ends sessions."),
                ["reason"],
                IsolationReason::ALL.map(|reason| (reason, [reason.as_str()])),
            )?,
            unconfirmed: families.gauge(("unconfirmed", "Publishes that await the broker's confirm."))?,
        })
    }

    /// `Ok` holds the time from the publish to the confirm.
    pub(crate) fn count_publish(&self, target: &Target, result: Result<Duration, PublishError>) {
        self.publishes.inc((target.index(), result.map(drop)));
        if let Ok(took) = result {
            self.confirm_seconds.observe(target.index(), took);
        }
    }

    pub(crate) fn set_queue_messages(&self, queue: WatchedQueue, messages: u64) {
        self.queue_messages.set_to(queue, i64::try_from(messages).unwrap_or(i64::MAX));
    }

    pub(crate) fn count_reconnect(&self, role: Role) {
        self.reconnects.inc(role);
    }

    /// Sets the gauges whose values [`Health`] keeps.
    pub(super) fn set_gauges(&self, health: &Health) {
        let broker = health.broker();
        for role in Role::ALL {
            self.connected.set(role, broker.connection(role).is_connected());
        }
        for (index, is_stuck) in health.stuck_tiers().into_iter().enumerate() {
            self.tier_stuck.set(index, is_stuck.is_some());
        }
        self.consumer_active.set(i64::from(broker.consumer_active));
        self.consumers.set(i64::from(broker.consumers));
        for reason in IsolationReason::ALL {
            self.isolation.set(reason, broker.isolation == Some(reason));
        }
    }
}
