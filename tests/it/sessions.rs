//! Broker outages: each command reaches its outcome, and `/readyz` reports the problem.

use std::{collections::BTreeMap, time::Duration};

use edna_courier::sandbox::{Action, Options, Rule};
use lapin::{BasicProperties, ExchangeKind, types::AMQPValue};

use crate::{
    faults::expect_outcomes,
    support::{
        TIMEOUT,
        broker::Broker,
        collector::{Duplicates, ExpectedOutcome},
        daemon::{Daemon, DaemonBuilder},
        eventually::eventually,
        fixture::{Fixture, command, start_ready, wait_not_ready, wait_ready},
        proxy::Proxy,
    },
};

/// Slow enough that a fault hits attempts in flight.
fn slow_api() -> Options {
    Options { latency: Duration::from_millis(20), ..Options::default() }
}

/// A proxy to the broker and a builder of daemons that use it, with a heartbeat timeout of about four seconds.
async fn behind_proxy(fixture: &Fixture) -> (Proxy, DaemonBuilder) {
    let broker = fixture.queues.broker();
    let proxy = Proxy::tcp(broker.host_and_port()).await;
    let url = format!("{}?heartbeat=2", broker.url_at(proxy.address()));
    (proxy, fixture.builder().set("broker.url", &url).set("limits.max_in_flight", "8"))
}

async fn reconnects(daemon: &Daemon) -> [f64; 2] {
    let count = async |role| daemon.metric("courier_reconnects_total", &[("role", role)]).await;
    [count("consume").await, count("publish").await]
}

/// Waits for all outcomes and drains the daemon. Duplicate events must have the same id, and duplicate POSTs an event with
/// `possibleDuplicate`.
async fn expect_all_succeeded(fixture: &Fixture, daemon: &Daemon, n: u16) {
    expect_outcomes(fixture, daemon, |_| ExpectedOutcome::succeeded(1..=1), n, Duplicates::Allowed).await;
}

#[tokio::test]
async fn connections_cut_twice_lose_no_command() {
    let fixture = Fixture::with("cut", slow_api()).await;
    let (proxy, builder) = behind_proxy(&fixture).await;
    let daemon = start_ready(&builder).await;
    fixture.send(150, "hello").await;
    for (cut, posts) in [(1.0, 5), (2.0, 80)] {
        eventually!(TIMEOUT, fixture.posts() >= posts, "POSTs");
        proxy.cut();
        eventually!(
            TIMEOUT,
            reconnects(&daemon).await,
            |seen| seen.iter().all(|n| *n >= cut),
            "both connections re-established"
        );
    }
    eventually!(TIMEOUT, daemon.log_text().contains("connection to the broker (consume) lost"), "a log line");
    wait_ready(&daemon).await;
    expect_all_succeeded(&fixture, &daemon, 150).await;
}

#[tokio::test]
async fn stalled_connections_are_replaced() {
    let fixture = Fixture::with("stall", slow_api()).await;
    let (proxy, builder) = behind_proxy(&fixture).await;
    let daemon = start_ready(&builder).await;
    fixture.send(60, "hello").await;
    eventually!(TIMEOUT, fixture.posts() >= 10, "POSTs");
    proxy.stall();
    wait_not_ready(&daemon, &["consume: not connected to the broker: ", "publish: not connected to the broker: "])
        .await;
    proxy.resume().await;
    eventually!(
        TIMEOUT,
        reconnects(&daemon).await,
        |seen| seen.iter().all(|n| *n >= 1.0),
        "both connections re-established"
    );
    expect_all_succeeded(&fixture, &daemon, 60).await;
}

#[tokio::test]
async fn broker_down_at_start_is_retried() {
    let fixture = Fixture::new("late-broker").await;
    let (proxy, builder) = behind_proxy(&fixture).await;
    proxy.refuse().await;
    let daemon = builder.start().await;
    let address = proxy.address().to_string();
    wait_not_ready(&daemon, &["consume: not connected to the broker: cannot connect to", &address, "publish: "]).await;
    let attempts = || daemon.log_text().matches("connecting to the broker (consume) failed").count();
    eventually!(TIMEOUT, attempts() >= 3, "repeated connection attempts");
    assert_eq!(daemon.metric("courier_connected", &[]).await, 0.0);
    proxy.resume().await;
    wait_ready(&daemon).await;
    assert_eq!(reconnects(&daemon).await, [0.0, 0.0], "the first connection counts no reconnect");
    fixture.send(1, "hello").await;
    expect_all_succeeded(&fixture, &daemon, 1).await;
}

