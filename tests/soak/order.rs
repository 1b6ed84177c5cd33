//! Order per device over many commands, some of which fail at first.

use std::time::Duration;

use edna_courier::sandbox::Options;
use tokio::time::Instant;

use crate::{
    config::keep_all_events,
    figures::RUN_TIMEOUT,
    support::{
        broker::Broker,
        eventually::eventually,
        fixture::{Fixture, start_ready},
        ordered::{OrderedLoad, accepted_count, command},
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

const DEVICES: u32 = 100;
const COMMANDS: u32 = 60;
/// After the first to the fourth attempt, without jitter: two in process, then the first two tiers.
const DELAYS_MS: [u64; 4] = [200, 1_000, 1_000, 2_000];

/// Of a hundred commands, fifteen fail one, two or four times; a fixed mixture of the numbers (Knuth's MMIX).
fn failures(device: u32, nth: u32) -> usize {
    let seed = u64::from(device * COMMANDS + nth);
    let mixed = |n: u64| n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33;
    let random = mixed(mixed(seed) ^ seed << 20);
    if random % 100 >= 15 { 0 } else { [1, 2, 4][usize::try_from(random / 100 % 3).expect("below 3")] }
}

/// How much longer 100 devices with failing commands take than the delays of the slowest one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figure_order_with_failures() {
    let broker = Broker::start_private().await;
    let options = Options { keep: 20_000, ..Options::default() };
    let fixture = Fixture::on(&broker, "order-failures", options).await;
    keep_all_events(&fixture.queues).await;
    for tier in ["retry.1s", "retry.2s", "retry.4s"] {
        fixture.queues.name(tier);
    }
    let builder = fixture.builder().set("delivery.order", "device").set("delivery.tiers", "1s,2s,4s");
    // Declares the topology before commands are sent.
    drop(start_ready(&builder).await);
    let mut delays = vec![Duration::ZERO; DEVICES as usize];
    for nth in 0..COMMANDS {
        for device in 0..DEVICES {
            let times = failures(device, nth);
            delays[device as usize] += Duration::from_millis(DELAYS_MS[..times].iter().sum());
            let script = if times > 0 { format!("[[status=503,times={times}]]") } else { String::new() };
            let text = format!("{nth} {script}");
            fixture.queues.send(&command(&format!("c-{device}-{nth}"), &format!("79{device:05}"), &text)).await;
        }
    }
    let unavoidable = delays.into_iter().max().expect("a device");
    let daemon = start_ready(&builder).await;
    let started = Instant::now();
    let total = DEVICES * COMMANDS;
    eventually!(RUN_TIMEOUT, accepted_count(&fixture) >= u64::from(total), "all commands accepted");
    let elapsed = started.elapsed();
    OrderedLoad { devices: DEVICES, commands: COMMANDS }.assert_order(&fixture);
    let event = async |event| daemon.metric("courier_order_events_total", &[("event", event)]).await;
    println!(
        "{total} commands for {DEVICES} devices, 15 % failing at first: {elapsed:.1?}, of which {unavoidable:.1?} are the \
         delays of the slowest device (ratio {:.2}); copies behind another command: {}, beyond a share: {}",
        elapsed.as_secs_f64() / unavoidable.as_secs_f64(),
        event("behind").await,
        event("overflowed").await,
    );
    assert!(elapsed <= unavoidable.mul_f64(1.5), "{elapsed:?} instead of {unavoidable:?}");
    fixture.drain(&daemon).await;
}
