//! The end of a daemon: what is under way finishes, the rest goes back, nothing is lost and nothing done twice.

use std::{collections::BTreeSet, time::Duration};

use edna_courier::sandbox::{Action, Options, Rule, ScriptedResponse};

use crate::support::{
    SOON,
    daemon::Daemon,
    eventually::eventually,
    message::Message,
    proxy::Proxy,
    stage::{Stage, id, not_ready, start_ready},
};

/// Well before any deadline of the daemon's own.
const PROMPTLY: Duration = Duration::from_secs(10);

/// Attempts at once; the prefetch is two more.
const IN_FLIGHT: u16 = 4;
const SENT: u16 = 20;

/// A daemon with as many attempts under way as may be, and commands in the queue behind them.
async fn busy(stage: &Stage, drain: &str) -> Daemon {
    let setup = stage.setup().set("limits.max_in_flight", &IN_FLIGHT.to_string()).set("delivery.drain", drain);
    let daemon = start_ready(&setup).await;
    stage.send(SENT, "hello").await;
    eventually!(SOON, stage.posts() == u64::from(IN_FLIGHT), "attempts under way");
    daemon
}

/// Takes what is left in the queue of commands and insists that there is no more than that.
async fn left(stage: &Stage, n: u16) -> Vec<Message> {
    assert_eq!(stage.waiting().await, u32::from(n), "commands in the queue");
    stage.queues.client().read(&stage.queues.name("commands"), n, SOON).await
}

/// None but the commands' own queue and `events` events hold anything.
async fn expect_no_other_outcome(stage: &Stage, events: u32) {
    let client = stage.queues.client();
    assert_eq!(client.depth(&stage.queues.name("events")).await, events, "events");
    for queue in ["dead", "unroutable"] {
        client.expect_empty(&stage.queues.name(queue)).await;
    }
}

async fn finishes_what_is_under_way(signal: &str) {
    let stage = Stage::new(&format!("shutdown-{}", signal.to_lowercase())).await;
    stage.sandbox.script([Rule::new(Action::delay(Duration::from_secs(1))).forever()]).expect("room");
    let daemon = busy(&stage, "30s").await;
    daemon.signal(signal);
    assert_eq!(daemon.wait_exit(SOON).await, 0);

    assert_eq!(stage.posts(), u64::from(IN_FLIGHT), "no attempt starts after the signal");
    expect_no_other_outcome(&stage, IN_FLIGHT.into()).await;
    let events = stage.queues.events(IN_FLIGHT).await;
    assert!(events.iter().all(|event| event["outcome"] == "succeeded"), "{events:?}");
    let rest: Vec<_> = left(&stage, SENT - IN_FLIGHT).await.iter().map(Message::json).collect();
    let all: BTreeSet<_> = events.iter().chain(&rest).map(id).collect();
    assert_eq!(all.len(), usize::from(SENT), "each is either told or back in the queue, none is both");
}

#[tokio::test]
async fn sigterm_finishes_what_is_under_way_and_puts_the_rest_back() {
    finishes_what_is_under_way("TERM").await;
}

#[tokio::test]
async fn sigint_does_the_same() {
    finishes_what_is_under_way("INT").await;
}

/// All that was under way is back in the queue, and the broker says that somebody had it.
async fn expect_all_back(stage: &Stage) {
    expect_no_other_outcome(stage, 0).await;
    let back = left(stage, SENT).await;
    let had: BTreeSet<_> = back
        .iter()
        .filter(|message| message.redelivered)
        .map(|message| message.json())
        .map(|json| id(&json).to_owned())
        .collect();
    let posted: BTreeSet<_> = (0..IN_FLIGHT).map(|index| format!("c-{index}")).collect();
    assert!(had.is_superset(&posted), "marked as redelivered: {had:?}");
}

#[tokio::test]
async fn out_of_time_is_told_and_the_commands_are_back_in_the_queue() {
    let stage = Stage::new("shutdown-late").await;
    stage.sandbox.script([Rule::new(ScriptedResponse::Hang).forever()]).expect("room");
    let daemon = busy(&stage, "200ms").await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 70);
    assert!(daemon.log_text().contains("the drain timed out with 4 commands in hand"), "{}", daemon.log_text());
    expect_all_back(&stage).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let stage = Stage::new("shutdown-twice").await;
    stage.sandbox.script([Rule::new(ScriptedResponse::Hang).forever()]).expect("room");
    let daemon = busy(&stage, "1h").await;
    daemon.signal("TERM");
    eventually!(SOON, daemon.log_text().contains("the gate is closed (drain)"), "the drain");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 70);
    // The broker notices the closed connections a moment after the process is gone.
    eventually!(SOON, stage.waiting().await == u32::from(SENT), "all commands in the queue");
    expect_all_back(&stage).await;
}

#[tokio::test]
async fn it_ends_promptly_while_the_broker_is_down() {
    let stage = Stage::new("shutdown-no-broker").await;
    let proxy = Proxy::tcp(stage.queues.broker().host_and_port()).await;
    let url = stage.queues.broker().url_at(proxy.address());
    let daemon = start_ready(&stage.setup().set("broker.url", &url)).await;
    proxy.refuse().await;
    proxy.cut();
    not_ready(&daemon, &["consume: not connected", "publish: not connected"]).await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(PROMPTLY).await, 0);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_told_in_time_leaves_the_command_with_the_broker() {
    let stage = Stage::new("shutdown-untold").await;
    stage.sandbox.script([Rule::new(Action::delay(Duration::from_secs(1))).forever()]).expect("room");
    let proxy = Proxy::tcp(stage.queues.broker().host_and_port()).await;
    let url = stage.queues.broker().url_at(proxy.address());
    let daemon = start_ready(&stage.setup().set("broker.url", &url).set("delivery.drain", "2s")).await;
    stage.send(1, "hello").await;
    eventually!(SOON, stage.posts() == 1, "an attempt under way");
    proxy.refuse().await;
    proxy.cut();
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 70);
    expect_no_other_outcome(&stage, 0).await;
    assert!(left(&stage, 1).await[0].redelivered);
}

#[tokio::test]
async fn it_ends_promptly_while_the_gate_is_closed() {
    let only = Options { token: Some("another".into()), ..Options::default() };
    let stage = Stage::with("shutdown-auth", only).await;
    let daemon = start_ready(&stage.setup().set("limits.max_in_flight", &IN_FLIGHT.to_string())).await;
    stage.send(SENT, "hello").await;
    not_ready(&daemon, &["auth: "]).await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(PROMPTLY).await, 0);
    expect_no_other_outcome(&stage, 0).await;
    left(&stage, SENT).await;
}
