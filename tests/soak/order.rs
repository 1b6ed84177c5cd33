//! The order of a device over many commands, many of which fail at first.

use edna_courier::sandbox::Options;
use tokio::time::Instant;

use crate::{
    figures::LONG,
    setting::keep_every_event,
    support::{
        broker::Broker,
        eventually::eventually,
        ordered::{Ordered, accepted},
        stage::{Stage, start_ready},
    },
};

const MANY: Ordered = Ordered { devices: 200, commands: 200 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figure_of_order() {
    let broker = Broker::fresh().await;
    let options = Options { keep: 2 * MANY.total() as usize, ..Options::default() };
    let stage = Stage::on(&broker, "order-large", options).await;
    keep_every_event(&stage.queues).await;
    for tier in ["retry.200ms", "retry.1s"] {
        stage.queues.name(tier);
    }
    let setup = stage.setup().set("delivery.order", "device").set("delivery.tiers", "200ms,1s");
    let daemon = start_ready(&setup).await;
    let began = Instant::now();
    for body in MANY.bodies() {
        stage.queues.send(&body).await;
    }
    eventually!(LONG, accepted(&stage) >= u64::from(MANY.total()), "all of them taken");
    let took = began.elapsed();
    MANY.expect_order(&stage);
    stage.queues.client().expect_empty(&stage.queues.name("dead")).await;
    println!(
        "{} commands for each of {} devices, in the order of publishing: {} POSTs in {took:.1?} ({:.0} commands/s), {} went \
         to a tier behind their device's head",
        MANY.commands,
        MANY.devices,
        stage.posts(),
        f64::from(MANY.total()) / took.as_secs_f64(),
        daemon.metric("courier_order_events_total", &[("event", "behind")]).await,
    );
    stage.end(&daemon).await;
}
