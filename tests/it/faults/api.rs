//! Faults of the API: down, hanging, throttling, rejecting everything.

use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use axum::http::{HeaderValue, StatusCode};
use edna_courier::sandbox::{Rule, ScriptedResponse};

use super::{
    IN_FLIGHT, assert_outcomes, builder, collect_outcomes, expect_no_more_posts, wait_gate_closed, wait_recovered,
};
use crate::support::{
    TIMEOUT,
    collector::{Duplicates, ExpectedOutcome, OutcomeCollector},
    eventually::eventually,
    fixture::{Fixture, start_ready, wait_not_ready},
    proxy::Proxy,
};

const COMMANDS: u16 = 30;

/// Attempts until the breaker trips: those of five commands, those in flight, and a few probes.
const BREAKER: RangeInclusive<f64> = 5.0..=18.0;
/// Rejections until the brake closes the gate: 19 and those in flight.
const BRAKE: RangeInclusive<u64> = 19..=19 + IN_FLIGHT;

/// The expected outcome by index: `dead_letter` for commands that have one, else `success`.
fn by_dead_letter<'a>(
    outcomes: &'a OutcomeCollector,
    dead_letter: &'a ExpectedOutcome,
    success: &'a ExpectedOutcome,
) -> impl Fn(u16) -> ExpectedOutcome + 'a {
    move |index| {
        if outcomes.commands()[&format!("c-{index}")].is_dead_lettered() {
            dead_letter.clone()
        } else {
            success.clone()
        }
    }
}

fn dead_letters(outcomes: &OutcomeCollector) -> u64 {
    outcomes.commands().values().filter(|entry| entry.is_dead_lettered()).count() as u64
}

#[tokio::test]
async fn api_down_at_start_trips_breaker_and_loses_nothing() {
    let fixture = Fixture::new("api-away").await;
    let api = Proxy::tcp(fixture.sandbox.addr().to_string()).await;
    api.refuse().await;
    let builder = builder(&fixture).set("api.base_url", &format!("http://{}", api.address()));
    let daemon = start_ready(&builder).await;
    fixture.send(COMMANDS, "hello").await;
    wait_not_ready(&daemon, &["breaker: ", "no connection to the API"]).await;
    eventually!(TIMEOUT, daemon.metric("courier_consumer_active", &[]).await == 0.0, "no active consumer");
    let attempts = daemon.metric("courier_attempts_total", &[("verdict", "retry")]).await;
    assert!(BREAKER.contains(&attempts), "{attempts} attempts");
    api.resume().await;
    wait_recovered(&daemon).await;
    let outcomes = collect_outcomes(&fixture, &daemon, COMMANDS).await;
    assert_outcomes(&fixture, &outcomes, |_| ExpectedOutcome::succeeded(1..=8), COMMANDS, Duplicates::Forbidden);
    assert_eq!(fixture.posts(), u64::from(COMMANDS), "one POST for each command");
}

/// Trips the breaker by timeouts, lets the API answer again, and returns the outcomes.
async fn run_with_hanging_api(on_uncertain: &str) -> (Fixture, OutcomeCollector) {
    let fixture = Fixture::new(&format!("api-hangs-{on_uncertain}")).await;
    fixture.sandbox.script([Rule::new(ScriptedResponse::Hang).forever()]).expect("room");
    let builder = builder(&fixture).set("api.timeout", "500ms").set("delivery.on_uncertain", on_uncertain);
    let daemon = start_ready(&builder).await;
    fixture.send(COMMANDS, "hello").await;
    wait_not_ready(&daemon, &["breaker: ", "no answer within api.timeout"]).await;
    let attempts = daemon.metric("courier_attempts_total", &[]).await;
    assert!(BREAKER.contains(&attempts), "{attempts} attempts");
    fixture.sandbox.clear_script();
    wait_recovered(&daemon).await;
    let outcomes = collect_outcomes(&fixture, &daemon, COMMANDS).await;
    (fixture, outcomes)
}

