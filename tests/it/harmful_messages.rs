//! Messages that end each session or process that receives them, and connections that are lost again and again: no other
//! command pays for it.

use std::{collections::BTreeSet, time::Duration};

use crate::support::{
    TIMEOUT,
    daemon::{Daemon, log_field},
    eventually::eventually,
    fixture::{Fixture, command, id, start_ready, wait_ready},
    proxy::{Proxy, Role},
    raw_amqp::{RawClient, RawProperties},
};

/// Limit of the time until a harmful message is buried and the daemon works at full speed.
const BURIAL_TIMEOUT: Duration = Duration::from_secs(60);
/// Not UTF-8.
const BINARY_ID: [u8; 5] = [0x8f, 0x00, 0xc2, 0x04, 0xe9];

/// Declares the topology, publishes `before` commands, the harmful message, and the rest of `all` commands.
async fn publish_around(fixture: &Fixture, before: u16, all: u16, harmful: &RawProperties) {
    let declaring = start_ready(&fixture.builder()).await;
    declaring.signal("TERM");
    assert_eq!(declaring.wait_exit(TIMEOUT).await, 0);
    let mut raw = RawClient::connect(fixture.queues.broker()).await;
    for index in 0..all {
        if index == before {
            raw.publish(&fixture.queues.name("commands"), "send", harmful, b"harmful").await;
        }
        fixture.queues.send(&command(index, "hello")).await;
    }
}

/// Waits until each of the commands `c-0` to `c-<n-1>` has an event; asserts that all events are `succeeded`.
async fn expect_each_succeeded(fixture: &Fixture, n: u16, deadline: Duration) {
    let mut events = fixture.queues.client().subscribe(&fixture.queues.name("events")).await;
    let mut ids = BTreeSet::new();
    let collect = async {
        while ids.len() < usize::from(n) {
            let event = events.next().await.json();
            assert_eq!(event["outcome"], "succeeded", "{event}");
            ids.insert(id(&event).to_owned());
        }
    };
    let collected = tokio::time::timeout(deadline, collect).await;
    assert!(collected.is_ok(), "{} of {n} commands have an event: {ids:?}", ids.len());
}

/// Asserts that the harmful message, with the broker's reason, is the only dead letter.
async fn expect_buried_alone(fixture: &Fixture) {
    let dead = fixture.queues.name("dead");
    let depth = async || fixture.queues.client().depth(&dead).await;
    eventually!(BURIAL_TIMEOUT, depth().await, |depth| *depth >= 1, "a dead letter");
    let mut raw = RawClient::connect(fixture.queues.broker()).await;
    let letter = raw.get(&dead).await.expect("a dead letter");
    assert_eq!(letter.body, b"harmful");
    assert!(letter.header_contains("x-first-death-reason") && letter.header_contains("delivery_limit"));
    assert!(raw.get(&dead).await.is_none(), "no other dead letter");
}

fn burials_logged(daemon: &Daemon) -> usize {
    let is_report = |line: &serde_json::Value| {
        let text = |name| log_field(line, name).and_then(|value| value.as_str()).unwrap_or_default();
        let sessions = log_field(line, "sessions").and_then(serde_json::Value::as_u64);
        text("level") == "ERROR"
            && text("message").contains("ended in a row since")
            && text("queue").ends_with(".commands")
            && sessions.is_some_and(|sessions| sessions >= 10)
    };
    daemon.log().iter().filter(|line| is_report(line)).count()
}

#[tokio::test]
async fn undecodable_message_harms_no_other_command() {
    let fixture = Fixture::new("undecodable").await;
    publish_around(&fixture, 30, 60, &RawProperties::with_correlation_id(&BINARY_ID)).await;
    let daemon = fixture.builder().start().await;
    let isolated = async || daemon.metric("courier_isolation", &[("reason", "sessions_ended")]).await;
    let isolation = async || (isolated().await, daemon.status().await["isolation"].clone());
    eventually!(TIMEOUT, isolation().await, |(gauge, text)| *gauge == 1.0 || text.is_string(), "the isolation");

    expect_each_succeeded(&fixture, 60, BURIAL_TIMEOUT).await;
    expect_buried_alone(&fixture).await;
    eventually!(TIMEOUT, burials_logged(&daemon) == 1, "a log line about the sessions that ended");
    assert_eq!(daemon.get("/readyz").await, (200, "consuming\n".to_owned()));
    assert_eq!((isolated().await, fixture.posts()), (0.0, 60));
    fixture.drain(&daemon).await;
}

/// Nested so deep that the client library's thread overflows its stack: the process aborts, and a supervisor restarts it.
#[tokio::test]
async fn crashing_message_harms_no_other_command() {
    let fixture = Fixture::new("crashing").await;
    publish_around(&fixture, 10, 20, &RawProperties::with_nested_header(5_000)).await;
    let builder = fixture.builder();
    let buried = async || fixture.queues.client().depth(&fixture.queues.name("dead")).await > 0;
    let mut daemon = builder.start().await;
    for _ in 0..60 {
        eventually!(TIMEOUT, buried().await || !daemon.is_running(), "a crash, or the burial");
        if buried().await {
            break;
        }
        daemon = builder.start().await;
    }
    expect_buried_alone(&fixture).await;
    if !daemon.is_running() {
        daemon = builder.start().await;
    }
    expect_each_succeeded(&fixture, 20, BURIAL_TIMEOUT).await;
    wait_ready(&daemon).await;
    fixture.drain(&daemon).await;
}

/// More often than the queue's delivery limit; the commands wait in hand for their rate.
#[tokio::test]
async fn lost_connections_make_no_command_poison() {
    let fixture = Fixture::new("lost-links").await;
    fixture.queues.name("retry.1s");
    let broker = fixture.queues.broker();
    let proxy = Proxy::amqp(broker.host_and_port()).await.for_role(Role::Consume);
    let builder = fixture.builder().set("broker.url", &broker.url_at(proxy.address()));
    let daemon = start_ready(&builder.set("limits.per_second", "0.01").set("delivery.tiers", "1s")).await;
    fixture.send(12, "hello").await;
    let metric = async |name| daemon.metric(name, &[]).await;
    let received = async || metric("courier_commands_received_total").await;
    let mut before = 0.0;
    for cut in 1..=24 {
        // Not `courier_in_hand`, which counts those of the lost session until others arrive.
        eventually!(TIMEOUT, received().await >= before + 8.0, format!("commands in hand before cut {cut}"));
        before = received().await;
        proxy.cut();
        let reconnects = async || metric("courier_reconnects_total").await;
        eventually!(TIMEOUT, reconnects().await, |count| *count == f64::from(cut), "a reconnect");
    }
    eventually!(TIMEOUT, metric("courier_in_hand").await == 11.0, "all but the first command in hand");
    assert!(metric("courier_retries_total").await > 0.0, "copied through the tier");
    wait_ready(&daemon).await;
    fixture.queues.client().expect_empty(&fixture.queues.name("dead")).await;
    assert!(fixture.posts() <= 3, "waiting for the rate: {} POSTs", fixture.posts());
}
