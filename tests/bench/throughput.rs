//! Speed and cost of draining a full queue.
//!
//! The measurement starts at the end of the warm-up and ends at the last event. The cost of starting is a separate figure,
//! the time to the first POST.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::time::timeout;

use super::{
    args::BenchArgs,
    cases::Load,
    events::Events,
    load,
    proc::{self, Snapshot},
    program::Program,
    report::{self, Figure},
    stub_api::StubApi,
    support::broker::Broker,
};

/// The first 1/`WARM_UP_SHARE` of the commands is not measured.
const WARM_UP_SHARE: usize = 10;
/// Measures all programs in turn and reports the runs and ratios.
pub(crate) async fn compare(broker: &Broker, args: &BenchArgs, load: &Load) -> Value {
    let load = Load { commands: args.commands.unwrap_or(load.commands), ..*load };
    report::compare(args, async |program| run(broker, args, &load, program).await).await
}

async fn run(broker: &Broker, args: &BenchArgs, load: &Load, program: Program) -> Vec<Figure> {
    let queues = load::fill(broker, load).await;
    let mut events = Events::subscribe(&queues).await;
    let api = StubApi::start(load.latency).await;
    let started = SystemTime::now();
    let process = program.start(args, &queues, &api, load.in_flight);
    let warm = (load.commands / WARM_UP_SHARE).max(1);
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
    let counted = timeout(load.deadline(), count).await;
    let (from, to) = counted.unwrap_or_else(|_| panic!("{}: timeout while waiting for events", program.name()));
    let peak = proc::peak_bytes(process.pid());
    let first_post = api.first_post().duration_since(started).unwrap_or_default();
    process.stop().await;
    assert_eq!(api.stop().await, load.commands, "{}: one POST for each command", program.name());
    figures(load.commands - warm, from, to, peak, first_post)
}

fn figures(commands: usize, from: Snapshot, to: Snapshot, peak: u64, first_post: Duration) -> Vec<Figure> {
    let commands = report::number(commands);
    // Saturating, as the context switches of exited threads are lost.
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