#[tokio::test]
async fn api_hang_with_resend_reports_possible_duplicates() {
    let (fixture, outcomes) = run_with_hanging_api("resend").await;
    assert_outcomes(&fixture, &outcomes, |_| ExpectedOutcome::succeeded(1..=8), COMMANDS, Duplicates::Forbidden);
    let resent: Vec<_> = outcomes.commands().values().filter(|entry| entry.events[0]["attempts"] != 1).collect();
    assert!(!resent.is_empty(), "some commands were posted again");
    assert!(resent.iter().all(|entry| entry.is_possible_duplicate()), "{resent:?}");
}

#[tokio::test]
async fn api_hang_with_park_is_limited_by_the_breaker() {
    let (fixture, outcomes) = run_with_hanging_api("park").await;
    let (parked, sent) =
        (ExpectedOutcome::dead_letter("uncertain", "uncertain", 1..=1), ExpectedOutcome::succeeded(1..=1));
    assert_outcomes(&fixture, &outcomes, by_dead_letter(&outcomes, &parked, &sent), COMMANDS, Duplicates::Forbidden);
    let dead = dead_letters(&outcomes);
    assert!(BREAKER.contains(&(dead as f64)), "{dead} dead letters");
    assert!(
        outcomes.commands().values().all(|entry| !entry.is_dead_lettered() || entry.is_possible_duplicate()),
        "parked commands are possible duplicates"
    );
    assert!(fixture.posts() <= u64::from(COMMANDS), "no command was posted twice");
}

#[tokio::test]
async fn retry_after_date_pauses_posts_until_then() {
    let fixture = Fixture::new("api-date").await;
    let daemon = start_ready(&builder(&fixture)).await;
    // The header has a precision of one second.
    let until = SystemTime::now() + Duration::from_secs(8);
    let date = HeaderValue::from_str(&httpdate::fmt_http_date(until)).expect("ASCII");
    let (status, retry_after) = (StatusCode::TOO_MANY_REQUESTS, Some(date));
    let throttled = Rule::new(ScriptedResponse::Status { status, retry_after, body: None }).times(IN_FLIGHT);
    fixture.sandbox.script([throttled]).expect("room");
    fixture.send(COMMANDS, "hello").await;
    wait_gate_closed(&daemon, "throttle").await;
    let posts = expect_no_more_posts(&fixture, &daemon).await;
    assert!((1..=IN_FLIGHT).contains(&posts), "{posts} POSTs");
    wait_recovered(&daemon).await;
    assert!(SystemTime::now() + Duration::from_secs(1) >= until, "waited for Retry-After");
    let outcomes = collect_outcomes(&fixture, &daemon, COMMANDS).await;
    assert_outcomes(&fixture, &outcomes, |_| ExpectedOutcome::succeeded(1..=1), COMMANDS, Duplicates::Forbidden);
}

#[tokio::test]
async fn api_404_for_all_is_limited_by_the_brake() {
    const COMMANDS: u16 = 60;
    let fixture = Fixture::new("api-404").await;
    fixture.sandbox.script([Rule::new(StatusCode::NOT_FOUND).forever()]).expect("room");
    let daemon = start_ready(&builder(&fixture)).await;
    fixture.send(COMMANDS, "hello").await;
    wait_not_ready(&daemon, &["brake: ", "404"]).await;
    let in_flight = async || daemon.metric("courier_in_flight", &[]).await;
    eventually!(TIMEOUT, in_flight().await, |count| *count == 0.0, "no attempt in flight");
    let before = fixture.posts();
    eventually!(TIMEOUT, fixture.posts() > before, "a probe, also rejected");
    fixture.sandbox.clear_script();
    wait_recovered(&daemon).await;
    let outcomes = collect_outcomes(&fixture, &daemon, COMMANDS).await;
    let (rejected, sent) =
        (ExpectedOutcome::dead_letter("failed", "rejected", 1..=1), ExpectedOutcome::succeeded(1..=1));
    assert_outcomes(&fixture, &outcomes, by_dead_letter(&outcomes, &rejected, &sent), COMMANDS, Duplicates::Forbidden);
    let dead = dead_letters(&outcomes);
    assert!(BRAKE.contains(&dead), "{dead} dead letters");
}
