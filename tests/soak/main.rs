//! What takes too long for every day: ten minutes of random faults under load, and some figures. On demand:
//!
//! ```text
//! sh tests/run.sh soak      # EDNA_COURIER_SOAK_SECONDS and EDNA_COURIER_SOAK_SEED
//! sh tests/run.sh figures
//! ```
#![cfg(test)] // By this attribute clippy knows that all of this is test code.

mod figures;
mod load;
mod memory;
mod order;
mod setting;
mod weather;

#[expect(dead_code, reason = "the integration tests need more of it")]
#[path = "../it/support/mod.rs"]
mod support;

use std::{net::Ipv4Addr, time::Duration};

use edna_courier::sandbox::{Options, Sandbox};
use tokio::time::Instant;

use self::{
    load::Load,
    memory::Memory,
    setting::number,
    support::{
        account::{Account, Told},
        broker::Broker,
        proxy::Proxy,
        queues::Queues,
        stage::{Stage, ready, start_ready},
    },
    weather::Weather,
};

/// Until the last command is told, once the weather is fair again.
const CATCH_UP: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let seed = number("EDNA_COURIER_SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = number("EDNA_COURIER_SOAK_SECONDS").unwrap_or(600);
    println!("{seconds} s of faults; the same again with EDNA_COURIER_SOAK_SEED={seed}");
    let broker = Broker::fresh().await;
    let options = Options { latency: Duration::from_millis(5), keep: 0, seed, ..Options::default() };
    let sandbox = Sandbox::start((Ipv4Addr::LOCALHOST, 0).into(), options).expect("a free port");
    let mut stage = Stage { sandbox, queues: Queues::on(&broker, "soak").await };
    let links = Proxy::amqp(broker.host_and_port()).await;
    let api = Proxy::tcp(stage.sandbox.addr().to_string()).await;
    let daemon = start_ready(&setting::up(&stage, &links, &api).await).await;

    let until = Instant::now() + Duration::from_secs(seconds);
    let mut weather = Weather::new(seed, &broker, &stage.sandbox, &links, &api);
    let (load, memory, ()) =
        tokio::join!(Load::run(&stage.queues, until), Memory::watch(&daemon, until), weather.rage(&daemon, until));

    stage.queues.reconnect().await;
    ready(&daemon).await;
    let mut account = Account::open(&stage.queues).await;
    account.until_told(load.sent(), CATCH_UP).await;
    stage.end(&daemon).await;
    account.close(&stage.queues).await;
    account.expect(load.wanted(), Told::OnceOrAgain);
    println!("{} commands, each with exactly one outcome; {account}", load.sent());
    memory.expect_flat();
}
