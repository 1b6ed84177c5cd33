//! Long waits happen in the broker: a copy in a delay queue, stored before the command is acknowledged.

use serde_json::{Value, json};

use crate::support::{SOON, bench::Bench, eventually::eventually, message::with_headers};

fn command(id: &str, text: &str) -> Value {
    json!({ "commandId": id, "text": text, "channelType": "WHATSAPP", "deviceAddress": "89000000000" })
}

/// A daemon with short tiers.
async fn bench(test: &str, more: &[(&str, &str)]) -> Bench {
    let settings = [&[("delivery.tiers", "200ms,400ms")], more].concat();
    let bench = Bench::new(test, &settings).await;
    // Known by name, they are removed with the others.
    for tier in ["retry.200ms", "retry.400ms"] {
        bench.queues.name(tier);
    }
    bench
}

#[tokio::test]
async fn a_command_that_fails_for_long_waits_in_the_tiers_in_turn_and_is_counted_in_the_message() {
    let bench = bench("tiers", &[]).await;
    bench.queues.send(&command("order-1", "[[status=503,times=6]]")).await;
    let event = &bench.queues.events(1).await[0];
    assert_eq!((&event["outcome"], &event["attempts"]), (&json!("succeeded"), &json!(7)));
    assert!(event["timing"]["totalMs"].as_u64().expect("a time") > 2_000, "since it was first seen: {event}");
    for (tier, times) in [("200ms", 1.0), ("400ms", 3.0)] {
        assert_eq!(bench.daemon.metric("courier_retries_total", &[("tier", tier)]).await, times, "{tier}");
    }
    assert_eq!(bench.posts(), (7, 1));
    bench.end().await;
}

#[tokio::test]
async fn a_command_is_exhausted_over_all_tiers_and_its_dead_letter_is_the_command() {
    let bench = bench("tiers-exhausted", &[("delivery.max_attempts", "5")]).await;
    let command = command("order-1", "[[cutBefore]]");
    bench.queues.send(&command).await;
    assert_eq!(bench.queues.events(1).await[0]["failure"]["reason"], "exhausted");
    let letter = bench.queues.dead_letters(1).await.swap_remove(0);
    assert_eq!(letter.json(), command);
    assert_eq!(
        (&letter.headers["courier-attempt"], &letter.headers["courier-reason"]),
        (&json!(5), &json!("exhausted"))
    );
    assert_eq!(letter.headers["courier-source"], json!(format!("{}/send", bench.queues.name("commands"))));
    assert!(letter.headers.keys().all(|name| name.starts_with("courier-")), "{:?}", letter.headers);
    bench.end().await;
}

#[tokio::test]
async fn what_comes_back_too_early_is_parked_again_uncounted() {
    let bench = bench("tiers-early", &[]).await;
    let not_before = jiff::Timestamp::now().as_millisecond() + 3_000;
    let properties = with_headers([("courier-not-before", json!(not_before))]);
    let (commands, body) = (bench.queues.name("commands"), command("order-1", "Hello").to_string());
    bench.queues.client().publish(&commands, "send", body.as_bytes(), properties).await;
    let event = &bench.queues.events(1).await[0];
    assert_eq!((&event["outcome"], &event["attempts"]), (&json!("succeeded"), &json!(1)));
    assert!(jiff::Timestamp::now().as_millisecond() >= not_before);
    assert!(bench.daemon.metric("courier_retries_total", &[]).await >= 3.0);
    bench.end().await;
}

#[tokio::test]
async fn a_tier_that_is_not_there_closes_the_gate_and_loses_nothing() {
    let bench = bench("tiers-missing", &[]).await;
    let queue = bench.queues.name("retry.200ms");
    bench.queues.client().delete_queue(&queue).await;
    bench.queues.send(&command("order-1", "[[status=503,times=3]]")).await;
    let closed = async || bench.daemon.metric("courier_gate_closed", &[("reason", "blocked")]).await;
    eventually!(SOON, closed().await, |closed| *closed == 1.0, "the gate is closed, as the copy is returned");
    // Anything that takes what the exchange gets; the daemon publishes the copy again.
    let copies = bench.queues.client().listen(&queue, "").await;
    let copy = bench.queues.client().read_one(&copies, SOON).await;
    assert_eq!(
        (copy.json(), &copy.headers["courier-attempt"]),
        (command("order-1", "[[status=503,times=3]]"), &json!(3))
    );
    eventually!(SOON, closed().await, |closed| *closed == 0.0, "the gate is open again");
    bench.queues.expect_all_empty().await;
}
