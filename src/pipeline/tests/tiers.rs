//! Long waits happen in delay tiers, and the copies carry what the next attempt needs.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::{
    fake_ports::{status, throttled},
    test_daemon::TestDaemon,
};
use crate::{
    domain::{
        evidence::{Evidence, NoAnswer},
        properties::{HeaderValue, header},
        rate::Rates,
    },
    gate::GateReason,
    pipeline::Order,
    ports::PublishError,
};

const LATER: Duration = Duration::from_secs(2_000);
const BODY: &[u8] = br#"{"commandId": "c", "text": "t", "channelType": "MOBILE", "deviceAddress": "a"}"#;
/// The start of the fake clock.
const NOON_MS: i64 = 1_795_348_800_000;

#[tokio::test(start_paused = true)]
async fn retries_wait_in_memory_then_in_tiers_in_turn() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(std::iter::repeat_n(status(503), 5));
    daemon.deliver("hello", json!({}));
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.delayed_tiers(), ["5s", "30s", "2m"]);
    let event = &daemon.fakes.events()[0];
    assert_eq!((&event["outcome"], &event["attempts"]), (&json!("succeeded"), &json!(6)), "counted in the message");
    assert!(event["timing"]["totalMs"].as_u64().unwrap() > 155_000, "counted from the first delivery: {event}");
    assert_eq!(daemon.fakes.acked(), [1, 2, 3, 4], "each delivery once its copy was stored");
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_across_tiers() {
    let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 4);
    daemon.fakes.script_evidence(std::iter::repeat_n(status(503), 4));
    daemon.deliver("hello", json!({}));
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.delayed_tiers(), ["5s"]);
    assert_eq!(daemon.fakes.events()[0]["failure"]["reason"], "exhausted");
    assert_eq!(daemon.fakes.dead_letters()[0].properties.text(header::SOURCE), Some("edna.commands/send"));
}

#[tokio::test(start_paused = true)]
async fn refused_copy_of_lost_session_is_given_up() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(std::iter::repeat_n(status(503), 3));
    daemon.fakes.fail_publishes(std::iter::repeat_n(PublishError::Refused, 3));
    daemon.deliver("hello", json!({}));
    daemon.advance(Duration::from_millis(1_500)).await;
    assert!(daemon.fakes.delayed_tiers().is_empty(), "refused");
    daemon.fakes.lose_session();
    daemon.fakes.redeliver();
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.delayed_tiers(), [""; 0], "the broker has delivered the command again");
    assert_eq!((daemon.fakes.posts(), daemon.fakes.events().len(), daemon.fakes.acked()), (4, 1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn delayed_command_keeps_its_uncertain_attempt() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([Evidence::NoAnswer(NoAnswer::Timeout), status(503), status(503)]);
    daemon.deliver("hello", json!({}));
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.delayed_tiers(), ["5s"]);
    assert_eq!(daemon.fakes.events()[0]["possibleDuplicate"], true);
}

#[tokio::test(start_paused = true)]
async fn early_return_is_delayed_again_uncounted() {
    let mut daemon = TestDaemon::start();
    daemon.deliver_raw(BODY.to_vec(), |delivery| {
        let not_before = HeaderValue::Int(NOON_MS + 760_000);
        delivery.properties.headers.insert(header::NOT_BEFORE.into(), not_before);
    });
    daemon.advance(Duration::from_secs(759)).await;
    assert_eq!(
        (daemon.fakes.delayed_tiers(), daemon.fakes.posts()),
        (vec!["10m".to_owned(), "2m".into(), "30s".into(), "5s".into(), "5s".into()], 0)
    );
    daemon.advance(Duration::from_secs(10)).await;
    assert_eq!(daemon.fakes.events()[0]["attempts"], 1);
}

