//! How fast, and at what cost, a full queue is worked off.
//!
//! Measured is from one event to the last one, the first of them late enough that everything is connected and warm: what
//! starting costs is told apart, as the time to the first POST.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::time::timeout;

use super::{
    cases::Load,
    events::Events,
    load,
    proc::{self, Snapshot},
    report::{self, Figure},
    settings::Settings,
    side::Side,
    stand_in::StandIn,
    support::broker::Broker,
};

/// One in so many commands is for warming up.
const WARM_UP: usize = 10;
/// Neither side is so slow, and no machine.
const SLOWEST_PER_SECOND: usize = 200;

/// Lets both sides work in turn, and tells each run and the ratios.
pub(crate) async fn compare(broker: &Broker, settings: &Settings, load: &Load) -> Value {
    let load = Load { commands: settings.commands.unwrap_or(load.commands), ..*load };
    report::compare(settings.pairs, async |side| run(broker, settings, &load, side).await).await
}

/// For all of a load.
pub(crate) fn deadline(load: &Load) -> Duration {
    Duration::from_secs(60 + u64::try_from(load.commands / SLOWEST_PER_SECOND).expect("a number"))
}

async fn run(broker: &Broker, settings: &Settings, load: &Load, side: Side) -> Vec<Figure> {
    let queues = load::loaded(broker, load).await;
    let mut events = Events::of(&queues).await;
    let api = StandIn::start(load.latency).await;
    let started = SystemTime::now();
    let process = side.start(settings, &queues, &api, load.in_flight);
    let warm = (load.commands / WARM_UP).max(1);
    let count = async {
        let mut from = None;
        let mut seen = vec![false; load.commands];
        for count in 1..=load.commands {
            let number = events.next().await;
            assert!(!std::mem::replace(&mut seen[number], true), "a second event of command {number}");
            if count == warm {
                from = Some(Snapshot::of(process.pid()));
            }
        }
        (from.expect("a warm-up"), Snapshot::of(process.pid()))
    };
    let counted = timeout(deadline(load), count).await;
    let (from, to) = counted.unwrap_or_else(|_| panic!("{}: not all events came in time", side.name()));
    let peak = proc::peak_bytes(process.pid());
    let first_post = api.first_post().duration_since(started).unwrap_or_default();
    process.end().await;
    assert_eq!(api.end().await, load.commands, "{}: a POST for each command", side.name());
    figures(load.commands - warm, from, to, peak, first_post)
}

fn figures(commands: usize, from: Snapshot, to: Snapshot, peak: u64, first_post: Duration) -> Vec<Figure> {
    let commands = report::number(commands);
    // A thread that ended took its switches with it.
    let per_command = |from: u64, to: u64| report::number(to.saturating_sub(from)) / commands;
    let (user, system) = (per_command(from.user_us, to.user_us), per_command(from.system_us, to.system_us));
    vec![
        Figure { name: "cpu_us", text: "CPU us a command", value: user + system, compared: true },
        Figure { name: "user_us", text: "of it user", value: user, compared: false },
        Figure { name: "system_us", text: "system", value: system, compared: false },
        Figure {
            name: "per_second",
            text: "commands/s",
            value: commands / (to.at - from.at).as_secs_f64(),
            compared: true,
        },
        Figure { name: "peak_mib", text: "peak MiB", value: report::mib(peak), compared: true },
        Figure {
            name: "switches",
            text: "switches a command",
            value: per_command(from.switches, to.switches),
            compared: true,
        },
        Figure { name: "first_post_ms", text: "ms to the first POST", value: report::ms(first_post), compared: true },
    ]
}
