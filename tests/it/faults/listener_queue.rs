//! A listener's full queue: the topic exchange stores a copy of each refused event in the other queues.

use std::{collections::BTreeSet, time::Duration};

use edna_courier::sandbox::Options;
use lapin::types::AMQPValue;

use super::{wait_gate_closed, wait_recovered};
use crate::support::{
    TIMEOUT,
    daemon::{Daemon, log_field},
    eventually::{eventually, poll},
    fixture::{Fixture, id, start_ready},
};

const COMMANDS: u16 = 40;
/// Attempts in flight when the first event is refused.
const IN_FLIGHT: u16 = 20;
/// Probes follow after 0.2, 0.4, 0.8, 1.6, 3.2 and 6.4 s.
const WATCHED: Duration = Duration::from_secs(8);
const MAX_PROBES: f64 = 7.0;

/// The number of events that the broker has answered so.
async fn events(daemon: &Daemon, result: &str) -> f64 {
    daemon.metric("courier_publishes_total", &[("target", "event"), ("result", result)]).await
}

/// A fixture with a queue for one event beside the default queue of events.
async fn with_full_listener() -> (Fixture, Daemon) {
    let options = Options { latency: Duration::from_millis(500), ..Options::default() };
    let fixture = Fixture::with("listener", options).await;
    let daemon = start_ready(&fixture.builder().set("limits.max_in_flight", &IN_FLIGHT.to_string())).await;
    let (client, listener) = (fixture.queues.client(), fixture.queues.name("listener"));
    let limit =
        [("x-overflow", AMQPValue::LongString("reject-publish".into())), ("x-max-length", AMQPValue::LongInt(1))];
    client.declare_exchange(&listener, lapin::ExchangeKind::Fanout).await;
    client.declare_queue(&listener, "", limit).await;
    client.bind_to(&fixture.queues.name("events"), &listener, "#").await;
    (fixture, daemon)
}

#[tokio::test]
async fn full_listener_queue_costs_one_copy_per_probe() {
    let (fixture, daemon) = with_full_listener().await;
    fixture.send(COMMANDS, "hello").await;
    wait_gate_closed(&daemon, "blocked").await;
    let in_flight = async || daemon.metric("courier_in_flight", &[]).await;
    eventually!(TIMEOUT, in_flight().await, |count| *count == 0.0, "no attempt in flight");
    let first = events(&daemon, "refused").await;
    let more = poll(WATCHED, async || events(&daemon, "refused").await, |now| now - first > MAX_PROBES).await;
    assert!(more.is_err(), "more than {MAX_PROBES} probes in {WATCHED:?}");

    let problem = daemon.status().await["gate"]["problems"]["blocked"].as_str().unwrap_or_default().to_owned();
    let destination = format!("exchange {:?} with the routing key", fixture.queues.name("events"));
    for part in ["the publish for command \"c-", &destination, "\"send.succeeded.WHATSAPP\"", "a bound queue is full"] {
        assert!(problem.contains(part), "{problem}");
    }
    let logged = |line: &serde_json::Value| log_field(line, "problem").is_some_and(|logged| logged == problem.as_str());
    assert!(daemon.log().iter().any(logged), "{}", daemon.log_text());
    let (stored, refused) = (events(&daemon, "confirmed").await, events(&daemon, "refused").await);
    assert_eq!(
        daemon.metric("courier_blocked_publishes", &[("target", "event")]).await,
        fixture.posts() as f64 - stored
    );

    fixture.queues.client().delete_queue(&fixture.queues.name("listener")).await;
    wait_recovered(&daemon).await;
    eventually!(
        TIMEOUT,
        events(&daemon, "confirmed").await,
        |confirmed| *confirmed == f64::from(COMMANDS),
        "an event for each command"
    );
    assert_eq!(fixture.posts(), u64::from(COMMANDS));
    let refused = refused.max(events(&daemon, "refused").await);
    let refused: u16 = refused.to_string().parse().expect("a whole number");
    let copies = COMMANDS + refused;
    let ids: BTreeSet<_> = fixture.queues.events(copies).await.iter().map(|event| id(event).to_owned()).collect();
    assert_eq!(ids.len(), usize::from(COMMANDS));
    fixture.drain(&daemon).await;
    fixture.queues.client().expect_empty(&fixture.queues.name("events")).await;
}

#[tokio::test]
async fn sigterm_ends_probes_of_a_full_listener_queue() {
    let (fixture, daemon) = with_full_listener().await;
    fixture.send(COMMANDS, "hello").await;
    wait_gate_closed(&daemon, "blocked").await;
    let in_flight = async || daemon.metric("courier_in_flight", &[]).await;
    eventually!(TIMEOUT, in_flight().await, |count| *count == 0.0, "no attempt in flight");
    daemon.signal("TERM");
    // Shorter than the time for a drain.
    assert_eq!(daemon.wait_exit(Duration::from_secs(15)).await, 0);
    // The broker requeues them a moment after the connection has closed.
    let settled = async || u64::from(COMMANDS) - u64::from(fixture.queued().await);
    let posts = fixture.posts();
    eventually!(TIMEOUT, settled().await, |settled| *settled < posts, "unpublished outcomes stay with the broker");
}
