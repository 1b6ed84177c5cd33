//! One device after the other keeps its order, and holds up nobody else.

use std::time::Duration;

use edna_courier::sandbox::{Options, ReceivedFilter};
use serde_json::json;

use crate::support::{
    SOON,
    daemon::Setup,
    eventually::eventually,
    ordered::{Ordered, accepted, command, number, taken},
    stage::{Stage, id, start_ready},
};

/// The large one is a figure: see `tests/soak`.
const MANY: Ordered = Ordered { devices: 50, commands: 20 };
/// Commands for the device that has too many.
const HOT: u32 = 200;
const STRANGERS: u32 = 50;

fn setup(stage: &Stage) -> Setup {
    for tier in ["retry.200ms", "retry.1s"] {
        stage.queues.name(tier);
    }
    stage.setup().set("delivery.order", "device").set("delivery.tiers", "200ms,1s")
}

async fn send_strangers(stage: &Stage) {
    for stranger in 0..STRANGERS {
        stage.queues.send(&command(&format!("s-{stranger}"), &format!("stranger-{stranger}"), "0 hello")).await;
    }
}

/// How many requests for this device had come when the last one for a stranger came.
fn before_the_last_stranger(stage: &Stage, device: &str) -> usize {
    let requests = stage.sandbox.received(&ReceivedFilter::default()).requests;
    let is_of = |at: usize, name: &str| requests[at].device_address.as_deref().is_some_and(|d| d.starts_with(name));
    let last = (0..requests.len()).rfind(|at| is_of(*at, "stranger-")).expect("strangers");
    (0..last).filter(|at| is_of(*at, device)).count()
}

#[tokio::test]
async fn what_is_taken_for_a_device_is_taken_in_the_order_of_publishing() {
    let stage = Stage::new("order-many").await;
    let daemon = start_ready(&setup(&stage).set("limits.max_in_flight", "32")).await;
    for body in MANY.bodies() {
        stage.queues.send(&body).await;
    }
    eventually!(3 * SOON, accepted(&stage) >= u64::from(MANY.total()), "all of them taken");
    MANY.expect_order(&stage);
    assert!(stage.posts() > u64::from(MANY.total()), "some failed at first");
    stage.end(&daemon).await;
}

#[tokio::test]
async fn a_slow_device_holds_up_no_stranger() {
    let stage = Stage::new("order-slow").await;
    let daemon = start_ready(&setup(&stage).set("limits.max_in_flight", "16")).await;
    for nth in 0..5 {
        stage.queues.send(&command(&format!("c-{nth}"), "slow", &format!("{nth} [[delay=1s]]"))).await;
    }
    send_strangers(&stage).await;
    eventually!(SOON, accepted(&stage) == 5 + u64::from(STRANGERS), "all of them taken");
    assert!(before_the_last_stranger(&stage, "slow") < 5, "the strangers were through before");
    stage.end(&daemon).await;
}

#[tokio::test]
async fn a_hot_device_holds_up_no_stranger_and_keeps_its_order() {
    let stage = Stage::with("order-hot", Options { latency: Duration::from_millis(20), ..Options::default() }).await;
    let setup = setup(&stage).set("limits.mode", "fixed").set("limits.max_in_flight", "16");
    // The topology is there before anything is sent.
    drop(start_ready(&setup).await);
    for nth in 0..HOT {
        stage.queues.send(&command(&format!("c-{nth}"), "hot", &format!("{nth} hello"))).await;
    }
    send_strangers(&stage).await;
    let daemon = start_ready(&setup).await;
    eventually!(3 * SOON, accepted(&stage) == u64::from(HOT + STRANGERS), "all of them taken");
    let before = before_the_last_stranger(&stage, "hot");
    assert!(before < HOT as usize / 2, "{before} of the hot device before the last stranger");
    let nth: Vec<u32> = taken(&stage)["hot"].iter().map(|text| number(text)).collect();
    assert_eq!(nth, (0..HOT).collect::<Vec<_>>());
    stage.end(&daemon).await;
}

#[tokio::test]
async fn an_order_key_orders_over_devices() {
    let stage = Stage::new("order-key").await;
    let daemon = start_ready(&setup(&stage)).await;
    for (nth, key, text) in [(0, json!("k"), "[[delay=1s]]"), (1, json!("k"), "hello"), (2, json!(null), "hello")] {
        let mut body = command(&format!("c-{nth}"), &format!("790{nth}"), text);
        body["orderKey"] = key;
        stage.queues.send(&body).await;
    }
    let events = stage.queues.events(3).await;
    assert_eq!(events.iter().map(id).collect::<Vec<_>>(), ["c-2", "c-0", "c-1"]);
    stage.end(&daemon).await;
}

#[tokio::test]
async fn without_order_the_commands_for_a_device_run_beside_each_other() {
    let stage = Stage::new("order-none").await;
    let daemon = start_ready(&setup(&stage).set("delivery.order", "none")).await;
    for (nth, text) in [(0, "[[delay=1s]]"), (1, "hello")] {
        stage.queues.send(&command(&format!("c-{nth}"), "790", text)).await;
    }
    let events = stage.queues.events(2).await;
    assert_eq!(events.iter().map(id).collect::<Vec<_>>(), ["c-1", "c-0"]);
    stage.end(&daemon).await;
}
