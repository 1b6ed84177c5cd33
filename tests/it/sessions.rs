//! The broker goes and comes back: every command still reaches its outcome, and the daemon says what is wrong meanwhile.

use std::{collections::BTreeMap, time::Duration};

use edna_courier::sandbox::{Action, Options, Rule};
use lapin::{BasicProperties, ExchangeKind, types::AMQPValue};

use crate::{
    faults::settle,
    support::{
        SOON,
        account::{Ending, Told},
        broker::Broker,
        daemon::{Daemon, Setup},
        eventually::eventually,
        proxy::Proxy,
        stage::{Stage, command, not_ready, ready, start_ready},
    },
};

/// Slow enough that a fault meets attempts under way.
fn slowish() -> Options {
    Options { latency: Duration::from_millis(20), ..Options::default() }
}

/// A daemon behind a proxy that notices within some four seconds that nothing comes any more.
async fn behind_proxy(stage: &Stage) -> (Proxy, Setup) {
    let broker = stage.queues.broker();
    let proxy = Proxy::tcp(broker.host_and_port()).await;
    let url = format!("{}?heartbeat=2", broker.url_at(proxy.address()));
    (proxy, stage.setup().set("broker.url", &url).set("limits.max_in_flight", "8"))
}

async fn reconnects(daemon: &Daemon) -> [f64; 2] {
    let of = async |role| daemon.metric("courier_reconnects_total", &[("role", role)]).await;
    [of("consume").await, of("publish").await]
}

/// Ends the daemon once all is told. A command may have been sent twice only if one of its events says so; told twice, it
/// is told by the same id.
async fn expect_every_outcome(stage: &Stage, daemon: &Daemon, n: u16) {
    settle(stage, daemon, |_| Ending::success(1..=1), n, Told::OnceOrAgain).await;
}

#[tokio::test]
async fn cut_connections_lose_nothing() {
    let stage = Stage::with("cut", slowish()).await;
    let (proxy, setup) = behind_proxy(&stage).await;
    let daemon = start_ready(&setup).await;
    stage.send(150, "hello").await;
    for (cut, posts) in [(1.0, 5), (2.0, 80)] {
        eventually!(SOON, stage.posts() >= posts, "commands that flow");
        proxy.cut();
        eventually!(SOON, reconnects(&daemon).await, |seen| seen.iter().all(|n| *n >= cut), "both links back");
    }
    assert!(daemon.log_text().contains("connection to the broker (consume) lost"));
    ready(&daemon).await;
    expect_every_outcome(&stage, &daemon, 150).await;
}

#[tokio::test]
async fn a_link_that_stands_still_is_given_up_and_made_anew() {
    let stage = Stage::with("stall", slowish()).await;
    let (proxy, setup) = behind_proxy(&stage).await;
    let daemon = start_ready(&setup).await;
    stage.send(60, "hello").await;
    eventually!(SOON, stage.posts() >= 10, "commands that flow");
    proxy.stall();
    not_ready(&daemon, &["consume: not connected to the broker: ", "publish: not connected to the broker: "]).await;
    proxy.resume().await;
    eventually!(SOON, reconnects(&daemon).await, |seen| seen.iter().all(|n| *n >= 1.0), "both links back");
    expect_every_outcome(&stage, &daemon, 60).await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    let stage = Stage::new("late-broker").await;
    let (proxy, setup) = behind_proxy(&stage).await;
    proxy.refuse().await;
    let daemon = setup.start().await;
    let address = proxy.address().to_string();
    not_ready(&daemon, &["consume: not connected to the broker: cannot connect to", &address, "publish: "]).await;
    let tries = || daemon.log_text().matches("connecting to the broker (consume) failed").count();
    eventually!(SOON, tries() >= 3, "tries again and again");
    assert_eq!(daemon.metric("courier_connected", &[]).await, 0.0);
    proxy.resume().await;
    ready(&daemon).await;
    assert_eq!(reconnects(&daemon).await, [0.0, 0.0], "the first connection is no reconnect");
    stage.send(1, "hello").await;
    expect_every_outcome(&stage, &daemon, 1).await;
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_declared_and_served_again() {
    let stage = Stage::new("deleted-queue").await;
    let daemon = start_ready(&stage.setup()).await;
    let commands = stage.queues.name("commands");
    stage.queues.client().delete_queue(&commands).await;
    let told = format!("the broker cancelled the consumer of queue {commands}");
    eventually!(SOON, daemon.log_text().contains(&told), "a log line that tells it");
    ready(&daemon).await;
    stage.send(3, "hello").await;
    stage.expect_success_of_all(3).await;
    stage.end(&daemon).await;
}

#[tokio::test]
async fn a_topology_that_is_missing_is_named_and_waited_for() {
    let stage = Stage::new("no-topology").await;
    let daemon = stage.setup().set("broker.declare", "false").start().await;
    let missing = ["exchange {}.events", "exchange {}.dead", "exchange {}.retry.1h", "queue {}.commands"];
    let missing = missing.map(|object| object.replace("{}", stage.queues.prefix()));
    let remedies = ["edna-courier topology apply", "edna-courier topology export", "set broker.declare = true"];
    let told: Vec<_> = missing.iter().map(String::as_str).chain(remedies).collect();
    not_ready(&daemon, &told).await;
    let log = daemon.log_text();
    assert!(told.iter().all(|part| log.contains(part)), "{log}");

    stage.queues.declare("events", ExchangeKind::Topic, "#").await;
    stage.queues.declare("dead", ExchangeKind::Direct, "rejected").await;
    for tier in ["5s", "30s", "2m", "10m", "1h"] {
        stage.queues.declare(&format!("retry.{tier}"), ExchangeKind::Fanout, "").await;
    }
    let missing = format!("missing: exchange {0}, queue {0};", stage.queues.name("commands"));
    not_ready(&daemon, &["topology: ", &missing]).await;

    stage.queues.declare("commands", ExchangeKind::Direct, "send").await;
    ready(&daemon).await;
    stage.send(3, "hello").await;
    stage.expect_success_of_all(3).await;
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 0);
    stage.queues.client().expect_empty(&stage.queues.name("commands")).await;
}

