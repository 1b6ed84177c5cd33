//! The API: away, mute, asking to wait, refusing everything.

use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use axum::http::{HeaderValue, StatusCode};
use edna_courier::sandbox::{Rule, ScriptedResponse};

use super::{IN_FLIGHT, back, expect_no_more_posts, gate_closed_by, judge, setup, told};
use crate::support::{
    SOON,
    account::{Account, Ending, Told},
    eventually::eventually,
    proxy::Proxy,
    stage::{Stage, not_ready, start_ready},
};

const COMMANDS: u16 = 30;

/// The breaker trips at ten attempts; some are under way then, and some probes follow.
const BREAKER: RangeInclusive<f64> = 10.0..=18.0;
/// The brake is pulled at nineteen.
const BRAKE: RangeInclusive<u64> = 19..=19 + IN_FLIGHT;

/// Which of the commands have a dead letter, by what came: `death` for those, success for the others.
fn endings<'a>(account: &'a Account, death: &'a Ending, success: &'a Ending) -> impl Fn(u16) -> Ending + 'a {
    move |index| if account.entries()[&format!("c-{index}")].is_dead() { death.clone() } else { success.clone() }
}

fn dead(account: &Account) -> u64 {
    account.entries().values().filter(|entry| entry.is_dead()).count() as u64
}

#[tokio::test]
async fn an_api_that_is_away_when_we_start_trips_the_breaker_and_nobody_is_given_up() {
    let stage = Stage::new("api-away").await;
    let api = Proxy::tcp(stage.sandbox.addr().to_string()).await;
    api.refuse().await;
    let setup = setup(&stage).set("api.base_url", &format!("http://{}", api.address()));
    let daemon = start_ready(&setup).await;
    stage.send(COMMANDS, "hello").await;
    not_ready(&daemon, &["breaker: ", "no connection to the API"]).await;
    eventually!(SOON, daemon.metric("courier_consumer_active", &[]).await == 0.0, "the end of the subscription");
    let attempts = daemon.metric("courier_attempts_total", &[("verdict", "retry")]).await;
    assert!(BREAKER.contains(&attempts), "{attempts} attempts");
    api.resume().await;
    back(&daemon).await;
    let account = told(&stage, &daemon, COMMANDS).await;
    judge(&stage, &account, |_| Ending::success(1..=8), COMMANDS, Told::Once);
    assert_eq!(stage.posts(), u64::from(COMMANDS), "each arrived once");
}

/// The breaker is tripped by time-outs; returns what became of the commands once the API answers again.
async fn hanging(on_uncertain: &str) -> (Stage, Account) {
    let stage = Stage::new(&format!("api-hangs-{on_uncertain}")).await;
    stage.sandbox.script([Rule::new(ScriptedResponse::Hang).forever()]).expect("room");
    let setup = setup(&stage).set("api.timeout", "500ms").set("delivery.on_uncertain", on_uncertain);
    let daemon = start_ready(&setup).await;
    stage.send(COMMANDS, "hello").await;
    not_ready(&daemon, &["breaker: ", "no answer within api.timeout"]).await;
    let attempts = daemon.metric("courier_attempts_total", &[]).await;
    assert!(BREAKER.contains(&attempts), "{attempts} attempts");
    stage.sandbox.clear_script();
    back(&daemon).await;
    let account = told(&stage, &daemon, COMMANDS).await;
    (stage, account)
}

#[tokio::test]
async fn what_an_api_that_hangs_may_have_taken_is_sent_again_knowingly() {
    let (stage, account) = hanging("resend").await;
    judge(&stage, &account, |_| Ending::success(1..=8), COMMANDS, Told::Once);
    let again: Vec<_> = account.entries().values().filter(|entry| entry.events[0]["attempts"] != 1).collect();
    assert!(!again.is_empty(), "some were sent again");
    assert!(again.iter().all(|entry| entry.is_doubtful()), "{again:?}");
}

#[tokio::test]
async fn what_an_api_that_hangs_may_have_taken_is_parked_and_the_breaker_saves_the_rest() {
    let (stage, account) = hanging("park").await;
    let (parked, sent) = (Ending::death("uncertain", "uncertain", 1..=1), Ending::success(1..=1));
    judge(&stage, &account, endings(&account, &parked, &sent), COMMANDS, Told::Once);
    let dead = dead(&account);
    assert!(BREAKER.contains(&(dead as f64)), "{dead} dead letters");
    assert!(account.entries().values().all(|entry| !entry.is_dead() || entry.is_doubtful()), "they may have arrived");
    assert!(stage.posts() <= u64::from(COMMANDS), "none was posted twice");
}

#[tokio::test]
async fn an_api_that_names_the_time_to_come_back_is_left_alone_until_then() {
    let stage = Stage::new("api-date").await;
    // The header knows whole seconds.
    let until = SystemTime::now() + Duration::from_secs(5);
    let date = HeaderValue::from_str(&httpdate::fmt_http_date(until)).expect("ASCII");
    let (status, retry_after) = (StatusCode::TOO_MANY_REQUESTS, Some(date));
    let busy = Rule::new(ScriptedResponse::Status { status, retry_after, body: None }).times(IN_FLIGHT);
    let daemon = start_ready(&setup(&stage)).await;
    stage.sandbox.script([busy]).expect("room");
    stage.send(COMMANDS, "hello").await;
    gate_closed_by(&daemon, "throttle").await;
    let posts = expect_no_more_posts(&stage, &daemon).await;
    assert!((1..=IN_FLIGHT).contains(&posts), "{posts} POSTs");
    back(&daemon).await;
    assert!(SystemTime::now() + Duration::from_secs(1) >= until, "waited as long as asked");
    let account = told(&stage, &daemon, COMMANDS).await;
    judge(&stage, &account, |_| Ending::success(1..=1), COMMANDS, Told::Once);
}

#[tokio::test]
async fn an_api_that_knows_nothing_any_more_costs_twenty_letters_and_the_brake_saves_the_rest() {
    const COMMANDS: u16 = 60;
    let stage = Stage::new("api-404").await;
    stage.sandbox.script([Rule::new(StatusCode::NOT_FOUND).forever()]).expect("room");
    let daemon = start_ready(&setup(&stage)).await;
    stage.send(COMMANDS, "hello").await;
    not_ready(&daemon, &["brake: ", "404"]).await;
    let in_flight = async || daemon.metric("courier_in_flight", &[]).await;
    eventually!(SOON, in_flight().await, |count| *count == 0.0, "the end of what is under way");
    let before = stage.posts();
    eventually!(SOON, stage.posts() > before, "a probe that is rejected, too");
    stage.sandbox.clear_script();
    back(&daemon).await;
    let account = told(&stage, &daemon, COMMANDS).await;
    let (rejected, sent) = (Ending::death("failed", "rejected", 1..=1), Ending::success(1..=1));
    judge(&stage, &account, endings(&account, &rejected, &sent), COMMANDS, Told::Once);
    let dead = dead(&account);
    assert!(BRAKE.contains(&dead), "{dead} dead letters");
}
