//! Faults that need a private broker: closed connections, memory alarms.

use std::time::Duration;

use edna_courier::sandbox::{Action, Rule};

use super::{
    IN_FLIGHT, PREFETCH, builder, expect_no_more_posts, expect_outcomes, slow_api, wait_gate_closed, wait_recovered,
};
use crate::support::{
    TIMEOUT,
    broker::Broker,
    collector::{Duplicates, ExpectedOutcome},
    daemon::Daemon,
    eventually::eventually,
    fixture::{Fixture, start_ready},
    proxy::Role,
};

const COMMANDS: u16 = 60;

async fn rabbitmqctl(broker: &Broker, args: &[&str]) -> String {
    broker.rabbitmqctl(args).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn reconnects(daemon: &Daemon, role: Role) -> f64 {
    daemon.metric("courier_reconnects_total", &[("role", role.as_str())]).await
}

/// The pids of the daemon's connections, once the broker lists both.
async fn connections(broker: &Broker) -> [(Role, String); 2] {
    let listed = async || rabbitmqctl(broker, &["list_connections", "--quiet", "pid", "client_properties"]).await;
    let names = [Role::Consume, Role::Publish].map(|role| (role, format!("edna-courier {}", role.as_str())));
    let both = |listed: &String| names.iter().all(|(_, name)| listed.contains(name));
    let listed = eventually!(TIMEOUT, listed().await, both, "both connections listed");
    names.each_ref().map(|(role, name)| {
        let line = listed.lines().find(|line| line.contains(name)).expect("listed");
        (*role, line.split('\t').next().expect("a pid").to_owned())
    })
}

/// Slows the API down, as `rabbitmqctl` takes seconds and the commands must not all finish before.
fn slow_down(fixture: &Fixture) {
    fixture.sandbox.script([Rule::new(Action::delay(Duration::from_secs(2))).forever()]).expect("room");
}

#[tokio::test]
async fn connections_closed_by_operator_are_reopened() {
    let broker = Broker::exclusive().await;
    let fixture = Fixture::on(&broker, "closed", slow_api()).await;
    let daemon = start_ready(&builder(&fixture)).await;
    let connections = connections(&broker).await;
    slow_down(&fixture);
    fixture.send(COMMANDS, "hello").await;
    for (role, pid) in &connections {
        let posts = fixture.posts();
        eventually!(TIMEOUT, fixture.posts() > posts, "POSTs");
        rabbitmqctl(&broker, &["close_connection", pid, "closed by an operator"]).await;
        eventually!(TIMEOUT, reconnects(&daemon, *role).await, |count| *count == 1.0, "a reconnect");
        wait_recovered(&daemon).await;
    }
    let closed = |log: &String| log.contains("CONNECTION_FORCED - closed by an operator");
    eventually!(TIMEOUT, daemon.log_text(), closed, "the reason in the log");
    fixture.sandbox.clear_script();
    expect_outcomes(&fixture, &daemon, |_| ExpectedOutcome::succeeded(1..=1), COMMANDS, Duplicates::Allowed).await;
}

#[tokio::test]
async fn memory_alarm_closes_gate_and_stops_posts() {
    let broker = Broker::exclusive().await;
    let fixture = Fixture::on(&broker, "alarm", slow_api()).await;
    // Doubt about a command that was not posted would end it.
    let daemon = start_ready(&builder(&fixture).set("delivery.on_uncertain", "park")).await;
    slow_down(&fixture);
    fixture.send(COMMANDS, "hello").await;
    eventually!(TIMEOUT, fixture.posts() >= IN_FLIGHT, "POSTs");
    rabbitmqctl(&broker, &["set_vm_memory_high_watermark", "0.00001"]).await;

    wait_gate_closed(&daemon, "blocked").await;
    let problem = daemon.status().await["gate"]["problems"]["blocked"].clone();
    assert!(problem.as_str().is_some_and(|problem| problem.contains("the broker blocks publishing")), "{problem}");
    let posts = expect_no_more_posts(&fixture, &daemon).await;
    assert!(posts < u64::from(COMMANDS) - PREFETCH, "{posts} POSTs: the alarm came too late");
    assert!(daemon.metric("courier_unconfirmed", &[]).await >= 1.0, "an unconfirmed event");

    fixture.sandbox.clear_script();
    rabbitmqctl(&broker, &["set_vm_memory_high_watermark", "0.6"]).await;
    wait_recovered(&daemon).await;
    expect_outcomes(&fixture, &daemon, |_| ExpectedOutcome::succeeded(1..=1), COMMANDS, Duplicates::Forbidden).await;
    assert_eq!(fixture.posts(), u64::from(COMMANDS), "one POST for each command");
}

#[tokio::test]
async fn memory_alarm_at_start_allows_no_post() {
    let broker = Broker::exclusive().await;
    let fixture = Fixture::on(&broker, "alarm-before", slow_api()).await;
    let builder = builder(&fixture);
    let first = start_ready(&builder).await;
    fixture.drain(&first).await;
    fixture.send(COMMANDS, "hello").await;
    rabbitmqctl(&broker, &["set_vm_memory_high_watermark", "0.00001"]).await;

    let daemon = builder.start().await;
    let blocked = |report: &serde_json::Value| {
        let problem = report["gate"]["problems"]["blocked"].as_str();
        problem.is_some_and(|problem| problem.contains("the broker blocks publishing"))
    };
    eventually!(TIMEOUT, daemon.status().await, blocked, "a gate closed by the alarm");
    assert_eq!(expect_no_more_posts(&fixture, &daemon).await, 0);

    rabbitmqctl(&broker, &["set_vm_memory_high_watermark", "0.6"]).await;
    wait_recovered(&daemon).await;
    expect_outcomes(&fixture, &daemon, |_| ExpectedOutcome::succeeded(1..=1), COMMANDS, Duplicates::Forbidden).await;
}
