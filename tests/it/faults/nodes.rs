//! Several addresses of the broker, one of which accepts connections and is of no use.

use std::time::Duration;

use lapin::types::AMQPValue;

use super::{RECOVERY_TIMEOUT, builder, wait_recovered};
use crate::support::{
    TIMEOUT,
    eventually::eventually,
    fixture::{Fixture, start_ready},
    proxy::{Proxy, Role},
};

/// From the fault until `/readyz` shows it.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);

/// Less than one try to connect to a silent address may take.
const SOON: Duration = Duration::from_secs(6);

/// Two addresses of the broker, and the list of both URLs.
async fn two_nodes(fixture: &Fixture) -> (Proxy, Proxy, String) {
    let broker = fixture.queues.broker();
    let [first, second] = [Proxy::amqp(broker.host_and_port()).await, Proxy::amqp(broker.host_and_port()).await];
    let urls = [&first, &second].map(|proxy| broker.url_at(proxy.address()));
    (first, second, urls.join(","))
}

#[tokio::test]
async fn silent_first_address_is_left_by_both_roles() {
    let fixture = Fixture::new("silent-node").await;
    let (first, second, urls) = two_nodes(&fixture).await;
    first.blackhole();
    let daemon = start_ready(&builder(&fixture).set("broker.url", &urls)).await;
    assert_eq!(second.open(), 2, "both connections use the second address");
    fixture.drain(&daemon).await;
}

/// Asserts that an idle daemon leaves the first of two nodes after the fault, which it reports in time.
async fn check_node_left(test: &str, fault: impl Fn(&Proxy)) {
    let fixture = Fixture::new(test).await;
    let (first, second, urls) = two_nodes(&fixture).await;
    let daemon = start_ready(&builder(&fixture).set("broker.url", &urls)).await;
    assert_eq!((first.open(), second.open()), (2, 0));
    fault(&first);
    let readiness = async || daemon.get("/readyz").await.0;
    eventually!(REPORTED_WITHIN, readiness().await, |status| *status == 503, "the fault is reported");
    eventually!(RECOVERY_TIMEOUT - REPORTED_WITHIN, readiness().await, |status| *status == 200, "readiness");
    fixture.send(3, "hello").await;
    let events = fixture.queues.events(3).await;
    assert_eq!(fixture.posts(), 3, "{events:?}");
    assert!(second.open() >= 1, "the daemon consumes from the second node");
}

#[tokio::test]
async fn frozen_node_is_left() {
    check_node_left("frozen-node", Proxy::stall).await;
}

#[tokio::test]
async fn node_that_only_sends_heartbeats_is_left() {
    check_node_left("cut-off-node", Proxy::only_heartbeats).await;
}

/// Replaces the queue of commands by one with a single active consumer, for which RabbitMQ refuses `basic.get`.
async fn declare_single_active(fixture: &Fixture, urls: &str) {
    let daemon = start_ready(&builder(fixture).set("broker.url", urls)).await;
    fixture.drain(&daemon).await;
    let commands = fixture.queues.name("commands");
    fixture.queues.client().delete_queue(&commands).await;
    let single_active = [("x-single-active-consumer", AMQPValue::Boolean(true))];
    fixture.queues.client().declare_queue(&commands, "send", single_active).await;
}

#[tokio::test]
async fn node_that_cannot_change_the_queue_is_left() {
    let fixture = Fixture::new("no-commit").await;
    let (first, second, urls) = two_nodes(&fixture).await;
    declare_single_active(&fixture, &urls).await;
    let daemon = start_ready(&builder(&fixture).set("broker.url", &urls).set("broker.declare", "false")).await;
    let before = second.open();
    first.for_role(Role::Consume).withhold_deliveries();
    let readiness = async || daemon.get("/readyz").await.0;
    eventually!(REPORTED_WITHIN, readiness().await, |status| *status == 503, "the fault is reported");
    eventually!(RECOVERY_TIMEOUT - REPORTED_WITHIN, readiness().await, |status| *status == 200, "readiness");
    assert!(second.open() > before, "the daemon consumes from the second node");
    fixture.send(3, "hello").await;
    fixture.expect_all_succeeded(3).await;
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn renewed_subscription_keeps_the_session() {
    let fixture = Fixture::new("single-active").await;
    let (_first, _second, urls) = two_nodes(&fixture).await;
    declare_single_active(&fixture, &urls).await;
    let builder = builder(&fixture).set("broker.url", &urls).set("broker.declare", "false").set("log.level", "trace");
    let daemon = start_ready(&builder).await;
    let polls = || daemon.log_text().matches("the command queue has 1 consumers").count();
    eventually!(TIMEOUT, polls() >= 4, "polls beside renewals");
    assert_eq!(daemon.metric("courier_reconnects_total", &[]).await, 0.0);
    fixture.send(3, "hello").await;
    fixture.expect_all_succeeded(3).await;
    fixture.drain(&daemon).await;
}

/// Nothing is delivered, although commands are ready and the node answers.
#[tokio::test]
async fn subscription_that_delivers_nothing_is_replaced() {
    let fixture = Fixture::new("stuck-consumer").await;
    let proxy = Proxy::amqp(fixture.queues.broker().host_and_port()).await;
    let url = fixture.queues.broker().url_at(proxy.address());
    let daemon = start_ready(&builder(&fixture).set("broker.url", &url)).await;
    // By then the session has its last subscription.
    fixture.send(100, "hello").await;
    fixture.expect_all_succeeded(100).await;
    proxy.for_role(Role::Consume).withhold_deliveries();
    fixture.send(10, "hello").await;
    let reconnects = async || daemon.metric("courier_reconnects_total", &[("role", "consume")]).await;
    let lost = "the broker did not answer basic.cancel";
    eventually!(TIMEOUT, daemon.log_text().contains(lost), "a new subscription is tried");
    proxy.resume().await;
    eventually!(TIMEOUT, reconnects().await >= 1.0, "another session");
    // They have the ids of earlier ones: the journal knows their outcomes.
    assert!(fixture.queues.events(10).await.iter().all(|event| event["repeated"] == true));
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn lost_session_moves_on_to_the_next_address() {
    let fixture = Fixture::new("lost-node").await;
    let (first, second, urls) = two_nodes(&fixture).await;
    let daemon = start_ready(&builder(&fixture).set("broker.url", &urls)).await;
    assert_eq!((first.open(), second.open()), (2, 0));
    first.blackhole();
    first.cut();
    eventually!(SOON, second.open() == 2, "both connections at the second address");
    wait_recovered(&daemon).await;
    fixture.drain(&daemon).await;
}
