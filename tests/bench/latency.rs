//! How long a command takes at an even pace that neither side can slow down.
//!
//! The clock of a command starts at the time the schedule gives it, whether or not the producer kept up: a side that
//! stalls is charged for everything that piled up meanwhile.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{
    cases::Pace,
    events::Events,
    load::Producer,
    report::{self, Figure},
    settings::Settings,
    side::Side,
    stand_in::StandIn,
    support::{SOON, broker::Broker, queues::Queues},
};

/// More than enough: a fifth of a second's commands.
pub(crate) const IN_FLIGHT: u16 = 100;
const KEYS: usize = 10_000;
const TEXT_BYTES: usize = 150;
/// One in so many commands is for warming up.
const WARM_UP: usize = 10;
const LONGEST_US: u64 = 60_000_000;

/// Lets both sides work in turn, and tells each run and the ratios.
pub(crate) async fn compare(broker: &Broker, settings: &Settings, pace: &Pace) -> Value {
    let pace = Pace { commands: settings.commands.unwrap_or(pace.commands), ..*pace };
    report::compare(settings.pairs, async |side| run(broker, settings, &pace, side).await).await
}

async fn run(broker: &Broker, settings: &Settings, pace: &Pace, side: Side) -> Vec<Figure> {
    let queues = Queues::on(broker, "bench").await;
    let producer = Producer::on(&queues).await;
    let mut events = Events::of(&queues).await;
    let api = StandIn::start(pace.latency).await;
    let process = side.start(settings, &queues, &api, IN_FLIGHT);
    let text = "t".repeat(TEXT_BYTES);
    // The last number, so that it is in nobody's way: when its event is there, so is everything else.
    producer.send(pace.commands, KEYS, &text).await;
    assert_eq!(timeout(SOON, events.next()).await, Ok(pace.commands), "{}: a first event", side.name());

    let (period, start) = (Duration::from_secs(1) / pace.per_second, Instant::now() + Duration::from_millis(100));
    let due = |number: usize| start + period * u32::try_from(number).expect("a number");
    let produce = async {
        let mut ticks = interval_at(start, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0..pace.commands {
            ticks.tick().await;
            producer.send(number, KEYS, &text).await;
        }
    };
    let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST_US, 3).expect("sound bounds");
    let consume = async {
        for _ in 0..pace.commands {
            let number = events.next().await;
            let took = Instant::now().saturating_duration_since(due(number));
            if number >= pace.commands / WARM_UP {
                histogram.saturating_record(u64::try_from(took.as_micros()).expect("no eternity"));
            }
        }
    };
    let deadline = SOON + (due(pace.commands) - start);
    let done = timeout(deadline, async { tokio::join!(produce, consume) }).await;
    done.unwrap_or_else(|_| panic!("{}: not all events came in time", side.name()));
    process.end().await;
    assert_eq!(api.end().await, pace.commands + 1, "{}: a POST for each command", side.name());
    figures(&histogram)
}

fn figures(histogram: &Histogram<u64>) -> Vec<Figure> {
    let ms = |us: u64| report::ms(Duration::from_micros(us));
    let figure = |name, text, us| Figure { name, text, value: ms(us), compared: true };
    vec![
        figure("p50_ms", "ms p50", histogram.value_at_quantile(0.5)),
        figure("p99_ms", "ms p99", histogram.value_at_quantile(0.99)),
        figure("max_ms", "ms max", histogram.max()),
    ]
}
