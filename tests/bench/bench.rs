//! The end-to-end benchmark: the daemon beside a bare loop, on the same broker and the same stub of the API.
//!
//! `sh tests/bench/run.sh --help` lists the options. Each program runs as a process of its own and is observed from
//! outside. Only the ratios of one run are comparable, as the machine's speed varies from run to run.
#![cfg(test)] // Makes clippy treat this target as test code.
#![expect(clippy::disallowed_methods, reason = "tests spawn servers, read the clock and the environment")]

mod args;
mod bare;
mod cases;
mod events;
mod latency;
mod load;
mod proc;
mod process;
mod program;
mod report;
mod stub_api;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "used in full by the integration tests")]
mod support;
mod throughput;

use clap::Parser;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    args::{BARE, BenchArgs, STUB_API},
    cases::{CASES, Case, Workload},
    support::broker::Broker,
};

const INTERRUPTED: i32 = 130;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some(BARE) => bare::main(),
        Some(STUB_API) => stub_api::main(),
        _ => measure(),
    }
}

fn measure() {
    let args = BenchArgs::parse();
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let finished = runtime.block_on(async {
        tokio::select! {
            report = run_all(&args) => {
                if args.json {
                    println!("{report:#}");
                }
                true
            }
            // Dropping the other future stops the processes it started.
            () = interrupted() => false,
        }
    });
    std::process::exit(if finished { 0 } else { INTERRUPTED });
}

async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a signal handler");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn run_all(args: &BenchArgs) -> Value {
    if args.list {
        for Case { name, about, .. } in CASES {
            eprintln!("{name:<20} {about}");
        }
        return Value::Null;
    }
    let size = args.daemon_bytes();
    eprintln!("daemon binary: {:.1} MiB", report::mib(size));
    let broker = Broker::shared().await;
    let mut cases = Vec::new();
    for case in args.selected_cases() {
        eprintln!("\n{}: {}", case.name, case.about);
        let result = match (args.settings_error(case).await, &case.workload) {
            (Some(error), _) => {
                eprintln!("  skipped, the daemon rejects these settings: {error}");
                json!({"skipped": error})
            }
            (None, Workload::Backlog(load)) => throughput::compare(broker, args, load).await,
            (None, Workload::Steady(pace)) => latency::compare(broker, args, pace).await,
        };
        cases.push(json!({"case": case.name, "about": case.about, "result": result}));
    }
    json!({"binary_bytes": size, "settings": args.daemon_settings(), "cases": cases})
}
