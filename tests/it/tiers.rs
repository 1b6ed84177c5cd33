//! Delay tiers: the copy in the tier is stored before the delivery is acked.

use serde_json::{Value, json};

use crate::support::{TIMEOUT, daemon_fixture::DaemonFixture, eventually::eventually, message::with_headers};

fn command(id: &str, text: &str) -> Value {
    json!({ "commandId": id, "text": text, "channelType": "WHATSAPP", "deviceAddress": "89000000000" })
}

/// Starts a daemon with short tiers.
async fn start_daemon(test: &str, extra: &[(&str, &str)]) -> DaemonFixture {
    let settings = [&[("delivery.tiers", "200ms,400ms")], extra].concat();
    let fixture = DaemonFixture::new(test, &settings).await;
    // Registers the tier queues for deletion.
    for tier in ["retry.200ms", "retry.400ms"] {
        fixture.queues.name(tier);
    }
    fixture
}

#[tokio::test]
async fn repeated_failures_use_tiers_in_turn_and_count_attempts() {
    let fixture = start_daemon("tiers", &[]).await;
    fixture.queues.send(&command("order-1", "[[status=503,times=6]]")).await;
    let event = &fixture.queues.events(1).await[0];
    assert_eq!((&event["outcome"], &event["attempts"]), (&json!("succeeded"), &json!(7)));
    assert!(
        event["timing"]["totalMs"].as_u64().expect("a time") > 2_000,
        "totalMs counts from the first delivery: {event}"
    );
    for (tier, times) in [("200ms", 1.0), ("400ms", 3.0)] {
        assert_eq!(fixture.daemon.metric("courier_retries_total", &[("tier", tier)]).await, times, "{tier}");
    }
    assert_eq!(fixture.posts(), (7, 1));
    fixture.finish().await;
}

#[tokio::test]
async fn exhausted_after_tiers_dead_letters_the_original() {
    let fixture = start_daemon("tiers-exhausted", &[("delivery.max_attempts", "5")]).await;
    let command = command("order-1", "[[cutBefore]]");
    fixture.queues.send(&command).await;
    assert_eq!(fixture.queues.events(1).await[0]["failure"]["reason"], "exhausted");
    let letter = fixture.queues.dead_letters(1).await.swap_remove(0);
    assert_eq!(letter.json(), command);
    assert_eq!(
        (&letter.headers["courier-attempt"], &letter.headers["courier-reason"]),
        (&json!(5), &json!("exhausted"))
    );
    assert_eq!(letter.headers["courier-source"], json!(format!("{}/send", fixture.queues.name("commands"))));
    assert!(letter.headers.keys().all(|name| name.starts_with("courier-")), "{:?}", letter.headers);
    fixture.finish().await;
}

#[tokio::test]
async fn early_return_from_tier_is_delayed_again_uncounted() {
    let fixture = start_daemon("tiers-early", &[]).await;
    let not_before = jiff::Timestamp::now().as_millisecond() + 3_000;
    let properties = with_headers([("courier-not-before", json!(not_before))]);
    let (commands, body) = (fixture.queues.name("commands"), command("order-1", "Hello").to_string());
    fixture.queues.client().publish(&commands, "send", body.as_bytes(), properties).await;
    let event = &fixture.queues.events(1).await[0];
    assert_eq!((&event["outcome"], &event["attempts"]), (&json!("succeeded"), &json!(1)));
    assert!(jiff::Timestamp::now().as_millisecond() >= not_before);
    assert!(fixture.daemon.metric("courier_retries_total", &[]).await >= 3.0);
    fixture.finish().await;
}

#[tokio::test]
async fn missing_tier_queue_closes_gate_and_keeps_command() {
    let fixture = start_daemon("tiers-missing", &[]).await;
    let queue = fixture.queues.name("retry.200ms");
    fixture.queues.client().delete_queue(&queue).await;
    fixture.queues.send(&command("order-1", "[[status=503,times=3]]")).await;
    let closed = async || fixture.daemon.metric("courier_gate_closed", &[("reason", "blocked")]).await;
    eventually!(TIMEOUT, closed().await, |closed| *closed == 1.0, "a closed gate, as the copy is returned");
    // A queue for the tier's exchange, so that the repeated publish of the copy succeeds.
    let copies = fixture.queues.client().bind_exclusive_queue(&queue, "").await;
    let copy = fixture.queues.client().read_one(&copies, TIMEOUT).await;
    assert_eq!(
        (copy.json(), &copy.headers["courier-attempt"]),
        (command("order-1", "[[status=503,times=3]]"), &json!(3))
    );
    eventually!(TIMEOUT, closed().await, |closed| *closed == 0.0, "an open gate");
    fixture.queues.expect_all_empty().await;
}
