//! A delay queue that does not return its messages is told by `/readyz`, a metric and the log.

use std::{net::TcpListener, time::Duration};

use lapin::{BasicProperties, ExchangeKind, types::AMQPValue};

use crate::support::{
    TIMEOUT,
    daemon::Daemon,
    eventually::eventually,
    fixture::{Fixture, command, start_ready, wait_not_ready, wait_ready},
};

const TIER: &str = "retry.1s";
/// The tier's length, the daemon's slack, and several counts.
const DETECTION_TIMEOUT: Duration = Duration::from_secs(90);

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Starts a daemon whose only tier has these arguments, and sends a command that goes there.
async fn with_delayed_command<const N: usize>(
    test: &str,
    arguments: [(&str, AMQPValue); N],
    by_management: bool,
) -> (Fixture, Daemon) {
    let fixture = Fixture::new(test).await;
    let (client, tier) = (fixture.queues.client(), fixture.queues.name(TIER));
    client.declare_exchange(&tier, ExchangeKind::Fanout).await;
    client.declare_queue(&tier, "", arguments).await;
    let mut builder = fixture.builder().set("delivery.tiers", "1s");
    if by_management {
        builder = builder.set("broker.management_url", fixture.queues.broker().management_url());
    }
    let daemon = start_ready(&builder).await;
    fixture.queues.send(&command(0, "[[status=503,times=9]]")).await;
    let delayed = async || daemon.metric("courier_retries_total", &[("tier", "1s")]).await;
    eventually!(TIMEOUT, delayed().await, |count| *count == 1.0, "a delayed command");
    (fixture, daemon)
}

async fn is_stuck(daemon: &Daemon) -> bool {
    daemon.metric("courier_tier_stuck", &[("tier", "1s")]).await == 1.0
}

async fn expect_stuck(daemon: &Daemon) {
    eventually!(DETECTION_TIMEOUT, is_stuck(daemon).await, "the stuck tier");
    wait_not_ready(daemon, &["tier: queue retry.1s does not return its 1 messages", "topology verify"]).await;
    assert_eq!(daemon.status().await["stuck_tiers"], serde_json::json!(["1s"]));
    assert_eq!(daemon.metric("courier_queue_messages", &[("queue", TIER)]).await, 1.0);
    assert!(daemon.log_text().contains("queue retry.1s does not return its 1 messages"), "{}", daemon.log_text());
}

#[tokio::test]
async fn tier_without_ttl_is_stuck_until_it_is_empty() {
    let (fixture, daemon) = with_delayed_command("stuck-ttl", [], false).await;
    expect_stuck(&daemon).await;
    fixture.queues.client().read_one(&fixture.queues.name(TIER), TIMEOUT).await;
    eventually!(DETECTION_TIMEOUT, !is_stuck(&daemon).await, "the end of it");
    wait_ready(&daemon).await;
}

/// AMQP does not show messages that the broker cannot dead-letter.
#[tokio::test]
async fn tier_without_target_is_stuck_by_management_api() {
    let arguments = [
        ("x-message-ttl", AMQPValue::LongLongInt(1_000)),
        ("x-dead-letter-exchange", text("t-nowhere")),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ];
    let (fixture, daemon) = with_delayed_command("stuck-target", arguments, true).await;
    expect_stuck(&daemon).await;
    assert_eq!(fixture.queues.client().depth(&fixture.queues.name(TIER)).await, 0, "by AMQP");
}

#[tokio::test]
async fn messages_are_counted_by_amqp_without_the_management_api() {
    let fixture = Fixture::new("count-fallback").await;
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let builder = fixture.builder().set("broker.management_url", &format!("http://{unused}"));
    let daemon = start_ready(&builder).await;
    fixture.queues.client().publish(&fixture.queues.name("dead"), "rejected", b"{}", BasicProperties::default()).await;
    let counted = async || daemon.metric("courier_queue_messages", &[("queue", "dead")]).await;
    eventually!(TIMEOUT, counted().await == 1.0, "the dead letter is counted");
}

#[tokio::test]
async fn missing_exchange_of_commands_is_told_while_running() {
    let fixture = Fixture::new("stuck-exchange").await;
    let daemon = start_ready(&fixture.builder()).await;
    let commands = fixture.queues.name("commands");
    fixture.queues.client().delete_exchange(&commands).await;
    let sessions = daemon.metric("courier_reconnects_total", &[]).await;
    let missing = format!("missing: exchange {commands}");
    wait_not_ready(&daemon, &["topology: ", &missing]).await;
    fixture.queues.client().declare_exchange(&commands, ExchangeKind::Direct).await;
    fixture.queues.client().bind(&commands, "send").await;
    wait_ready(&daemon).await;
    assert_eq!(daemon.metric("courier_reconnects_total", &[]).await, sessions, "the sessions go on");
}