#[tokio::test]
async fn a_topology_of_another_type_is_named_and_nothing_is_taken_until_it_is_mended() {
    let stage = Stage::new("wrong-topology").await;
    let events = stage.queues.declare("events", ExchangeKind::Fanout, "").await;
    stage.queues.declare("commands", ExchangeKind::Direct, "send").await;
    stage.send(3, "hello").await;
    let daemon = stage.setup().start().await;
    let told = format!("of another type, which no policy can change: exchange {events};");
    not_ready(&daemon, &["topology: ", &told, "delete"]).await;
    assert_eq!((stage.posts(), stage.waiting().await), (0, 3));

    stage.queues.client().delete_exchange(&events).await;
    ready(&daemon).await;
    stage.expect_success_of_all(3).await;
    stage.end(&daemon).await;
}

/// RabbitMQ delivers headers in one frame, as they were published.
#[tokio::test]
async fn large_headers_cost_no_connection() {
    let stage = Stage::new("large-headers").await;
    let daemon = start_ready(&stage.setup()).await;
    let headers: BTreeMap<_, _> =
        (0..100).map(|n| (format!("n{n}").into(), AMQPValue::LongString("x".repeat(1_000).into()))).collect();
    let properties = BasicProperties::default().with_headers(headers.into());
    let body = command(0, "hello").to_string();
    stage.queues.client().publish(&stage.queues.name("commands"), "send", body.as_bytes(), properties).await;
    eventually!(SOON, stage.posts() == 1, "the command with large headers");
    assert_eq!(reconnects(&daemon).await, [0.0, 0.0]);
    expect_every_outcome(&stage, &daemon, 1).await;
}

/// All of them, with those that the daemon adds, would not fit into a frame.
#[tokio::test]
async fn as_many_headers_as_a_frame_holds_cost_no_connection() {
    let stage = Stage::new("passed-on-headers").await;
    let broker = stage.queues.broker();
    let url = format!("{}?frame_max=4096", broker.url());
    let daemon = start_ready(&stage.setup().set("broker.url", &url)).await;
    let headers: BTreeMap<_, _> =
        (0..4).map(|n| (format!("cloudEvents_n{n}").into(), AMQPValue::LongString("x".repeat(2_000).into()))).collect();
    let properties = BasicProperties::default().with_headers(headers.into());
    stage.queues.client().publish(&stage.queues.name("commands"), "send", b"{}", properties).await;
    let letter = stage.queues.dead_letters(1).await.remove(0);
    let passed_on = letter.headers.keys().filter(|name| name.starts_with("cloudEvents_"));
    assert_eq!(passed_on.count(), 2);
    assert_eq!(reconnects(&daemon).await, [0.0, 0.0]);
    stage.end(&daemon).await;
}

#[tokio::test]
async fn a_broker_that_restarts_loses_nothing() {
    let broker = Broker::to_oneself().await;
    let mut stage = Stage::on(&broker, "restart", slowish()).await;
    // A stop takes some seconds; none of them may see the end of the commands.
    stage.sandbox.script([Rule::new(Action::delay(Duration::from_secs(2))).forever()]).expect("room");
    let daemon = start_ready(&stage.setup().set("limits.max_in_flight", "4")).await;
    stage.send(60, "hello").await;
    eventually!(SOON, stage.posts() >= 4, "commands that flow");
    broker.stop().await;
    stage.sandbox.clear_script();
    not_ready(&daemon, &["consume: not connected", "publish: not connected"]).await;
    assert!(stage.posts() < 60, "commands are left in the queue");
    broker.start().await;
    stage.queues.reconnect().await;
    ready(&daemon).await;
    expect_every_outcome(&stage, &daemon, 60).await;
}