#[tokio::test]
async fn deleted_commands_queue_is_redeclared() {
    let fixture = Fixture::new("deleted-queue").await;
    let daemon = start_ready(&fixture.builder()).await;
    let commands = fixture.queues.name("commands");
    fixture.queues.client().delete_queue(&commands).await;
    let cancelled = format!("the broker cancelled the consumer of queue {commands}");
    eventually!(TIMEOUT, daemon.log_text().contains(&cancelled), "a log line about the cancellation");
    wait_ready(&daemon).await;
    fixture.send(3, "hello").await;
    fixture.expect_all_succeeded(3).await;
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn missing_topology_is_reported_until_declared() {
    let fixture = Fixture::new("no-topology").await;
    let daemon = fixture.builder().set("broker.declare", "false").start().await;
    let missing = ["exchange {}.events", "exchange {}.dead", "exchange {}.retry.1h", "queue {}.commands"];
    let missing = missing.map(|object| object.replace("{}", fixture.queues.prefix()));
    let advice = ["edna-courier topology apply", "edna-courier topology export", "set broker.declare = true"];
    let parts: Vec<_> = missing.iter().map(String::as_str).chain(advice).collect();
    wait_not_ready(&daemon, &parts).await;
    // The log line follows the probe's answer.
    let logs_all = |log: &String| parts.iter().all(|part| log.contains(part));
    eventually!(TIMEOUT, daemon.log_text(), logs_all, "the same in the log");

    fixture.queues.declare("events", ExchangeKind::Topic, "#").await;
    fixture.queues.declare("dead", ExchangeKind::Direct, "rejected").await;
    for tier in ["5s", "30s", "2m", "10m", "1h"] {
        fixture.queues.declare(&format!("retry.{tier}"), ExchangeKind::Fanout, "").await;
    }
    let missing = format!("missing: exchange {0}, queue {0};", fixture.queues.name("commands"));
    wait_not_ready(&daemon, &["topology: ", &missing]).await;

    fixture.queues.declare("commands", ExchangeKind::Direct, "send").await;
    wait_ready(&daemon).await;
    fixture.send(3, "hello").await;
    fixture.expect_all_succeeded(3).await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 0);
    fixture.queues.client().expect_empty(&fixture.queues.name("commands")).await;
}

#[tokio::test]
async fn wrong_exchange_type_is_reported_until_fixed() {
    let fixture = Fixture::new("wrong-topology").await;
    let events = fixture.queues.declare("events", ExchangeKind::Fanout, "").await;
    fixture.queues.declare("commands", ExchangeKind::Direct, "send").await;
    fixture.send(3, "hello").await;
    let daemon = fixture.builder().start().await;
    let problem = format!("of another type, which no policy can change: exchange {events};");
    wait_not_ready(&daemon, &["topology: ", &problem, "delete"]).await;
    assert_eq!((fixture.posts(), fixture.queued().await), (0, 3));

    fixture.queues.client().delete_exchange(&events).await;
    wait_ready(&daemon).await;
    fixture.expect_all_succeeded(3).await;
    fixture.drain(&daemon).await;
}

/// RabbitMQ delivers headers in one frame, as they were published.
#[tokio::test]
async fn large_headers_cost_no_connection() {
    let fixture = Fixture::new("large-headers").await;
    let daemon = start_ready(&fixture.builder()).await;
    let headers: BTreeMap<_, _> =
        (0..100).map(|n| (format!("n{n}").into(), AMQPValue::LongString("x".repeat(1_000).into()))).collect();
    let properties = BasicProperties::default().with_headers(headers.into());
    let body = command(0, "hello").to_string();
    fixture.queues.client().publish(&fixture.queues.name("commands"), "send", body.as_bytes(), properties).await;
    eventually!(TIMEOUT, fixture.posts() == 1, "a POST of the command with large headers");
    assert_eq!(reconnects(&daemon).await, [0.0, 0.0]);
    expect_all_succeeded(&fixture, &daemon, 1).await;
}

#[tokio::test]
async fn copied_headers_are_trimmed() {
    let fixture = Fixture::new("copied-headers").await;
    let daemon = start_ready(&fixture.builder()).await;
    let headers: BTreeMap<_, _> =
        (0..4).map(|n| (format!("cloudEvents_n{n}").into(), AMQPValue::LongString("x".repeat(2_000).into()))).collect();
    let properties = BasicProperties::default().with_headers(headers.into());
    fixture.queues.client().publish(&fixture.queues.name("commands"), "send", b"{}", properties).await;
    let letter = fixture.queues.dead_letters(1).await.remove(0);
    let copied = letter.headers.keys().filter(|name| name.starts_with("cloudEvents_"));
    assert_eq!(copied.count(), 2);
    assert_eq!(reconnects(&daemon).await, [0.0, 0.0]);
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn broker_restart_loses_no_command() {
    let broker = Broker::exclusive().await;
    let mut fixture = Fixture::on(&broker, "restart", slow_api()).await;
    // Stopping the broker takes seconds; the commands must not all finish before.
    fixture.sandbox.script([Rule::new(Action::delay(Duration::from_secs(2))).forever()]).expect("room");
    let daemon = start_ready(&fixture.builder().set("limits.max_in_flight", "4")).await;
    fixture.send(60, "hello").await;
    eventually!(TIMEOUT, fixture.posts() >= 4, "POSTs");
    broker.stop().await;
    fixture.sandbox.clear_script();
    wait_not_ready(&daemon, &["consume: not connected", "publish: not connected"]).await;
    assert!(fixture.posts() < 60, "commands remain in the queue");
    broker.start().await;
    fixture.queues.reconnect().await;
    wait_ready(&daemon).await;
    expect_all_succeeded(&fixture, &daemon, 60).await;
}