#[tokio::test(start_paused = true)]
async fn often_returned_command_is_copied_before_its_attempt() {
    let mut daemon = TestDaemon::start();
    let hold = daemon.close_gate(GateReason::Auth);
    daemon.deliver_raw(BODY.to_vec(), |delivery| delivery.returns = 9);
    daemon.advance(Duration::from_secs(1)).await;
    assert_eq!(daemon.fakes.delayed_tiers(), Vec::<String>::new(), "below half of the limit");
    daemon.deliver_raw(BODY.to_vec(), |delivery| delivery.returns = 10);
    daemon.advance(Duration::from_secs(1)).await;
    assert_eq!((daemon.fakes.delayed_tiers(), daemon.fakes.acked()), (vec!["5s".to_owned()], vec![2]));
    drop(hold);
    daemon.advance(Duration::from_secs(10)).await;
    assert_eq!((daemon.fakes.posts(), &daemon.fakes.events()[0]["attempts"]), (1, &json!(1)), "uncounted");
}

#[tokio::test(start_paused = true)]
async fn attempted_command_that_returns_for_ever_is_poison() {
    for (attempts, posts, outcome) in [(1, 0, "failed"), (0, 1, "succeeded")] {
        let mut daemon = TestDaemon::start();
        daemon.deliver_raw(BODY.to_vec(), |delivery| {
            delivery.returns = 10;
            for (name, count) in [(header::RETURNS, 10), (header::ATTEMPT, attempts)] {
                delivery.properties.headers.insert(name.into(), HeaderValue::Int(count));
            }
        });
        daemon.advance(Duration::from_secs(10)).await;
        let event = &daemon.fakes.events()[0];
        assert_eq!((&event["outcome"], daemon.fakes.posts()), (&json!(outcome), posts), "{event}");
        let letters = daemon.fakes.dead_letters();
        assert_eq!(letters.len(), 1 - posts, "a dead letter");
        assert!(letters.iter().all(|letter| letter.properties.text(header::REASON) == Some("poison")));
    }
}

#[tokio::test(start_paused = true)]
async fn command_waits_in_memory_at_most_five_minutes() {
    let mut daemon = TestDaemon::start();
    let hold = daemon.close_gate(GateReason::Blocked);
    daemon.deliver("hello", json!({}));
    daemon.advance(Duration::from_secs(299)).await;
    assert_eq!(daemon.fakes.delayed_tiers(), Vec::<String>::new());
    daemon.advance(Duration::from_secs(2)).await;
    assert_eq!((daemon.fakes.delayed_tiers(), daemon.fakes.acked()), (vec!["5s".to_owned()], vec![1]));
    drop(hold);
    daemon.advance(Duration::from_secs(10)).await;
    assert_eq!(daemon.fakes.events()[0]["attempts"], 1, "uncounted");
}

