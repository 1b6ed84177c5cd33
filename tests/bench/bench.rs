//! The project's own benchmark: the daemon beside a bare loop, on the same broker and the same stand-in for the API.
//!
//! `sh tests/bench/run.sh --help` says what it can do. Both sides are processes of their own, looked at from outside;
//! what counts are the ratios of one run, for the machine is never the same twice.
#![cfg(test)] // By this attribute clippy knows that all of this is test code.

mod bare;
mod cases;
mod events;
mod latency;
mod load;
mod proc;
mod process;
mod report;
mod settings;
mod side;
mod stand_in;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "the integration tests need more of it")]
mod support;
mod throughput;

use clap::Parser;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    cases::{CASES, Case, Work},
    settings::Settings,
    support::broker::Broker,
};

/// How this program starts itself as a part of the benchmark.
const BARE: &str = "bare-loop";
const STAND_IN: &str = "stand-in";
const INTERRUPTED: i32 = 130;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some(BARE) => bare::main(),
        Some(STAND_IN) => stand_in::main(),
        _ => measure(),
    }
}

fn measure() {
    let settings = Settings::parse();
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let finished = runtime.block_on(async {
        tokio::select! {
            report = run_all(&settings) => {
                if settings.json {
                    println!("{report:#}");
                }
                true
            }
            // What was started ends with what the dropped future held.
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

async fn run_all(settings: &Settings) -> Value {
    if settings.list {
        for Case { name, about, .. } in CASES {
            eprintln!("{name:<20} {about}");
        }
        return Value::Null;
    }
    let size = settings.daemon_bytes();
    eprintln!("the daemon's binary has {:.1} MiB", report::mib(size));
    let broker = Broker::shared().await;
    let mut cases = Vec::new();
    for case in settings.chosen() {
        eprintln!("\n{}: {}", case.name, case.about);
        let told = match (settings.refusal(case).await, &case.work) {
            (Some(why), _) => {
                eprintln!("  skipped, the daemon refuses these settings: {why}");
                json!({"skipped": why})
            }
            (None, Work::Backlog(load)) => throughput::compare(broker, settings, load).await,
            (None, Work::Steady(pace)) => latency::compare(broker, settings, pace).await,
        };
        cases.push(json!({"case": case.name, "about": case.about, "result": told}));
    }
    json!({"binary_bytes": size, "settings": settings.passed_on(), "cases": cases})
}
