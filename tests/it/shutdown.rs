//! Shutdown: attempts in flight finish, other deliveries are requeued, no command is lost or posted twice.

use std::{collections::BTreeSet, time::Duration};

use edna_courier::sandbox::{Action, Options, Rule, ScriptedResponse};

use crate::support::{
    TIMEOUT,
    daemon::Daemon,
    eventually::eventually,
    fixture::{Fixture, id, start_ready, wait_not_ready},
    message::Message,
    proxy::Proxy,
};

/// Shorter than the daemon's own timeouts.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Limit of concurrent attempts; the prefetch is two more.
const IN_FLIGHT: u16 = 4;
const SENT: u16 = 20;

/// A daemon with all attempts in flight and more commands in the queue.
async fn start_busy(fixture: &Fixture, drain: &str) -> Daemon {
    let builder = fixture.builder().set("limits.max_in_flight", &IN_FLIGHT.to_string()).set("delivery.drain", drain);
    let daemon = start_ready(&builder).await;
    fixture.send(SENT, "hello").await;
    eventually!(TIMEOUT, fixture.posts() == u64::from(IN_FLIGHT), "attempts in flight");
    daemon
}

/// Asserts the number of ready commands in the queue and consumes them.
async fn read_queued(fixture: &Fixture, n: u16) -> Vec<Message> {
    assert_eq!(fixture.queued().await, u32::from(n), "commands in the queue");
    fixture.queues.client().read(&fixture.queues.name("commands"), n, TIMEOUT).await
}

/// Asserts the number of events, no dead letter and no unroutable message.
async fn expect_no_other_outcome(fixture: &Fixture, events: u32) {
    let client = fixture.queues.client();
    assert_eq!(client.depth(&fixture.queues.name("events")).await, events, "events");
    for queue in ["dead", "unroutable"] {
        client.expect_empty(&fixture.queues.name(queue)).await;
    }
}

/// Asserts that the signal lets attempts in flight finish and requeues the other commands.
async fn check_drain(signal: &str) {
    let fixture = Fixture::new(&format!("shutdown-{}", signal.to_lowercase())).await;
    fixture.sandbox.script([Rule::new(Action::delay(Duration::from_secs(1))).forever()]).expect("room");
    let daemon = start_busy(&fixture, "30s").await;
    daemon.signal(signal);
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 0);

    assert_eq!(fixture.posts(), u64::from(IN_FLIGHT), "no attempt starts after the signal");
    expect_no_other_outcome(&fixture, IN_FLIGHT.into()).await;
    let events = fixture.queues.events(IN_FLIGHT).await;
    assert!(events.iter().all(|event| event["outcome"] == "succeeded"), "{events:?}");
    let rest: Vec<_> = read_queued(&fixture, SENT - IN_FLIGHT).await.iter().map(Message::json).collect();
    let all: BTreeSet<_> = events.iter().chain(&rest).map(id).collect();
    assert_eq!(all.len(), usize::from(SENT), "each command has either an event or a place in the queue");
}

#[tokio::test]
async fn sigterm_finishes_attempts_and_requeues_the_rest() {
    check_drain("TERM").await;
}

#[tokio::test]
async fn sigint_finishes_attempts_and_requeues_the_rest() {
    check_drain("INT").await;
}

/// Asserts that all commands are in the queue, those attempted marked as redelivered.
async fn expect_all_requeued(fixture: &Fixture) {
    expect_no_other_outcome(fixture, 0).await;
    let requeued = read_queued(fixture, SENT).await;
    let redelivered: BTreeSet<_> = requeued
        .iter()
        .filter(|message| message.redelivered)
        .map(|message| message.json())
        .map(|json| id(&json).to_owned())
        .collect();
    let posted: BTreeSet<_> = (0..IN_FLIGHT).map(|index| format!("c-{index}")).collect();
    assert!(redelivered.is_superset(&posted), "marked as redelivered: {redelivered:?}");
}

#[tokio::test]
async fn drain_timeout_exits_70_and_requeues_commands() {
    let fixture = Fixture::new("shutdown-late").await;
    fixture.sandbox.script([Rule::new(ScriptedResponse::Hang).forever()]).expect("room");
    let daemon = start_busy(&fixture, "200ms").await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 70);
    assert!(daemon.log_text().contains("the drain timed out with 4 commands in hand"), "{}", daemon.log_text());
    expect_all_requeued(&fixture).await;
}

#[tokio::test]
async fn second_sigterm_exits_at_once() {
    let fixture = Fixture::new("shutdown-twice").await;
    fixture.sandbox.script([Rule::new(ScriptedResponse::Hang).forever()]).expect("room");
    let daemon = start_busy(&fixture, "1h").await;
    daemon.signal("TERM");
    eventually!(TIMEOUT, daemon.log_text().contains("the gate is closed (drain)"), "a log line about the drain");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 70);
    // The broker detects the closed connections shortly after the process has exited.
    eventually!(TIMEOUT, fixture.queued().await == u32::from(SENT), "all commands in the queue");
    expect_all_requeued(&fixture).await;
}

#[tokio::test]
async fn sigterm_with_broker_down_exits_promptly() {
    let fixture = Fixture::new("shutdown-no-broker").await;
    let proxy = Proxy::tcp(fixture.queues.broker().host_and_port()).await;
    let url = fixture.queues.broker().url_at(proxy.address());
    let daemon = start_ready(&fixture.builder().set("broker.url", &url)).await;
    proxy.refuse().await;
    proxy.cut();
    wait_not_ready(&daemon, &["consume: not connected", "publish: not connected"]).await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(PROMPT_TIMEOUT).await, 0);
}

#[tokio::test]
async fn drain_timeout_with_unpublished_outcome_requeues_command() {
    let fixture = Fixture::new("shutdown-unpublished").await;
    fixture.sandbox.script([Rule::new(Action::delay(Duration::from_secs(1))).forever()]).expect("room");
    let proxy = Proxy::tcp(fixture.queues.broker().host_and_port()).await;
    let url = fixture.queues.broker().url_at(proxy.address());
    let daemon = start_ready(&fixture.builder().set("broker.url", &url).set("delivery.drain", "2s")).await;
    fixture.send(1, "hello").await;
    eventually!(TIMEOUT, fixture.posts() == 1, "an attempt in flight");
    proxy.refuse().await;
    proxy.cut();
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 70);
    expect_no_other_outcome(&fixture, 0).await;
    assert!(read_queued(&fixture, 1).await[0].redelivered);
}

#[tokio::test]
async fn sigterm_with_closed_gate_exits_promptly() {
    let options = Options { token: Some("another".into()), ..Options::default() };
    let fixture = Fixture::with("shutdown-auth", options).await;
    let daemon = start_ready(&fixture.builder().set("limits.max_in_flight", &IN_FLIGHT.to_string())).await;
    fixture.send(SENT, "hello").await;
    wait_not_ready(&daemon, &["auth: "]).await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(PROMPT_TIMEOUT).await, 0);
    expect_no_other_outcome(&fixture, 0).await;
    read_queued(&fixture, SENT).await;
}
