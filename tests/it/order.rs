//! Order per device, and no delay for other devices.

use std::time::Duration;

use edna_courier::sandbox::{Options, ReceivedFilter};
use serde_json::json;

use crate::support::{
    TIMEOUT,
    daemon::DaemonBuilder,
    eventually::eventually,
    fixture::{Fixture, id, start_ready},
    ordered::{OrderedLoad, accepted_count, accepted_texts, command, number},
    redis::Redis,
};

/// `tests/soak/order.rs` runs a larger load.
const LOAD: OrderedLoad = OrderedLoad { devices: 50, commands: 20 };
/// Commands for the busy device.
const HOT: u32 = 200;
/// Commands for other devices, one each.
const OTHERS: u32 = 50;

fn builder(fixture: &Fixture) -> DaemonBuilder {
    for tier in ["retry.200ms", "retry.1s"] {
        fixture.queues.name(tier);
    }
    fixture.builder().set("delivery.order", "device").set("delivery.tiers", "200ms,1s")
}

async fn send_to_others(fixture: &Fixture) {
    for other in 0..OTHERS {
        fixture.queues.send(&command(&format!("s-{other}"), &format!("other-{other}"), "0 hello")).await;
    }
}

/// The number of requests for this device before the last request for another device.
fn posts_before_last_other(fixture: &Fixture, device: &str) -> usize {
    let requests = fixture.sandbox.received(&ReceivedFilter::default()).requests;
    let is_of = |at: usize, name: &str| requests[at].device_address.as_deref().is_some_and(|d| d.starts_with(name));
    let last = (0..requests.len()).rfind(|at| is_of(*at, "other-")).expect("requests for other devices");
    (0..last).filter(|at| is_of(*at, device)).count()
}

#[tokio::test]
async fn device_commands_are_accepted_in_publish_order() {
    let fixture = Fixture::new("order-many").await;
    let daemon = start_ready(&builder(&fixture).set("limits.max_in_flight", "32")).await;
    for body in LOAD.bodies() {
        fixture.queues.send(&body).await;
    }
    eventually!(3 * TIMEOUT, accepted_count(&fixture) >= u64::from(LOAD.total()), "all commands accepted");
    LOAD.assert_order(&fixture);
    assert!(fixture.posts() > u64::from(LOAD.total()), "some commands failed at first");
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn slow_device_does_not_delay_other_devices() {
    let fixture = Fixture::new("order-slow").await;
    let daemon = start_ready(&builder(&fixture).set("limits.max_in_flight", "16")).await;
    for nth in 0..5 {
        fixture.queues.send(&command(&format!("c-{nth}"), "slow", &format!("{nth} [[delay=1s]]"))).await;
    }
    send_to_others(&fixture).await;
    eventually!(TIMEOUT, accepted_count(&fixture) == 5 + u64::from(OTHERS), "all commands accepted");
    assert!(posts_before_last_other(&fixture, "slow") < 5, "the other devices did not wait");
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn hot_device_keeps_order_and_does_not_delay_others() {
    let fixture =
        Fixture::with("order-hot", Options { latency: Duration::from_millis(20), ..Options::default() }).await;
    let builder = builder(&fixture).set("limits.mode", "fixed").set("limits.max_in_flight", "16");
    // Declares the topology before commands are sent.
    drop(start_ready(&builder).await);
    for nth in 0..HOT {
        fixture.queues.send(&command(&format!("c-{nth}"), "hot", &format!("{nth} hello"))).await;
    }
    send_to_others(&fixture).await;
    let daemon = start_ready(&builder).await;
    eventually!(3 * TIMEOUT, accepted_count(&fixture) == u64::from(HOT + OTHERS), "all commands accepted");
    let before = posts_before_last_other(&fixture, "hot");
    assert!(before < HOT as usize / 2, "{before} POSTs for the hot device before the last one for another device");
    let nth: Vec<u32> = accepted_texts(&fixture)["hot"].iter().map(|text| number(text)).collect();
    assert_eq!(nth, (0..HOT).collect::<Vec<_>>());
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn order_key_orders_across_devices() {
    let fixture = Fixture::new("order-key").await;
    let daemon = start_ready(&builder(&fixture)).await;
    for (nth, key, text) in [(0, json!("k"), "[[delay=1s]]"), (1, json!("k"), "hello"), (2, json!(null), "hello")] {
        let mut body = command(&format!("c-{nth}"), &format!("790{nth}"), text);
        body["orderKey"] = key;
        fixture.queues.send(&body).await;
    }
    let events = fixture.queues.events(3).await;
    assert_eq!(events.iter().map(id).collect::<Vec<_>>(), ["c-2", "c-0", "c-1"]);
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn order_none_runs_device_commands_concurrently() {
    let fixture = Fixture::new("order-none").await;
    let daemon = start_ready(&builder(&fixture).set("delivery.order", "none")).await;
    for (nth, text) in [(0, "[[delay=1s]]"), (1, "hello")] {
        fixture.queues.send(&command(&format!("c-{nth}"), "790", text)).await;
    }
    let events = fixture.queues.events(2).await;
    assert_eq!(events.iter().map(id).collect::<Vec<_>>(), ["c-1", "c-0"]);
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn second_daemon_suspends_the_order_of_devices() {
    let (redis, fixture) = (Redis::start(), Fixture::new("order-shared").await);
    // Another daemon is known as such after three heartbeats.
    let url = format!("{}?heartbeat=2", fixture.queues.broker().url());
    let builder = builder(&fixture).set("journal.kind", "redis").set("journal.redis_url", &redis.url());
    let builder = builder.set("broker.url", &url).set("delivery.tiers", "200ms,1h");
    let builder = builder.set("limits.device_interval", "1ms").set("admin.token", "t").set("api.timeout", "5m");
    fixture.queues.name("retry.1h");
    let one = start_ready(&builder).await;
    assert_eq!(one.status().await["order_suspended"], false);
    // A head that is an hour away. Its followers go to the tier behind it.
    fixture.queues.send(&command("head", "790", "[[status=503,times=4]]")).await;
    let delayed = [("tier", "1h")];
    eventually!(TIMEOUT, one.metric("courier_retries_total", &delayed).await == 1.0, "the head in the tier");
    // A command in hand of a cancelled subscription, whose consumer the broker counts as well.
    fixture.queues.send(&command("slow", "791", "[[delay=4m]]")).await;
    eventually!(TIMEOUT, one.metric("courier_in_flight", &[]).await == 1.0, "an attempt");
    one.post("/pause", Some("t")).await;
    eventually!(TIMEOUT, one.metric("courier_consumer_active", &[]).await == 0.0, "a cancelled subscription");
    one.post("/resume", Some("t")).await;
    let two = start_ready(&builder).await;
    for daemon in [&one, &two] {
        eventually!(2 * TIMEOUT, daemon.status().await["order_suspended"] == true, "the other daemon is known");
    }
    for part in ["other daemons consume the command queue", "limits.device_interval is not applied"] {
        assert!(one.log_text().contains(part), "{}", one.log_text());
    }
    for nth in 0..10 {
        fixture.queues.send(&command(&format!("c-{nth}"), "790", "hello")).await;
    }
    let events = fixture.queues.events(10).await;
    assert!(events.iter().all(|event| event["outcome"] == "succeeded"), "{events:?}");
    two.signal("TERM");
    assert_eq!(two.wait_exit(TIMEOUT).await, 0);
    eventually!(2 * TIMEOUT, one.status().await["order_suspended"] == false, "the only daemon again");
}
