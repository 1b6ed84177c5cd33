//! The latency of commands that arrive at a constant rate.
//!
//! It counts from the scheduled time of a command, whether or not the producer kept up, so that a stall counts for all
//! commands delayed by it (no coordinated omission).

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{
    args::BenchArgs,
    cases::Pace,
    events::Events,
    load::Producer,
    program::Program,
    report::{self, Figure},
    stub_api::StubApi,
    support::{TIMEOUT, broker::Broker, queues::Queues},
};

const KEYS: usize = 10_000;
const TEXT_BYTES: usize = 150;
/// The first 1/`WARM_UP_SHARE` of the commands is not measured.
const WARM_UP_SHARE: usize = 10;
const LONGEST_US: u64 = 60_000_000;

/// Measures all programs in turn and reports the runs and ratios.
pub(crate) async fn compare(broker: &Broker, args: &BenchArgs, pace: &Pace) -> Value {
    let pace = Pace { commands: args.commands.unwrap_or(pace.commands), ..*pace };
    report::compare(args, async |program| run(broker, args, &pace, program).await).await
}

async fn run(broker: &Broker, args: &BenchArgs, pace: &Pace, program: Program) -> Vec<Figure> {
    let queues = Queues::on(broker, "bench").await;
    let producer = Producer::connect(&queues).await;
    let mut events = Events::subscribe(&queues).await;
    let api = StubApi::start(pace.latency).await;
    let process = program.start(args, &queues, &api, pace.in_flight);
    let text = "t".repeat(TEXT_BYTES);
    // A first command, numbered after the others: its event shows that all processes are running.
    producer.send(pace.commands, KEYS, &text).await;
    assert_eq!(timeout(TIMEOUT, events.next()).await, Ok(pace.commands), "{}: a first event", program.name());

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
    let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST_US, 3).expect("valid bounds");
    let consume = async {
        for _ in 0..pace.commands {
            let number = events.next().await;
            let latency = Instant::now().saturating_duration_since(due(number));
            if number >= pace.commands / WARM_UP_SHARE {
                histogram.saturating_record(u64::try_from(latency.as_micros()).expect("fewer than 2^64"));
            }
        }
    };
    let deadline = TIMEOUT + (due(pace.commands) - start);
    let done = timeout(deadline, async { tokio::join!(produce, consume) }).await;
    done.unwrap_or_else(|_| panic!("{}: timeout while waiting for events", program.name()));
    process.stop().await;
    assert_eq!(api.stop().await, pace.commands + 1, "{}: one POST for each command", program.name());
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
