//! What only a broker of one's own can be asked for.

use std::time::Duration;

use edna_courier::sandbox::{Action, Rule};

use super::{IN_FLIGHT, PREFETCH, back, expect_no_more_posts, gate_closed_by, settle, setup, slowish};
use crate::support::{
    SOON,
    account::{Ending, Told},
    broker::Broker,
    daemon::Daemon,
    eventually::eventually,
    proxy::Link,
    stage::{Stage, start_ready},
};

const COMMANDS: u16 = 60;

async fn ctl(broker: &Broker, args: &[&str]) -> String {
    broker.rabbitmqctl(args).await.unwrap_or_else(|why| panic!("{why}"))
}

async fn reconnects(daemon: &Daemon, link: Link) -> f64 {
    daemon.metric("courier_reconnects_total", &[("role", link.as_str())]).await
}

/// The broker's names for the daemon's connections, once it lists both.
async fn connections(broker: &Broker) -> [(Link, String); 2] {
    let listed = async || ctl(broker, &["list_connections", "--quiet", "pid", "client_properties"]).await;
    let names = [Link::Consume, Link::Publish].map(|link| (link, format!("edna-courier {}", link.as_str())));
    let both = |listed: &String| names.iter().all(|(_, name)| listed.contains(name));
    let listed = eventually!(SOON, listed().await, both, "both connections in the list");
    names.each_ref().map(|(link, name)| {
        let line = listed.lines().find(|line| line.contains(name)).expect("listed");
        (*link, line.split('\t').next().expect("a pid").to_owned())
    })
}

/// A call of the broker's tool takes seconds; none of them may see the end of the commands.
fn take_time(stage: &Stage) {
    stage.sandbox.script([Rule::new(Action::delay(Duration::from_secs(2))).forever()]).expect("room");
}

#[tokio::test]
async fn connections_that_an_operator_closes_are_made_anew() {
    let broker = Broker::to_oneself().await;
    let stage = Stage::on(&broker, "closed", slowish()).await;
    let daemon = start_ready(&setup(&stage)).await;
    let connections = connections(&broker).await;
    take_time(&stage);
    stage.send(COMMANDS, "hello").await;
    for (link, pid) in &connections {
        let posts = stage.posts();
        eventually!(SOON, stage.posts() > posts, "commands that flow");
        ctl(&broker, &["close_connection", pid, "closed by an operator"]).await;
        eventually!(SOON, reconnects(&daemon, *link).await, |times| *times == 1.0, "the connection again");
        back(&daemon).await;
    }
    assert!(daemon.log_text().contains("CONNECTION_FORCED - closed by an operator"), "{}", daemon.log_text());
    stage.sandbox.clear_script();
    settle(&stage, &daemon, |_| Ending::success(1..=1), COMMANDS, Told::OnceOrAgain).await;
}

#[tokio::test]
async fn a_broker_without_memory_blocks_us_and_nothing_is_posted_meanwhile() {
    let broker = Broker::to_oneself().await;
    let stage = Stage::on(&broker, "alarm", slowish()).await;
    let daemon = start_ready(&setup(&stage)).await;
    take_time(&stage);
    stage.send(COMMANDS, "hello").await;
    eventually!(SOON, stage.posts() >= IN_FLIGHT, "commands that flow");
    ctl(&broker, &["set_vm_memory_high_watermark", "0.00001"]).await;

    gate_closed_by(&daemon, "blocked").await;
    let problem = daemon.report().await["gate"]["problems"]["blocked"].clone();
    assert!(problem.as_str().is_some_and(|problem| problem.contains("the broker blocks publishing")), "{problem}");
    let posts = expect_no_more_posts(&stage, &daemon).await;
    assert!(posts < u64::from(COMMANDS) - PREFETCH, "{posts} POSTs: too late to show anything");
    assert!(daemon.metric("courier_unconfirmed", &[]).await >= 1.0, "an outcome waits");

    stage.sandbox.clear_script();
    ctl(&broker, &["set_vm_memory_high_watermark", "0.6"]).await;
    back(&daemon).await;
    settle(&stage, &daemon, |_| Ending::success(1..=1), COMMANDS, Told::Once).await;
    assert_eq!(stage.posts(), u64::from(COMMANDS), "each was posted once");
}

#[tokio::test]
async fn a_daemon_that_comes_while_the_broker_has_no_memory_posts_nothing() {
    let broker = Broker::to_oneself().await;
    let stage = Stage::on(&broker, "alarm-before", slowish()).await;
    let setup = setup(&stage);
    let former = start_ready(&setup).await;
    stage.end(&former).await;
    stage.send(COMMANDS, "hello").await;
    ctl(&broker, &["set_vm_memory_high_watermark", "0.00001"]).await;

    let daemon = setup.start().await;
    let is_told = |report: &serde_json::Value| {
        let problem = report["gate"]["problems"]["blocked"].as_str();
        problem.is_some_and(|problem| problem.contains("the broker blocks publishing"))
    };
    eventually!(SOON, daemon.report().await, is_told, "a gate that is closed by the alarm");
    assert_eq!(expect_no_more_posts(&stage, &daemon).await, 0);

    ctl(&broker, &["set_vm_memory_high_watermark", "0.6"]).await;
    back(&daemon).await;
    settle(&stage, &daemon, |_| Ending::success(1..=1), COMMANDS, Told::Once).await;
}
