//! Order per device over many commands, a fifth of which fail at first.

use edna_courier::sandbox::Options;
use tokio::time::Instant;

use crate::{
    config::keep_all_events,
    figures::RUN_TIMEOUT,
    support::{
        broker::Broker,
        eventually::eventually,
        fixture::{Fixture, start_ready},
        ordered::{OrderedLoad, accepted_count},
    },
};

const LOAD: OrderedLoad = OrderedLoad { devices: 200, commands: 200 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figure_order() {
    let broker = Broker::start_private().await;
    let options = Options { keep: 2 * LOAD.total() as usize, ..Options::default() };
    let fixture = Fixture::on(&broker, "order-large", options).await;
    keep_all_events(&fixture.queues).await;
    for tier in ["retry.200ms", "retry.1s"] {
        fixture.queues.name(tier);
    }
    let builder = fixture.builder().set("delivery.order", "device").set("delivery.tiers", "200ms,1s");
    let daemon = start_ready(&builder).await;
    let started = Instant::now();
    for body in LOAD.bodies() {
        fixture.queues.send(&body).await;
    }
    eventually!(RUN_TIMEOUT, accepted_count(&fixture) >= u64::from(LOAD.total()), "all commands accepted");
    let elapsed = started.elapsed();
    LOAD.assert_order(&fixture);
    fixture.queues.client().expect_empty(&fixture.queues.name("dead")).await;
    println!(
        "{} commands for each of {} devices, in publish order: {} POSTs in {elapsed:.1?} ({:.0} commands/s), {} \
         followed their device's head into a tier",
        LOAD.commands,
        LOAD.devices,
        fixture.posts(),
        f64::from(LOAD.total()) / elapsed.as_secs_f64(),
        daemon.metric("courier_order_events_total", &[("event", "behind")]).await,
    );
    fixture.drain(&daemon).await;
}
