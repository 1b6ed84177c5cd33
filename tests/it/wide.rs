//! Thousands of commands in hand at once: more than the 2,000 that a quorum queue hands out to whom no limit is set.

use std::time::Duration;

use edna_courier::sandbox::{Action, ReceivedFilter, Rule};
use futures_util::future::join_all;
use lapin::{BasicProperties, options::BasicPublishOptions};

use crate::{
    faults::settle,
    support::{
        SOON,
        account::{Ending, Told},
        daemon::{Setup, field},
        eventually::eventually,
        stage::{Stage, command, ready, start_ready},
    },
};

const IN_FLIGHT: u16 = 3_000;
const COMMANDS: u16 = 9_000;
/// Handed to the client library at once.
const BATCH: usize = 500;

/// All commands, without a wait for each.
async fn send_all(stage: &Stage) {
    let channel = stage.queues.client().confirming_channel().await;
    let exchange = stage.queues.name("commands");
    let publish = async |index| {
        let (exchange, options) = (exchange.as_str().into(), BasicPublishOptions::default());
        let properties = BasicProperties::default().with_delivery_mode(2);
        let body = command(index, "hello").to_string();
        let sent = channel.basic_publish(exchange, "send".into(), options, body.as_bytes(), properties).await;
        sent.expect("written").await.expect("stored");
    };
    let all: Vec<_> = (0..COMMANDS).collect();
    for batch in all.chunks(BATCH) {
        join_all(batch.iter().copied().map(publish)).await;
    }
}

#[tokio::test]
async fn thousands_are_in_hand_while_the_gate_closes_and_opens() {
    let stage = Stage::new("wide").await;
    let setup = stage.setup().set("limits.mode", "fixed").set("limits.max_in_flight", &IN_FLIGHT.to_string());
    let daemon = start_ready(&setup.set("admin.token", "s3cret")).await;
    stage.sandbox.script([Rule::new(Action::delay(Duration::from_secs(1))).forever()]).expect("room");
    send_all(&stage).await;
    let in_hand = async || daemon.metric("courier_in_hand", &[]).await;
    // Half as many again fit; those of the first seconds, when less fits, may be told already.
    eventually!(SOON, in_hand().await > f64::from(IN_FLIGHT), "a full hand");

    assert_eq!(daemon.post("/pause", Some("s3cret")).await.0, 200);
    eventually!(SOON, daemon.metric("courier_consumer_active", &[]).await == 0.0, "the end of the subscription");
    eventually!(SOON, daemon.metric("courier_in_flight", &[]).await == 0.0, "the end of what was under way");
    let (posts, waiting) = (stage.posts() as f64, async || f64::from(stage.waiting().await));
    let held = |held: &f64| *held == f64::from(COMMANDS) - posts;
    eventually!(SOON, in_hand().await + waiting().await, held, "each told of, in hand or in the queue");
    assert!(in_hand().await > 2_000.0 && waiting().await > 0.0, "a closed gate takes nothing, and lets nothing go");

    stage.sandbox.clear_script();
    assert_eq!(daemon.post("/resume", Some("s3cret")).await.0, 200);
    ready(&daemon).await;
    settle(&stage, &daemon, |_| Ending::success(1..=1), COMMANDS, Told::Once).await;
    let received = stage.sandbox.received(&ReceivedFilter { limit: Some(0), ..ReceivedFilter::default() });
    assert_eq!((received.total, received.accepted), (COMMANDS.into(), COMMANDS.into()), "none was sent twice");
}

#[tokio::test]
async fn a_limit_of_open_files_that_is_too_low_is_warned_of() {
    let stage = Stage::new("few-files").await;
    let limited = Setup::of("sh", &["-c", "ulimit -n 512; exec \"$0\" run", env!("CARGO_BIN_EXE_edna-courier")]);
    let api = format!("http://{}", stage.sandbox.addr());
    let setup = limited.on(&stage.queues).set("broker.declare", "true").set("api.base_url", &api).set("api.token", "t");
    let daemon = start_ready(&setup.set("limits.max_in_flight", "1000")).await;
    let log = daemon.log();
    let warned = |line: &serde_json::Value| {
        let message = field(line, "message").and_then(|message| message.as_str()).unwrap_or_default();
        message.contains("lets this daemon open 512 files") && field(line, "level").is_some_and(|level| level == "WARN")
    };
    assert_eq!(log.iter().filter(|line| warned(line)).count(), 1, "{log:?}");
    stage.end(&daemon).await;
}
