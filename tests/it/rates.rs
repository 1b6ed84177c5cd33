//! Rate limits: per target, per channel, per device.

use std::{fs, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::support::{
    TIMEOUT,
    daemon::DaemonBuilder,
    eventually::eventually,
    fixture::{Fixture, id, start_ready},
    ordered::{accepted_count, command},
};

/// The values of `occurredAt`, sorted.
fn times<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<Timestamp> {
    let time = |event: &Value| event["occurredAt"].as_str().and_then(|time| time.parse().ok()).expect("a time");
    let mut times: Vec<_> = events.into_iter().map(time).collect();
    times.sort_unstable();
    times
}

/// Asserts that the nth event since `began` is not earlier than a rate of one per `step` allows, after a burst of `burst`.
/// An event comes after the start of its attempt, so a busy machine can only add delay.
fn expect_pace(times: &[Timestamp], began: Timestamp, step: Duration, burst: u32) {
    for (nth, time) in (1_u32..).zip(times) {
        let earliest = began + step * nth.saturating_sub(burst);
        // `occurredAt` has millisecond precision.
        assert!(*time + Duration::from_millis(1) >= earliest, "attempt {nth} at {time}, allowed from {earliest}");
    }
}

fn write_config(builder: &DaemonBuilder, per_second: u32) {
    let file = builder.dir().join("edna-courier.toml");
    fs::write(file, format!("[limits]\nper_second = {per_second}\n")).expect("a writable directory");
}

#[tokio::test]
async fn per_second_rate_is_not_exceeded() {
    let fixture = Fixture::new("rates-target").await;
    let daemon = start_ready(&fixture.builder().set("limits.per_second", "20")).await;
    let began = Timestamp::now();
    fixture.send(60, "hello").await;
    let events = fixture.expect_all_succeeded(60).await;
    expect_pace(&times(&events), began, Duration::from_millis(50), 2);
    assert!(daemon.metric("courier_rate_wait_seconds_sum", &[]).await > 0.0);
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn sighup_changes_rate_without_reconnect() {
    let fixture = Fixture::new("rates-hup").await;
    let builder = fixture.builder();
    write_config(&builder, 1);
    let daemon = start_ready(&builder).await;
    fixture.send(200, "hello").await;
    eventually!(TIMEOUT, accepted_count(&fixture) >= 2, "two accepted commands at the old rate");
    write_config(&builder, 1_000);
    daemon.signal("HUP");
    // The old rate would need more than the timeout.
    fixture.expect_all_succeeded(200).await;
    assert_eq!(daemon.metric("courier_reconnects_total", &[]).await, 0.0);
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn device_interval_applies_per_device() {
    let fixture = Fixture::new("rates-device").await;
    let daemon = start_ready(&fixture.builder().set("limits.device_interval", "300ms")).await;
    let began = Timestamp::now();
    for nth in 0..6 {
        fixture.queues.send(&command(&format!("d-{nth}"), "790", "hello")).await;
    }
    fixture.send(20, "hello").await;
    let events = fixture.queues.events(26).await;
    expect_pace(
        &times(events.iter().filter(|event| id(event).starts_with("d-"))),
        began,
        Duration::from_millis(300),
        1,
    );
    assert_eq!(events.last().map(id), Some("d-5"), "the other devices did not wait");
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn channel_rate_applies_per_channel() {
    let fixture = Fixture::new("rates-channel").await;
    let daemon = start_ready(&fixture.builder().set("limits.channel_per_second", "MOBILE=10")).await;
    let began = Timestamp::now();
    for nth in 0..20 {
        let mut body = command(&format!("m-{nth}"), &format!("mobile-{nth}"), "hello");
        body["channelType"] = "MOBILE".into();
        fixture.queues.send(&body).await;
    }
    fixture.send(20, "hello").await;
    let events = fixture.queues.events(40).await;
    let of_channel = events.iter().filter(|event| event["channelType"] == "MOBILE");
    expect_pace(&times(of_channel), began, Duration::from_millis(100), 1);
    assert_eq!(
        events.last().map(|event| &event["channelType"]),
        Some(&"MOBILE".into()),
        "the other channel did not wait"
    );
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn deadline_during_rate_wait_expires_promptly() {
    let fixture = Fixture::new("rates-expired").await;
    let daemon = start_ready(&fixture.builder().set("limits.per_second", "0.001")).await;
    fixture.send(1, "takes the only token").await;
    fixture.expect_all_succeeded(1).await;
    let deadline = Timestamp::now() + Duration::from_secs(1);
    for nth in 0..3 {
        let mut body = command(&format!("late-{nth}"), &format!("79{nth}"), "hello");
        body["expiresAt"] = deadline.to_string().into();
        fixture.queues.send(&body).await;
    }
    let events = fixture.queues.events(3).await;
    assert!(events.iter().all(|event| event["outcome"] == "expired" && event["attempts"] == 0), "{events:?}");
    assert_eq!(fixture.posts(), 1);
    fixture.drain(&daemon).await;
}

#[tokio::test]
async fn slow_channel_does_not_delay_other_channel() {
    let fixture = Fixture::new("rates-slow-channel").await;
    let builder = fixture.builder().set("limits.channel_per_second", "WHATSAPP=1");
    // Declares the topology before commands are sent.
    drop(start_ready(&builder).await);
    fixture.send(300, "hello").await;
    for nth in 0..10 {
        let mut body = command(&format!("m-{nth}"), &format!("mobile-{nth}"), "hello");
        body["channelType"] = "MOBILE".into();
        fixture.queues.send(&body).await;
    }
    let began = Timestamp::now();
    let daemon = start_ready(&builder).await;
    let (mut mobile, mut others) = (0, Vec::new());
    while mobile < 10 {
        let event = fixture.queues.events(1).await.remove(0);
        if event["channelType"] == "MOBILE" { mobile += 1 } else { others.push(event) }
    }
    assert!(others.len() < 60, "{} events of the slow channel came first", others.len());
    expect_pace(&times(&others), began, Duration::from_secs(1), 1);
    assert!(daemon.metric("courier_order_events_total", &[("event", "overflowed")]).await > 100.0);
}
