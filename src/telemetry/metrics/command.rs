//! Metrics of commands.

use std::{iter, time::Duration};

use prometheus::{Error, Gauge, Histogram, IntCounter, IntGauge};

use super::family::{Children, Families};
use crate::{
    domain::{
        reason::{Outcome, Reason},
        schedule::OrderCounters,
        tier::Tiers,
    },
    telemetry::health::Health,
};

/// Commands may be hours old after a long outage.
const AGE_BOUNDS_S: [f64; 15] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0];

/// For rates from one to thousands per second.
const RATE_WAIT_BOUNDS_S: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0];

/// The label of `order_events_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderEvent {
    Behind,
    Overflowed,
    Forgotten,
    GivenUp,
}

impl OrderEvent {
    const LABELS: [(Self, [&'static str; 1]); 4] = [
        (Self::Behind, ["behind"]),
        (Self::Overflowed, ["overflowed"]),
        (Self::Forgotten, ["forgotten"]),
        (Self::GivenUp, ["given_up"]),
    ];
}

/// Metrics of commands.
#[derive(Debug)]
pub(crate) struct CommandMetrics {
    /// By `redelivered`.
    received: Children<bool, IntCounter>,
    /// By reason; `None` is success.
    finished: Children<Option<Reason>, IntCounter>,
    /// By the tier's index among the configured tiers.
    retries: Children<usize, IntCounter>,
    age_seconds: Histogram,
    queue_wait_seconds: Histogram,
    possible_duplicates: IntCounter,
    repeats: IntCounter,
    rate_wait_seconds: Histogram,
    order_events: Children<OrderEvent, IntCounter>,
    last_success: Gauge,
    pub(crate) in_hand: IntGauge,
}

impl CommandMetrics {
    pub(super) fn register(families: &Families<'_>, tiers: &Tiers) -> Result<Self, Error> {
        Ok(Self {
            received: families.counters(
                ("commands_received_total", "Commands received. A redelivered one may have been posted before."),
                ["redelivered"],
                [(false, ["false"]), (true, ["true"])],
            )?,
            finished: families.counters(
                ("commands_finished_total", "Commands finished, by outcome and reason."),
                ["outcome", "reason"],
                outcomes(),
            )?,
            retries: families.counters(
                ("retries_total", "Commands delayed in a tier."),
                ["tier"],
                tiers.iter().enumerate().map(|(index, tier)| (index, [tier.name.as_str()])),
            )?,
            age_seconds: families.histogram(
                ("command_age_seconds", "Time in seconds from a command's first delivery to its outcome."),
                &AGE_BOUNDS_S,
            )?,
            queue_wait_seconds: families.histogram(
                ("queue_wait_seconds", "Time in seconds from a command's AMQP timestamp to its delivery."),
                &AGE_BOUNDS_S,
            )?,
            possible_duplicates: families.counter((
                "possible_duplicates_total",
                "Commands finished after more than one of their requests may have reached the API.",
            ))?,
            repeats: families.counter((
                "repeats_total",
                "Finished commands that were delivered again. Their event is published again, without a POST.",
            ))?,
            rate_wait_seconds: families.histogram(
                (
                    "rate_wait_seconds",
                    "Time in seconds that only rate limits held an attempt back. 0 for most attempts.",
                ),
                &RATE_WAIT_BOUNDS_S,
            )?,
            order_events: families.counters(
                (
                    "order_events_total",
                    "Commands delayed behind another of their device (behind) or because its lane was full (overflowed), \
                     and commands whose order was given up (forgotten, given_up).",
                ),
                ["event"],
                OrderEvent::LABELS,
            )?,
            last_success: families.float_gauge((
                "last_success_timestamp_seconds",
                "Unix time in seconds when a command last succeeded. 0 before the first success.",
            ))?,
            in_hand: families.gauge(("in_hand", "Commands received and not yet settled."))?,
        })
    }

    /// `waited` is the time in the queue, if the message has a timestamp.
    pub(crate) fn count_received(&self, redelivered: bool, waited: Option<Duration>) {
        self.received.inc(redelivered);
        if let Some(waited) = waited {
            self.queue_wait_seconds.observe(waited.as_secs_f64());
        }
    }

    pub(crate) fn observe_rate_wait(&self, wait: Duration) {
        self.rate_wait_seconds.observe(wait.as_secs_f64());
    }

    pub(crate) fn count_order_events(&self, before: OrderCounters, now: OrderCounters) {
        self.order_events.inc_by(OrderEvent::Behind, now.behind - before.behind);
        self.order_events.inc_by(OrderEvent::Overflowed, now.overflowed - before.overflowed);
        self.order_events.inc_by(OrderEvent::Forgotten, now.forgotten - before.forgotten);
        self.order_events.inc_by(OrderEvent::GivenUp, now.given_up - before.given_up);
    }

    pub(crate) fn count_repeat(&self) {
        self.repeats.inc();
    }

    pub(crate) fn count_delayed(&self, tier_index: usize) {
        self.retries.inc(tier_index);
    }

    /// `reason` is `None` if the command succeeded.
    pub(crate) fn count_finished(&self, reason: Option<Reason>, age: Duration, possible_duplicate: bool) {
        self.finished.inc(reason);
        self.age_seconds.observe(age.as_secs_f64());
        if possible_duplicate {
            self.possible_duplicates.inc();
        }
    }

    /// Sets the gauge whose value [`Health`] keeps.
    pub(super) fn set_gauges(&self, health: &Health) {
        let at = health.last_success().unwrap_or_default();
        self.last_success.set(at.as_duration().as_secs_f64());
    }
}

/// The pairs of outcome and reason that the daemon writes; only the broker writes `poison`.
fn outcomes() -> impl Iterator<Item = (Option<Reason>, [&'static str; 2])> {
    let failures = Reason::ALL.into_iter().filter(|reason| *reason != Reason::Poison);
    iter::once((None, [Outcome::Succeeded.as_str(), "none"]))
        .chain(failures.map(|reason| (Some(reason), [reason.outcome().as_str(), reason.as_str()])))
}
