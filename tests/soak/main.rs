//! Long tests on demand: random faults under load for ten minutes, and measurements of extreme cases.
//!
//! ```text
//! sh tests/run.sh soak      # EDNA_COURIER_SOAK_SECONDS and EDNA_COURIER_SOAK_SEED
//! sh tests/run.sh figures
//! ```
#![cfg(test)] // Makes clippy treat this target as test code.
#![expect(clippy::disallowed_methods, reason = "tests spawn servers, read the clock and the environment")]

mod cluster;
mod config;
mod faults;
mod figures;
mod large_bodies;
mod load;
mod memory;
mod order;

#[expect(dead_code, reason = "used in full by the integration tests")]
#[path = "../it/support/mod.rs"]
mod support;

use std::{net::Ipv4Addr, time::Duration};

use edna_courier::sandbox::{Options, Sandbox};
use tokio::time::Instant;

use self::{
    config::env_number,
    faults::FaultInjector,
    load::CommandLoad,
    memory::MemorySamples,
    support::{
        broker::Broker,
        collector::{Duplicates, OutcomeCollector},
        fixture::{Fixture, start_ready, wait_ready},
        proxy::Proxy,
        queues::Queues,
    },
};

/// Limit of the time from the last fault to the last outcome.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let seed = env_number("EDNA_COURIER_SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = env_number("EDNA_COURIER_SOAK_SECONDS").unwrap_or(600);
    println!("{seconds} s of faults; to repeat this run, set EDNA_COURIER_SOAK_SEED={seed}");
    let broker = Broker::start_private().await;
    let options = Options { latency: Duration::from_millis(5), keep: 0, seed, ..Options::default() };
    let sandbox = Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).expect("a free port");
    let mut fixture = Fixture { sandbox, queues: Queues::on(&broker, "soak").await };
    let broker_proxy = Proxy::amqp(broker.host_and_port()).await;
    let api_proxy = Proxy::tcp(fixture.sandbox.addr().to_string()).await;
    let daemon = start_ready(&config::daemon_builder(&fixture, &broker_proxy, &api_proxy).await).await;

    let until = Instant::now() + Duration::from_secs(seconds);
    let mut injector = FaultInjector::new(seed, &broker, &fixture.sandbox, &broker_proxy, &api_proxy);
    let (load, memory, ()) = tokio::join!(
        CommandLoad::run(&fixture.queues, until),
        MemorySamples::collect(&daemon, until),
        injector.run(&daemon, until)
    );

    fixture.queues.reconnect().await;
    wait_ready(&daemon).await;
    let mut outcomes = OutcomeCollector::start(&fixture.queues).await;
    outcomes.wait_for_events(load.sent(), CATCH_UP_TIMEOUT).await;
    fixture.drain(&daemon).await;
    outcomes.drain(&fixture.queues).await;
    outcomes.assert_outcomes(load.expected(), Duplicates::Allowed);
    println!("{} commands, each with exactly one outcome; {outcomes}", load.sent());
    memory.expect_flat();
}
