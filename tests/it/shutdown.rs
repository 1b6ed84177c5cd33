//! The end of a daemon: what is under way finishes, the rest goes back, nothing is lost and nothing done twice.

use std::{collections::BTreeSet, time::Duration};

use edna_courier::sandbox::{Action, Answer, Options, Rule};

use crate::support::{
    SOON,
    bench::{Bench, id, not_ready, start_ready},
    daemon::Daemon,
    eventually::eventually,
    message::Message,
    proxy::Proxy,
};

/// Well before any deadline of the daemon's own.
const PROMPTLY: Duration = Duration::from_secs(10);

/// Attempts at once; the prefetch is one more.
const IN_FLIGHT: u16 = 4;
const SENT: u16 = 20;

/// A daemon with as many attempts under way as may be, and commands in the queue behind them.
async fn busy(bench: &Bench, drain: &str) -> Daemon {
    let setup = bench.setup().set("limits.max_in_flight", &IN_FLIGHT.to_string()).set("delivery.drain", drain);
    let daemon = start_ready(&setup).await;
    bench.send(SENT, "hello").await;
    eventually!(SOON, bench.posts() == u64::from(IN_FLIGHT), "attempts under way");
    daemon
}

/// Takes what is left in the queue of commands and insists that there is no more than that.
async fn left(bench: &Bench, n: u16) -> Vec<Message> {
    assert_eq!(bench.waiting().await, u32::from(n), "commands in the queue");
    bench.queues.client().read(&bench.queues.name("commands"), n, SOON).await
}

/// None but the commands' own queue and `events` events hold anything.
async fn expect_no_other_outcome(bench: &Bench, events: u32) {
    let client = bench.queues.client();
    assert_eq!(client.depth(&bench.queues.name("events")).await, events, "events");
    for queue in ["dead", "unroutable"] {
        client.expect_empty(&bench.queues.name(queue)).await;
    }
}

async fn finishes_what_is_under_way(signal: &str) {
    let bench = Bench::new(&format!("shutdown-{}", signal.to_lowercase())).await;
    bench.sandbox.script([Rule::new(Action::delay(Duration::from_secs(1))).forever()]).expect("room");
    let daemon = busy(&bench, "30s").await;
    daemon.signal(signal);
    assert_eq!(daemon.wait_exit(SOON).await, 0);

    assert_eq!(bench.posts(), u64::from(IN_FLIGHT), "no attempt starts after the signal");
    expect_no_other_outcome(&bench, IN_FLIGHT.into()).await;
    let events = bench.queues.events(IN_FLIGHT).await;
    assert!(events.iter().all(|event| event["outcome"] == "succeeded"), "{events:?}");
    let rest: Vec<_> = left(&bench, SENT - IN_FLIGHT).await.iter().map(Message::json).collect();
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
async fn expect_all_back(bench: &Bench) {
    expect_no_other_outcome(bench, 0).await;
    let back = left(bench, SENT).await;
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
    let bench = Bench::new("shutdown-late").await;
    bench.sandbox.script([Rule::new(Answer::Hang).forever()]).expect("room");
    let daemon = busy(&bench, "200ms").await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 70);
    assert!(daemon.log_text().contains("the drain ran out of time with 4 commands in hand"), "{}", daemon.log_text());
    expect_all_back(&bench).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let bench = Bench::new("shutdown-twice").await;
    bench.sandbox.script([Rule::new(Answer::Hang).forever()]).expect("room");
    let daemon = busy(&bench, "1h").await;
    daemon.signal("TERM");
    eventually!(SOON, daemon.log_text().contains("the gate is closed (drain)"), "the drain");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 70);
    // The broker notices the closed connections a moment after the process is gone.
    eventually!(SOON, bench.waiting().await == u32::from(SENT), "all commands in the queue");
    expect_all_back(&bench).await;
}

#[tokio::test]
async fn it_ends_promptly_while_the_broker_is_down() {
    let bench = Bench::new("shutdown-no-broker").await;
    let proxy = Proxy::tcp(bench.queues.broker().host_and_port()).await;
    let url = bench.queues.broker().url_at(proxy.address());
    let daemon = start_ready(&bench.setup().set("broker.url", &url)).await;
    proxy.refuse().await;
    proxy.cut();
    not_ready(&daemon, &["consume: not connected", "publish: not connected"]).await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(PROMPTLY).await, 0);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_told_in_time_leaves_the_command_with_the_broker() {
    let bench = Bench::new("shutdown-untold").await;
    bench.sandbox.script([Rule::new(Action::delay(Duration::from_secs(1))).forever()]).expect("room");
    let proxy = Proxy::tcp(bench.queues.broker().host_and_port()).await;
    let url = bench.queues.broker().url_at(proxy.address());
    let daemon = start_ready(&bench.setup().set("broker.url", &url).set("delivery.drain", "2s")).await;
    bench.send(1, "hello").await;
    eventually!(SOON, bench.posts() == 1, "an attempt under way");
    proxy.refuse().await;
    proxy.cut();
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 70);
    expect_no_other_outcome(&bench, 0).await;
    assert!(left(&bench, 1).await[0].redelivered);
}

#[tokio::test]
async fn it_ends_promptly_while_the_gate_is_closed() {
    let only = Options { token: Some("another".into()), ..Options::default() };
    let bench = Bench::with("shutdown-auth", only).await;
    let daemon = start_ready(&bench.setup().set("limits.max_in_flight", &IN_FLIGHT.to_string())).await;
    bench.send(SENT, "hello").await;
    not_ready(&daemon, &["auth: "]).await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(PROMPTLY).await, 0);
    expect_no_other_outcome(&bench, 0).await;
    left(&bench, SENT).await;
}
