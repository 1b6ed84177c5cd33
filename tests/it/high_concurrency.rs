//! Thousands of commands in hand: more than the 2,000 that RabbitMQ delivers to a quorum queue's consumer by default.

use std::time::Duration;

use edna_courier::sandbox::{Action, ReceivedFilter, Rule};
use futures_util::future::join_all;
use lapin::{BasicProperties, options::BasicPublishOptions};

use crate::{
    faults::expect_outcomes,
    support::{
        TIMEOUT,
        collector::{Duplicates, ExpectedOutcome},
        daemon::{DaemonBuilder, log_field},
        eventually::eventually,
        fixture::{Fixture, command, start_ready, wait_ready},
    },
};

const IN_FLIGHT: u16 = 2_500;
const COMMANDS: u16 = 6_000;
/// Concurrent publishes.
const BATCH: usize = 500;

/// Publishes all commands in concurrent batches.
async fn send_all(fixture: &Fixture) {
    let channel = fixture.queues.client().confirming_channel().await;
    let exchange = fixture.queues.name("commands");
    let publish = async |index| {
        let (exchange, options) = (exchange.as_str().into(), BasicPublishOptions::default());
        let properties = BasicProperties::default().with_delivery_mode(2);
        let body = command(index, "hello").to_string();
        let published = channel.basic_publish(exchange, "send".into(), options, body.as_bytes(), properties).await;
        published.expect("written").await.expect("confirmed");
    };
    let all: Vec<_> = (0..COMMANDS).collect();
    for batch in all.chunks(BATCH) {
        join_all(batch.iter().copied().map(publish)).await;
    }
}

#[tokio::test]
async fn pause_with_thousands_in_hand_loses_no_command() {
    let fixture = Fixture::new("wide").await;
    let builder = fixture.builder().set("limits.mode", "fixed").set("limits.max_in_flight", &IN_FLIGHT.to_string());
    let daemon = start_ready(&builder.set("admin.token", "s3cret")).await;
    fixture.sandbox.script([Rule::new(Action::delay(Duration::from_secs(1))).forever()]).expect("room");
    send_all(&fixture).await;
    let in_hand = async || daemon.metric("courier_in_hand", &[]).await;
    // The prefetch is half as much again, but the first commands may have finished before the prefetch has grown.
    eventually!(TIMEOUT, in_hand().await > f64::from(IN_FLIGHT), "more commands in hand than in flight");

    assert_eq!(daemon.post("/pause", Some("s3cret")).await.0, 200);
    eventually!(TIMEOUT, daemon.metric("courier_consumer_active", &[]).await == 0.0, "no active consumer");
    eventually!(TIMEOUT, daemon.metric("courier_in_flight", &[]).await == 0.0, "no attempt in flight");
    let (posts, queued) = (fixture.posts() as f64, async || f64::from(fixture.queued().await));
    let complete = |count: &f64| *count == f64::from(COMMANDS) - posts;
    eventually!(TIMEOUT, in_hand().await + queued().await, complete, "all unfinished commands in hand or in the queue");
    assert!(in_hand().await > 2_000.0 && queued().await > 0.0, "a closed gate neither consumes nor requeues");

    fixture.sandbox.clear_script();
    assert_eq!(daemon.post("/resume", Some("s3cret")).await.0, 200);
    wait_ready(&daemon).await;
    expect_outcomes(&fixture, &daemon, |_| ExpectedOutcome::succeeded(1..=1), COMMANDS, Duplicates::Forbidden).await;
    let received = fixture.sandbox.received(&ReceivedFilter { limit: Some(0), ..ReceivedFilter::default() });
    assert_eq!((received.total, received.accepted), (COMMANDS.into(), COMMANDS.into()), "one POST for each command");
}

#[tokio::test]
async fn low_open_file_limit_logs_a_warning() {
    let fixture = Fixture::new("few-files").await;
    let limited =
        DaemonBuilder::for_program("sh", &["-c", "ulimit -n 512; exec \"$0\" run", env!("CARGO_BIN_EXE_edna-courier")]);
    let api = format!("http://{}", fixture.sandbox.addr());
    let builder =
        limited.queues(&fixture.queues).set("broker.declare", "true").set("api.base_url", &api).set("api.token", "t");
    let daemon = start_ready(&builder.set("limits.max_in_flight", "1000")).await;
    let log = daemon.log();
    let warned = |line: &serde_json::Value| {
        let message = log_field(line, "message").and_then(|message| message.as_str()).unwrap_or_default();
        message.contains("lets this daemon open 512 files")
            && log_field(line, "level").is_some_and(|level| level == "WARN")
    };
    assert_eq!(log.iter().filter(|line| warned(line)).count(), 1, "{log:?}");
    fixture.drain(&daemon).await;
}
