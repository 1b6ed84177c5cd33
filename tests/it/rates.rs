//! No more attempts start than the rates allow.

use std::{fs, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::support::{
    SOON,
    daemon::Setup,
    eventually::eventually,
    ordered::{accepted, command},
    stage::{Stage, id, start_ready},
};

/// When each was told to have ended, in order.
fn times<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<Timestamp> {
    let time = |event: &Value| event["occurredAt"].as_str().and_then(|time| time.parse().ok()).expect("a time");
    let mut times: Vec<_> = events.into_iter().map(time).collect();
    times.sort_unstable();
    times
}

/// Insists that the nth attempt since `began` did not start before the rate allows it, with `burst` of them at once.
/// An attempt ends after its start, so a busy machine can only make it look slower.
fn expect_pace(times: &[Timestamp], began: Timestamp, step: Duration, burst: u32) {
    for (nth, time) in (1_u32..).zip(times) {
        let earliest = began + step * nth.saturating_sub(burst);
        // Events tell milliseconds.
        assert!(*time + Duration::from_millis(1) >= earliest, "attempt {nth} at {time}, not before {earliest}");
    }
}

fn write(setup: &Setup, per_second: u32) {
    let file = setup.dir().join("edna-courier.toml");
    fs::write(file, format!("[limits]\nper_second = {per_second}\n")).expect("a directory of ours");
}

#[tokio::test]
async fn the_rate_of_the_target_is_not_exceeded() {
    let stage = Stage::new("rates-target").await;
    let daemon = start_ready(&stage.setup().set("limits.per_second", "20")).await;
    let began = Timestamp::now();
    stage.send(60, "hello").await;
    let events = stage.expect_success_of_all(60).await;
    expect_pace(&times(&events), began, Duration::from_millis(50), 2);
    assert!(daemon.metric("courier_rate_wait_seconds_sum", &[]).await > 0.0);
    stage.end(&daemon).await;
}

#[tokio::test]
async fn a_hangup_changes_the_rate_without_a_reconnect() {
    let stage = Stage::new("rates-hup").await;
    let setup = stage.setup();
    write(&setup, 1);
    let daemon = start_ready(&setup).await;
    stage.send(200, "hello").await;
    eventually!(SOON, accepted(&stage) >= 2, "a slow beginning");
    write(&setup, 1_000);
    daemon.signal("HUP");
    // At the old rate it would take longer than anybody waits.
    stage.expect_success_of_all(200).await;
    assert_eq!(daemon.metric("courier_reconnects_total", &[]).await, 0.0);
    stage.end(&daemon).await;
}

#[tokio::test]
async fn the_interval_of_a_device_is_its_own() {
    let stage = Stage::new("rates-device").await;
    let daemon = start_ready(&stage.setup().set("limits.device_interval", "300ms")).await;
    let began = Timestamp::now();
    for nth in 0..6 {
        stage.queues.send(&command(&format!("d-{nth}"), "790", "hello")).await;
    }
    stage.send(20, "hello").await;
    let events = stage.queues.events(26).await;
    expect_pace(
        &times(events.iter().filter(|event| id(event).starts_with("d-"))),
        began,
        Duration::from_millis(300),
        1,
    );
    assert_eq!(events.last().map(id), Some("d-5"), "the others did not wait for it");
    stage.end(&daemon).await;
}

#[tokio::test]
async fn the_rate_of_a_channel_is_its_own() {
    let stage = Stage::new("rates-channel").await;
    let daemon = start_ready(&stage.setup().set("limits.channel_per_second", "MOBILE=10")).await;
    let began = Timestamp::now();
    for nth in 0..20 {
        let mut body = command(&format!("m-{nth}"), &format!("mobile-{nth}"), "hello");
        body["channelType"] = "MOBILE".into();
        stage.queues.send(&body).await;
    }
    stage.send(20, "hello").await;
    let events = stage.queues.events(40).await;
    let of_channel = events.iter().filter(|event| event["channelType"] == "MOBILE");
    expect_pace(&times(of_channel), began, Duration::from_millis(100), 1);
    assert_eq!(events.last().map(|event| &event["channelType"]), Some(&"MOBILE".into()), "the others did not wait");
    stage.end(&daemon).await;
}

#[tokio::test]
async fn what_expires_while_it_waits_for_the_rate_is_told_at_once() {
    let stage = Stage::new("rates-expired").await;
    let daemon = start_ready(&stage.setup().set("limits.per_second", "0.001")).await;
    stage.send(1, "takes the only token").await;
    stage.expect_success_of_all(1).await;
    let deadline = Timestamp::now() + Duration::from_secs(1);
    for nth in 0..3 {
        let mut body = command(&format!("late-{nth}"), &format!("79{nth}"), "hello");
        body["expiresAt"] = deadline.to_string().into();
        stage.queues.send(&body).await;
    }
    let events = stage.queues.events(3).await;
    assert!(events.iter().all(|event| event["outcome"] == "expired" && event["attempts"] == 0), "{events:?}");
    assert_eq!(stage.posts(), 1);
    stage.end(&daemon).await;
}
