//! Trouble that is everybody's: the gate closes, the commands stay in the queue, and it opens by itself.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use axum::http::{HeaderValue, StatusCode};
use edna_courier::sandbox::{Options, ReceivedFilter, Rule, ScriptedResponse};

use crate::support::{
    OwnDir, SOON,
    daemon::{Daemon, field},
    eventually::eventually,
    stage::{Stage, not_ready, ready, start_ready},
};

/// A few POSTs at once and some probes; far from one for each command, and again and again.
const HANDFUL: u64 = 12;

fn accepting_only(token: &str) -> Options {
    Options { token: Some(token.into()), ..Options::default() }
}

/// The way that secret agents replace a file: at once.
fn replace(file: &Path, token: &str) {
    let new = file.with_extension("new");
    fs::write(&new, token).and_then(|()| fs::rename(new, file)).expect("a writable directory");
}

async fn closed(daemon: &Daemon, reason: &str) -> bool {
    daemon.metric("courier_gate_closed", &[("reason", reason)]).await == 1.0
}

fn has_logged(daemon: &Daemon, level: &str, parts: &[&str]) -> bool {
    let says = |line: &str| parts.iter().all(|part| line.contains(part));
    daemon.log().iter().any(|line| {
        field(line, "level").is_some_and(|l| l == level)
            && field(line, "message").and_then(|m| m.as_str()).is_some_and(says)
    })
}

#[tokio::test]
async fn a_refused_token_leaves_the_commands_in_the_queue_until_the_file_has_a_better_one() {
    let stage = Stage::with("gate-file", accepting_only("new")).await;
    let secrets = OwnDir::new("edna-courier-test-token");
    let file = secrets.path().join("token");
    replace(&file, "old");
    let setup = stage.setup_without_token().set("api.token_file", &file.display().to_string());
    let daemon = start_ready(&setup.set("limits.max_in_flight", "4")).await;
    stage.send(30, "hello").await;

    not_ready(&daemon, &["auth: ", "401", "check the credential in the section api"]).await;
    assert!(closed(&daemon, "auth").await);
    let says_why = || has_logged(&daemon, "ERROR", &["the gate is closed (auth)", "401", "check the credential"]);
    eventually!(SOON, says_why(), "a log line that tells what to do");
    eventually!(SOON, daemon.metric("courier_consumer_active", &[]).await == 0.0, "the end of the subscription");
    // In hand are at most the prefetch, six; the last to come may have been on their way when the gate closed.
    assert!(stage.waiting().await >= 24, "{} commands are left in the queue", stage.waiting().await);
    let under_way = 4;
    eventually!(SOON, stage.posts() > under_way, "a probe");
    assert!(stage.posts() <= HANDFUL, "{} POSTs", stage.posts());
    assert_eq!(daemon.report().await["gate"]["reasons"][0], "auth");

    replace(&file, "new");
    // No word about possible duplicates: the broker calls redelivered what it was just handing over at the cancellation.
    let events = stage.expect_success_of_all(30).await;
    assert!(events.iter().all(|event| event["attempts"] == 1), "a refused token is no attempt: {events:?}");
    assert_eq!(stage.sandbox.received(&ReceivedFilter::default()).accepted, 30, "each was sent once");
    ready(&daemon).await;
    assert!(!closed(&daemon, "auth").await);
    assert_eq!(daemon.metric("courier_credential_refresh_total", &[("result", "success")]).await, 1.0);
    assert_eq!(daemon.metric("courier_attempts_total", &[("verdict", "delivered")]).await, 30.0);
    stage.queues.client().expect_empty(&stage.queues.name("dead")).await;
    stage.end(&daemon).await;
}

#[tokio::test]
async fn one_login_serves_all_commands() {
    let login = Some(("courier".to_owned(), "pass".into()));
    let stage = Stage::with("gate-login", Options { login, ..accepting_only("nobody knows it") }).await;
    let setup = stage.setup_without_token().set("api.login", "courier").set("api.password", "pass");
    let daemon = start_ready(&setup).await;
    stage.send(10, "hello").await;
    stage.expect_success_of_all(10).await;
    assert_eq!(stage.posts(), 10, "none was sent without a token");
    assert_eq!(daemon.metric("courier_credential_refresh_total", &[("result", "success")]).await, 1.0);
    stage.end(&daemon).await;
}

#[tokio::test]
async fn a_refused_login_sends_nothing_and_loses_nothing() {
    let login = Some(("courier".to_owned(), "pass".into()));
    let stage = Stage::with("gate-no-login", Options { login, ..accepting_only("nobody knows it") }).await;
    let setup = stage.setup_without_token().set("api.login", "courier").set("api.password", "wrong");
    let daemon = start_ready(&setup.set("limits.max_in_flight", "4")).await;
    stage.send(10, "hello").await;
    not_ready(&daemon, &["auth: ", "check the credential in the section api"]).await;
    let says_why = || has_logged(&daemon, "WARN", &["the login was refused with HTTP 401", "api.login, api.password"]);
    eventually!(SOON, says_why(), "a log line that tells what to do");
    assert_eq!(daemon.metric("courier_credential_refresh_total", &[("result", "failure")]).await, 1.0);

    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).await, 0);
    assert_eq!((stage.waiting().await, stage.posts()), (10, 0));
    for queue in ["events", "dead", "unroutable"] {
        stage.queues.client().expect_empty(&stage.queues.name(queue)).await;
    }
}

#[tokio::test]
async fn when_the_api_asks_to_wait_everybody_does_and_it_is_no_attempt() {
    let stage = Stage::new("gate-throttle").await;
    let (status, retry_after) = (StatusCode::TOO_MANY_REQUESTS, Some(HeaderValue::from_static("3")));
    stage.sandbox.script([Rule::new(ScriptedResponse::Status { status, retry_after, body: None })]).expect("room");
    // One at a time, so that nothing else is under way when the answer comes.
    let daemon = start_ready(&stage.setup().set("limits.max_in_flight", "1")).await;
    let started = Instant::now();
    stage.send(10, "hello").await;
    eventually!(SOON, closed(&daemon, "throttle").await, "the gate closed");
    assert_eq!(stage.posts(), 1, "nobody goes on meanwhile");
    assert_eq!(daemon.get("/readyz").await, (200, "paused: throttle\n".to_owned()), "to wait is no failure");

    for event in stage.expect_success_of_all(10).await {
        assert_eq!(event["attempts"], 1, "{event}");
    }
    assert!(started.elapsed() >= Duration::from_secs(3), "waited as long as asked");
    let arrived = stage.sandbox.received(&ReceivedFilter::default()).requests;
    let statuses: Vec<_> = arrived.iter().map(|request| request.status).collect();
    assert_eq!(statuses, [&[Some(429)][..], &[Some(200); 10]].concat());
    assert_eq!(daemon.metric("courier_attempts_total", &[("verdict", "throttled")]).await, 1.0);
    eventually!(SOON, !closed(&daemon, "throttle").await, "the gate open again");
    stage.end(&daemon).await;
}
