//! The families about the broker.

use std::time::Duration;

use prometheus::{Error, Histogram, IntCounter, IntGauge};

use super::family::{Children, Families};
use crate::{
    domain::message::Target,
    ports::PublishError,
    telemetry::health::{Health, Role},
};

/// A quorum queue confirms in milliseconds; beyond 30 s the publisher gives the session up.
const CONFIRM_BOUNDS_S: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0, 30.0];

/// What became of a publish; `Ok` is confirmed.
type Published = Result<(), PublishError>;

const RESULTS: [(Published, &str); 4] = [
    (Ok(()), "confirmed"),
    (Err(PublishError::Returned), "returned"),
    (Err(PublishError::Refused), "refused"),
    (Err(PublishError::Unconfirmed), "unconfirmed"),
];

/// The broker: links, consumer, publishes.
#[derive(Debug)]
pub(crate) struct Broker {
    /// By [`Target::index`] and result.
    publishes: Children<(usize, Published), IntCounter>,
    confirm: Children<usize, Histogram>,
    connected: Children<Role, IntGauge>,
    reconnects: Children<Role, IntCounter>,
    consumer_active: IntGauge,
    consumers: IntGauge,
    /// Publishes whose confirm is awaited.
    pub(crate) unconfirmed: IntGauge,
}

impl Broker {
    pub(super) fn register(families: &Families<'_>) -> Result<Self, Error> {
        let targets = || Target::LABELS.into_iter().enumerate();
        let publishes = targets()
            .flat_map(|(index, target)| RESULTS.map(|(published, result)| ((index, published), [target, result])));
        let roles = || Role::ALL.map(|role| (role, [role.as_str()]));
        Ok(Self {
            publishes: families.counters(
                ("publishes_total", "Messages published, by where to and what the broker said."),
                ["target", "result"],
                publishes,
            )?,
            confirm: families.histograms(
                ("publish_confirm_seconds", "Time from a publish to the broker's confirm."),
                &CONFIRM_BOUNDS_S,
                ["target"],
                targets().map(|(index, target)| (index, [target])),
            )?,
            connected: families.gauges(("connected", "1 while this link to the broker is up."), ["role"], roles())?,
            reconnects: families.counters(
                ("reconnects_total", "How often this link came back after it was lost."),
                ["role"],
                roles(),
            )?,
            consumer_active: families.gauge(("consumer_active", "1 while the broker hands commands out to us."))?,
            consumers: families.gauge((
                "consumers",
                "Consumers of the queue of commands, ours included, as the broker counts them; 0 before it was asked.",
            ))?,
            unconfirmed: families.gauge(("unconfirmed", "Publishes whose confirm is awaited."))?,
        })
    }

    /// Confirmed after this time, or not.
    pub(crate) fn published(&self, target: &Target, result: Result<Duration, PublishError>) {
        self.publishes.inc((target.index(), result.map(drop)));
        if let Ok(took) = result {
            self.confirm.observe(target.index(), took);
        }
    }

    pub(crate) fn reconnected(&self, role: Role) {
        self.reconnects.inc(role);
    }

    /// Copies what is known of the links, which is kept in one place, into the gauges.
    pub(super) fn show(&self, health: &Health) {
        let broker = health.broker();
        for role in Role::ALL {
            self.connected.set(role, broker.link(role).is_up());
        }
        self.consumer_active.set(i64::from(broker.consumer_active));
        self.consumers.set(i64::from(broker.consumers));
    }
}
