//! The families about commands.

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

/// From a blip to a long outage: commands may be minutes or hours old when they end.
const AGE_BOUNDS_S: [f64; 15] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0];

/// Rates of one to thousands a second.
const RATE_WAIT_BOUNDS_S: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0];

/// What happens to the order of a device's commands.
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

/// Commands: taken, in hand, ended.
#[derive(Debug)]
pub(crate) struct Commands {
    received: Children<bool, IntCounter>,
    /// By reason; `None` is success.
    finished: Children<Option<Reason>, IntCounter>,
    /// By the tier's place among the tiers.
    retries: Children<usize, IntCounter>,
    age: Histogram,
    queue_wait: Histogram,
    possible_duplicates: IntCounter,
    repeats: IntCounter,
    rate_wait: Histogram,
    lanes: Children<OrderEvent, IntCounter>,
    last_success: Gauge,
    /// Commands taken and not yet settled.
    pub(crate) in_hand: IntGauge,
}

impl Commands {
    pub(super) fn register(families: &Families<'_>, tiers: &Tiers) -> Result<Self, Error> {
        Ok(Self {
            received: families.counters(
                (
                    "commands_received_total",
                    "Commands taken from the queue; redelivered ones may have been posted before.",
                ),
                ["redelivered"],
                [(false, ["false"]), (true, ["true"])],
            )?,
            finished: families.counters(
                ("commands_finished_total", "Commands that reached their end, by outcome and reason."),
                ["outcome", "reason"],
                endings(),
            )?,
            retries: families.counters(
                ("retries_total", "Commands that were sent to a tier to wait there, by tier."),
                ["tier"],
                tiers.iter().enumerate().map(|(place, tier)| (place, [tier.name.as_str()])),
            )?,
            age: families.histogram(
                ("command_age_seconds", "Time from the first sight of a command to its outcome."),
                &AGE_BOUNDS_S,
            )?,
            queue_wait: families.histogram(
                ("queue_wait_seconds", "Time from a command's AMQP timestamp to the daemon taking it."),
                &AGE_BOUNDS_S,
            )?,
            possible_duplicates: families.counter((
                "possible_duplicates_total",
                "Commands that ended after more than one request of theirs may have reached the API.",
            ))?,
            repeats: families.counter((
                "repeats_total",
                "Commands that came again after their end: the event was told again, and nothing was sent.",
            ))?,
            rate_wait: families.histogram(
                ("rate_wait_seconds", "Time that nothing but rates held an attempt back; most wait for none."),
                &RATE_WAIT_BOUNDS_S,
            )?,
            lanes: families.counters(
                (
                    "order_events_total",
                    "Commands that went to a tier behind another of their device or for want of room, and whose order was \
                     given up.",
                ),
                ["event"],
                OrderEvent::LABELS,
            )?,
            last_success: families.fractional_gauge((
                "last_success_timestamp_seconds",
                "When the last command succeeded, as Unix time; 0 before the first.",
            ))?,
            in_hand: families.gauge(("in_hand", "Commands taken from the queue and not yet settled."))?,
        })
    }

    /// `waited` is the time in the queue, when the producer dated the message.
    pub(crate) fn received(&self, redelivered: bool, waited: Option<Duration>) {
        self.received.inc(redelivered);
        if let Some(waited) = waited {
            self.queue_wait.observe(waited.as_secs_f64());
        }
    }

    pub(crate) fn rate_waited(&self, wait: Duration) {
        self.rate_wait.observe(wait.as_secs_f64());
    }

    /// What happened between the two looks.
    pub(crate) fn lanes(&self, before: OrderCounters, now: OrderCounters) {
        self.lanes.inc_by(OrderEvent::Behind, now.behind - before.behind);
        self.lanes.inc_by(OrderEvent::Overflowed, now.overflowed - before.overflowed);
        self.lanes.inc_by(OrderEvent::Forgotten, now.forgotten - before.forgotten);
        self.lanes.inc_by(OrderEvent::GivenUp, now.given_up - before.given_up);
    }

    /// A command whose end was known came again.
    pub(crate) fn repeated(&self) {
        self.repeats.inc();
    }

    /// `place` is the tier's among the tiers.
    pub(crate) fn parked(&self, place: usize) {
        self.retries.inc(place);
    }

    /// `reason` is `None` when the command succeeded.
    pub(crate) fn finished(&self, reason: Option<Reason>, age: Duration, possible_duplicate: bool) {
        self.finished.inc(reason);
        self.age.observe(age.as_secs_f64());
        if possible_duplicate {
            self.possible_duplicates.inc();
        }
    }

    /// Copies the time of the last success, which is kept in one place, into its gauge.
    pub(super) fn show(&self, health: &Health) {
        let at = health.last_success().unwrap_or_default();
        self.last_success.set(at.as_duration().as_secs_f64());
    }
}

/// The pairs of outcome and reason that the daemon can write; `poison` is the broker's.
fn endings() -> impl Iterator<Item = (Option<Reason>, [&'static str; 2])> {
    let written = Reason::ALL.into_iter().filter(|reason| *reason != Reason::Poison);
    iter::once((None, [Outcome::Succeeded.as_str(), "none"]))
        .chain(written.map(|reason| (Some(reason), [reason.outcome().as_str(), reason.as_str()])))
}