#[tokio::test(start_paused = true)]
async fn long_retry_after_uses_the_longest_tier_within_it() {
    for (retry_after_s, tier) in [(310, "5s"), (340, "30s"), (900, "10m"), (3_600, "10m")] {
        let mut daemon = TestDaemon::start();
        daemon.fakes.script_evidence([throttled(retry_after_s)]);
        daemon.deliver("hello", json!({}));
        daemon.deliver("expires before that", json!({"expiresAt": "2026-11-22T12:05:03Z"}));
        daemon.advance(Duration::from_secs(301)).await;
        assert_eq!(daemon.fakes.delayed_tiers(), [tier], "{retry_after_s} s");
        assert_eq!(daemon.fakes.events()[0]["outcome"], "expired", "{retry_after_s} s");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_session_command_is_not_delayed() {
    let mut daemon = TestDaemon::start();
    let hold = daemon.close_gate(GateReason::Blocked);
    daemon.deliver("hello", json!({}));
    daemon.advance(Duration::from_secs(200)).await;
    daemon.fakes.lose_session();
    daemon.advance(Duration::from_secs(200)).await;
    assert_eq!((daemon.fakes.delayed_tiers(), daemon.fakes.acked()), (vec![], vec![]), "the broker redelivers it");
    drop(hold);
}

#[tokio::test(start_paused = true)]
async fn command_expiring_within_the_tier_expires_at_once() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(std::iter::repeat_n(status(503), 5));
    daemon.deliver("hello", json!({"expiresAt": "2026-11-22T12:00:05Z"}));
    daemon.advance(Duration::from_secs(2)).await;
    assert_eq!(daemon.fakes.events()[0]["failure"]["reason"], "expired");
    assert_eq!(daemon.fakes.delayed_tiers(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn follower_expiring_within_the_tier_expires_at_once() {
    let mut daemon = TestDaemon::start_with(|settings| settings.order = Order::Device);
    daemon.fakes.script_evidence(std::iter::repeat_n(status(503), 3));
    daemon.deliver("first", json!({}));
    daemon.deliver("expires in the tier", json!({"expiresAt": "2026-11-22T12:00:05Z"}));
    daemon.deliver("third", json!({}));
    daemon.advance(Duration::from_secs(2)).await;
    assert_eq!(daemon.fakes.delayed_tiers(), ["5s", "5s"]);
    assert_eq!(daemon.fakes.events()[0]["failure"]["reason"], "expired");
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.delivered_texts(), ["first", "third"]);
}

#[tokio::test(start_paused = true)]
async fn lost_session_command_keeps_its_position() {
    let rates = Rates { key_interval: Duration::from_secs(10), ..Rates::default() };
    let mut daemon = TestDaemon::start_with(|settings| {
        settings.order = Order::Device;
        settings.rates = watch::Sender::new(rates).subscribe();
    });
    for text in ["first", "second", "third"] {
        daemon.deliver(text, json!({"commandId": text}));
    }
    daemon.advance(Duration::from_secs(1)).await;
    daemon.fakes.lose_session();
    // The second command was granted an attempt in between.
    daemon.advance(Duration::from_secs(10)).await;
    for text in ["second", "third"] {
        daemon.deliver(text, json!({"commandId": text}));
    }
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.posted_texts(), ["first", "second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn follower_of_a_missing_command_waits_while_not_consuming() {
    let mut daemon = TestDaemon::start_with(|settings| settings.order = Order::Device);
    let hold = daemon.close_gate(GateReason::Blocked);
    daemon.deliver("missing", json!({}));
    daemon.advance(Duration::from_secs(1)).await;
    daemon.fakes.lose_session();
    daemon.set_consuming(false);
    daemon.deliver("follower", json!({}));
    drop(hold);
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.posted_texts(), Vec::<String>::new(), "not consuming, longer than the return grace");
    daemon.set_consuming(true);
    daemon.deliver("other device", json!({"deviceAddress": "other"}));
    daemon.advance(Duration::from_secs(599)).await;
    assert_eq!(daemon.fakes.posted_texts(), ["other device"], "within the return grace");
    daemon.advance(Duration::from_secs(10)).await;
    assert_eq!(daemon.fakes.posted_texts(), ["other device", "follower"]);
}

#[tokio::test(start_paused = true)]
async fn device_keeps_order_across_tiers() {
    let mut daemon = TestDaemon::start_with(|settings| settings.order = Order::Device);
    daemon.fakes.script_evidence(std::iter::repeat_n(status(503), 5));
    for text in ["first", "second", "third"] {
        daemon.deliver(text, json!({}));
    }
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.delayed_tiers(), ["5s", "5s", "5s", "30s", "30s", "30s", "2m", "2m", "2m"]);
    let posted = daemon.fakes.posted_texts();
    assert_eq!(posted, ["first", "first", "first", "first", "first", "first", "second", "third"]);
    let attempts: Vec<_> = daemon.fakes.events().iter().map(|event| event["attempts"].clone()).collect();
    assert_eq!(attempts, [6, 1, 1], "the followers' delays are not counted");
}
