//! The gate: it closes on problems of the whole target, keeps commands in the queue, and reopens by itself.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use axum::http::{HeaderValue, StatusCode};
use edna_courier::sandbox::{Options, ReceivedFilter, Rule, ScriptedResponse};

use crate::support::{
    TIMEOUT, TempDir,
    daemon::{Daemon, log_field},
    eventually::eventually,
    fixture::{Fixture, start_ready, wait_not_ready, wait_ready},
};

/// Limit of POSTs while the token is refused: those in flight and a few probes.
const MAX_POSTS: u64 = 12;

fn accepting_only(token: &str) -> Options {
    Options { token: Some(token.into()), ..Options::default() }
}

/// Replaces the file atomically, as secret agents do.
fn replace(file: &Path, token: &str) {
    let new = file.with_extension("new");
    fs::write(&new, token).and_then(|()| fs::rename(new, file)).expect("a writable directory");
}

async fn is_closed(daemon: &Daemon, reason: &str) -> bool {
    daemon.metric("courier_gate_closed", &[("reason", reason)]).await == 1.0
}

fn has_logged(daemon: &Daemon, level: &str, parts: &[&str]) -> bool {
    let matches = |line: &str| parts.iter().all(|part| line.contains(part));
    daemon.log().iter().any(|line| {
        log_field(line, "level").is_some_and(|l| l == level)
            && log_field(line, "message").and_then(|m| m.as_str()).is_some_and(matches)
    })
}

#[tokio::test]
async fn refused_token_closes_gate_until_token_file_changes() {
    let fixture = Fixture::with("gate-file", accepting_only("new")).await;
    let secrets = TempDir::new("edna-courier-test-token");
    let file = secrets.path().join("token");
    replace(&file, "old");
    let builder = fixture.builder_without_token().set("api.token_file", &file.display().to_string());
    let daemon = start_ready(&builder.set("limits.max_in_flight", "4")).await;
    fixture.send(30, "hello").await;

    wait_not_ready(&daemon, &["auth: ", "401", "check the credential in section `api`"]).await;
    assert!(is_closed(&daemon, "auth").await);
    let logged = || has_logged(&daemon, "ERROR", &["the gate is closed (auth)", "401", "check the credential"]);
    eventually!(TIMEOUT, logged(), "a log line with advice");
    eventually!(TIMEOUT, daemon.metric("courier_consumer_active", &[]).await == 0.0, "no active consumer");
    // At most the prefetch of six is in hand; deliveries may have arrived while the gate closed.
    assert!(fixture.queued().await >= 24, "{} commands in the queue", fixture.queued().await);
    let in_flight = 4;
    eventually!(TIMEOUT, fixture.posts() > in_flight, "a probe");
    assert!(fixture.posts() <= MAX_POSTS, "{} POSTs", fixture.posts());
    assert_eq!(daemon.status().await["gate"]["reasons"][0], "auth");

    replace(&file, "new");
    let events = fixture.expect_all_succeeded(30).await;
    // Also of a delivery on its way while the consumer was cancelled, which comes back as redelivered.
    assert!(events.iter().all(|event| event["possibleDuplicate"] == false), "none was posted before: {events:?}");
    assert!(events.iter().all(|event| event["attempts"] == 1), "a refused token counts no attempt: {events:?}");
    assert_eq!(fixture.sandbox.received(&ReceivedFilter::default()).accepted, 30, "one accepted POST for each command");
    wait_ready(&daemon).await;
    assert!(!is_closed(&daemon, "auth").await);
    assert_eq!(daemon.metric("courier_credential_refresh_total", &[("result", "success")]).await, 1.0);
    assert_eq!(daemon.metric("courier_attempts_total", &[("verdict", "delivered")]).await, 30.0);
    fixture.queues.client().expect_empty(&fixture.queues.name("dead")).await;
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn login_once_serves_all_commands() {
    let login = Some(("courier".to_owned(), "pass".into()));
    let fixture = Fixture::with("gate-login", Options { login, ..accepting_only("unknown") }).await;
    let builder = fixture.builder_without_token().set("api.login", "courier").set("api.password", "pass");
    let daemon = start_ready(&builder).await;
    fixture.send(10, "hello").await;
    fixture.expect_all_succeeded(10).await;
    assert_eq!(fixture.posts(), 10, "no POST without a token");
    assert_eq!(daemon.metric("courier_credential_refresh_total", &[("result", "success")]).await, 1.0);
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn refused_login_posts_nothing_and_keeps_commands() {
    let login = Some(("courier".to_owned(), "pass".into()));
    let fixture = Fixture::with("gate-no-login", Options { login, ..accepting_only("unknown") }).await;
    let builder = fixture.builder_without_token().set("api.login", "courier").set("api.password", "wrong");
    let daemon = start_ready(&builder.set("limits.max_in_flight", "4")).await;
    fixture.send(10, "hello").await;
    wait_not_ready(&daemon, &["auth: ", "check the credential in section `api`"]).await;
    let logged = || has_logged(&daemon, "WARN", &["the login was refused with HTTP 401", "api.login, api.password"]);
    eventually!(TIMEOUT, logged(), "a log line with advice");
    assert_eq!(daemon.metric("courier_credential_refresh_total", &[("result", "failure")]).await, 1.0);

    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(TIMEOUT).await, 0);
    eventually!(TIMEOUT, fixture.queued().await == 10, "all commands back in the queue");
    assert_eq!(fixture.posts(), 0);
    for queue in ["events", "dead", "unroutable"] {
        fixture.queues.client().expect_empty(&fixture.queues.name(queue)).await;
    }
}

#[tokio::test]
async fn retry_after_closes_gate_and_counts_no_attempt() {
    let fixture = Fixture::new("gate-throttle").await;
    let (status, retry_after) = (StatusCode::TOO_MANY_REQUESTS, Some(HeaderValue::from_static("3")));
    fixture.sandbox.script([Rule::new(ScriptedResponse::Status { status, retry_after, body: None })]).expect("room");
    // One at a time, so that no other attempt is in flight when the response arrives.
    let daemon = start_ready(&fixture.builder().set("limits.max_in_flight", "1")).await;
    let started = Instant::now();
    fixture.send(10, "hello").await;
    eventually!(TIMEOUT, is_closed(&daemon, "throttle").await, "a closed gate");
    assert_eq!(fixture.posts(), 1, "no POST while the gate is closed");
    assert_eq!(daemon.get("/readyz").await, (200, "paused: throttle\n".to_owned()), "waiting is not unready");

    for event in fixture.expect_all_succeeded(10).await {
        assert_eq!(event["attempts"], 1, "{event}");
    }
    assert!(started.elapsed() >= Duration::from_secs(3), "waited for Retry-After");
    let requests = fixture.sandbox.received(&ReceivedFilter::default()).requests;
    let statuses: Vec<_> = requests.iter().map(|request| request.status).collect();
    assert_eq!(statuses, [&[Some(429)][..], &[Some(200); 10]].concat());
    assert_eq!(daemon.metric("courier_attempts_total", &[("verdict", "throttled")]).await, 1.0);
    eventually!(TIMEOUT, !is_closed(&daemon, "throttle").await, "an open gate");
    fixture.drain(&daemon).await;
}
