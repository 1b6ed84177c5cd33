//! Probes of a closed gate: what they cost, and which command makes them.

use std::time::Duration;

use axum::http::StatusCode;
use edna_courier::sandbox::{Options, Rule};

use super::{assert_outcomes, builder, collect_outcomes, wait_gate_closed, wait_recovered};
use crate::{
    cli::run,
    support::{
        TIMEOUT,
        collector::{Duplicates, ExpectedOutcome},
        eventually::eventually,
        fixture::{Fixture, command, start_ready, wait_not_ready},
        proxy::Proxy,
    },
};

/// How long good commands may wait behind rejected ones. A probe of each one before them takes longer.
const HELD_UP: Duration = Duration::from_secs(10);

#[tokio::test]
async fn outage_costs_no_command_over_many_probes() {
    const COMMANDS: u16 = 6;
    let fixture = Fixture::new("probes-uncounted").await;
    let api = Proxy::tcp(fixture.sandbox.addr().to_string()).await;
    api.refuse().await;
    let builder = builder(&fixture).set("api.base_url", &format!("http://{}", api.address()));
    let builder = builder.set("delivery.max_attempts", "3").set("admin.token", "s3cret");
    let daemon = start_ready(&builder).await;
    fixture.send(COMMANDS, "hello").await;
    wait_not_ready(&daemon, &["breaker: ", "no connection to the API"]).await;
    let attempts = async || daemon.metric("courier_attempts_total", &[("verdict", "retry")]).await;
    let closing = attempts().await;
    // After 1, 2, 4 and 8 s.
    eventually!(TIMEOUT, attempts().await >= closing + 4.0, "four probes");
    assert_eq!(daemon.metric("courier_commands_finished_total", &[]).await, 0.0, "no command is exhausted");

    api.resume().await;
    let address = daemon.admin_address().expect("the admin address in the log").to_string();
    let settings = [("admin.listen", address.as_str()), ("admin.token", "s3cret")];
    assert_eq!(run(&["resume"], &settings).await.code, Some(0), "makes the next probe due at once");
    wait_recovered(&daemon).await;
    let outcomes = collect_outcomes(&fixture, &daemon, COMMANDS).await;
    assert_outcomes(&fixture, &outcomes, |_| ExpectedOutcome::succeeded(1..=3), COMMANDS, Duplicates::Forbidden);
}

#[tokio::test]
async fn commands_behind_rejected_ones_are_sent() {
    const REJECTED: u16 = 60;
    const GOOD: u16 = 10;
    let fixture = Fixture::new("probes-brake").await;
    let daemon = start_ready(&builder(&fixture).set("limits.max_in_flight", "16")).await;
    fixture.send(REJECTED, "[[status=400]]").await;
    for index in REJECTED..REJECTED + GOOD {
        fixture.queues.send(&command(index, "hello")).await;
    }
    wait_gate_closed(&daemon, "brake").await;
    let sent = async || daemon.metric("courier_attempts_total", &[("verdict", "delivered")]).await;
    eventually!(HELD_UP, sent().await, |sent| *sent == f64::from(GOOD), "all good commands to be sent");
    let succeeded = async || daemon.metric("courier_commands_finished_total", &[("outcome", "succeeded")]).await;
    eventually!(TIMEOUT, succeeded().await, |events| *events == f64::from(GOOD), "an event for each");
}

#[tokio::test]
async fn resume_releases_the_brake() {
    const COMMANDS: u16 = 60;
    let fixture = Fixture::new("probes-resume").await;
    fixture.sandbox.script([Rule::new(StatusCode::NOT_FOUND).forever()]).expect("room");
    let daemon = start_ready(&builder(&fixture).set("admin.token", "s3cret")).await;
    fixture.send(COMMANDS, "hello").await;
    wait_gate_closed(&daemon, "brake").await;
    let finished = async || daemon.metric("courier_commands_finished_total", &[]).await;
    let in_flight = async || daemon.metric("courier_in_flight", &[]).await;
    eventually!(TIMEOUT, in_flight().await, |count| *count == 0.0, "no attempt in flight");
    let before = finished().await;
    let address = daemon.admin_address().expect("the admin address in the log").to_string();
    let settings = [("admin.listen", address.as_str()), ("admin.token", "s3cret")];
    assert_eq!(run(&["resume"], &settings).await.code, Some(0));
    eventually!(TIMEOUT, finished().await >= before + 19.0, "the next twenty attempts decide anew");
    wait_gate_closed(&daemon, "brake").await;
}

#[tokio::test]
async fn login_without_connection_is_no_attempt() {
    const COMMANDS: u16 = 10;
    let login = Some(("courier".to_owned(), "pass".into()));
    let fixture = Fixture::with("probes-login", Options { login, ..Options::default() }).await;
    let api = Proxy::tcp(fixture.sandbox.addr().to_string()).await;
    api.refuse().await;
    let builder = fixture.builder_without_token().set("api.base_url", &format!("http://{}", api.address()));
    let daemon = start_ready(&builder.set("api.login", "courier").set("api.password", "pass")).await;
    fixture.send(COMMANDS, "hello").await;
    wait_not_ready(&daemon, &["auth: ", "the login was not sent: no connection to the API"]).await;
    let status = daemon.status().await;
    assert_eq!(status["gate"]["reasons"], serde_json::json!(["auth"]));
    assert!(
        status["gate"]["problems"]["auth"].as_str().is_some_and(|problem| problem.contains("the login")),
        "{status}"
    );
    assert_eq!(daemon.metric("courier_attempts_total", &[]).await, 0.0);

    api.resume().await;
    let events = fixture.expect_all_succeeded(COMMANDS).await;
    assert!(events.iter().all(|event| event["attempts"] == 1), "{events:?}");
    fixture.drain(&daemon).await;
}
