//! Long waits happen in the broker, and what the next attempt must know travels with the command.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::{
    daemon::Daemon,
    world::{status, too_many},
};
use crate::{
    domain::{
        evidence::{Evidence, NoAnswer},
        properties::{HeaderValue, header},
        rate::Rates,
    },
    gate::GateReason,
    pipeline::Order,
};

const LATER: Duration = Duration::from_secs(2_000);
const BODY: &[u8] = br#"{"commandId": "c", "text": "t", "channelType": "MOBILE", "deviceAddress": "a"}"#;
/// The world's clock starts at noon.
const NOON_MS: i64 = 1_795_348_800_000;

#[tokio::test(start_paused = true)]
async fn after_two_short_waits_a_command_waits_in_the_tiers_in_turn() {
    let mut daemon = Daemon::start();
    daemon.world.script(std::iter::repeat_n(status(503), 5));
    daemon.deliver("hello", json!({}));
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.parked(), ["5s", "30s", "2m"]);
    let event = &daemon.world.events()[0];
    assert_eq!((&event["outcome"], &event["attempts"]), (&json!("succeeded"), &json!(6)), "counted in the message");
    assert!(event["timing"]["totalMs"].as_u64().unwrap() > 155_000, "since it was first seen: {event}");
    assert_eq!(daemon.world.acked(), [1, 2, 3, 4], "each copy after the next was stored");
}

#[tokio::test(start_paused = true)]
async fn attempts_are_exhausted_over_all_tiers() {
    let mut daemon = Daemon::start_with(|rules| rules.max_attempts = 4);
    daemon.world.script(std::iter::repeat_n(status(503), 4));
    daemon.deliver("hello", json!({}));
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.parked(), ["5s"]);
    assert_eq!(daemon.world.events()[0]["failure"]["reason"], "exhausted");
    assert_eq!(daemon.world.dead_letters()[0].properties.text(header::SOURCE), Some("edna.commands/send"));
}

#[tokio::test(start_paused = true)]
async fn a_tier_does_not_hide_that_an_attempt_was_uncertain() {
    let mut daemon = Daemon::start();
    daemon.world.script([Evidence::NoAnswer(NoAnswer::Timeout), status(503), status(503)]);
    daemon.deliver("hello", json!({}));
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.parked(), ["5s"]);
    assert_eq!(daemon.world.events()[0]["possibleDuplicate"], true);
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_too_early_is_parked_again_uncounted() {
    let mut daemon = Daemon::start();
    daemon.deliver_raw(BODY.to_vec(), |delivery| {
        let not_before = HeaderValue::Int(NOON_MS + 760_000);
        delivery.properties.headers.insert(header::NOT_BEFORE.into(), not_before);
    });
    daemon.pass(Duration::from_secs(759)).await;
    assert_eq!(
        (daemon.world.parked(), daemon.world.posts()),
        (vec!["10m".to_owned(), "2m".into(), "30s".into(), "5s".into(), "5s".into()], 0)
    );
    daemon.pass(Duration::from_secs(10)).await;
    assert_eq!(daemon.world.events()[0]["attempts"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_command_is_held_in_memory_for_five_minutes_at_most() {
    let mut daemon = Daemon::start();
    let hold = daemon.close(GateReason::Blocked);
    daemon.deliver("hello", json!({}));
    daemon.pass(Duration::from_secs(299)).await;
    assert_eq!(daemon.world.parked(), Vec::<String>::new());
    daemon.pass(Duration::from_secs(2)).await;
    assert_eq!((daemon.world.parked(), daemon.world.acked()), (vec!["5s".to_owned()], vec![1]));
    drop(hold);
    daemon.pass(Duration::from_secs(10)).await;
    assert_eq!(daemon.world.events()[0]["attempts"], 1, "uncounted");
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_after_is_waited_for_in_the_longest_tier_that_fits() {
    for (retry_after_s, tier) in [(310, "5s"), (340, "30s"), (900, "10m"), (3_600, "10m")] {
        let mut daemon = Daemon::start();
        daemon.world.script([too_many(retry_after_s)]);
        daemon.deliver("hello", json!({}));
        daemon.deliver("expires before that", json!({"expiresAt": "2026-11-22T12:05:03Z"}));
        daemon.pass(Duration::from_secs(301)).await;
        assert_eq!(daemon.world.parked(), [tier], "{retry_after_s} s");
        assert_eq!(daemon.world.events()[0]["outcome"], "expired", "{retry_after_s} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_of_a_lost_session_gets_no_second_life_in_a_tier() {
    let mut daemon = Daemon::start();
    let hold = daemon.close(GateReason::Blocked);
    daemon.deliver("hello", json!({}));
    daemon.pass(Duration::from_secs(200)).await;
    daemon.world.lose_session();
    daemon.pass(Duration::from_secs(200)).await;
    assert_eq!((daemon.world.parked(), daemon.world.acked()), (vec![], vec![]), "the broker hands it out again");
    drop(hold);
}

#[tokio::test(start_paused = true)]
async fn a_command_is_not_sent_to_a_tier_to_expire_there() {
    let mut daemon = Daemon::start();
    daemon.world.script(std::iter::repeat_n(status(503), 5));
    daemon.deliver("hello", json!({"expiresAt": "2026-11-22T12:00:05Z"}));
    daemon.pass(Duration::from_secs(2)).await;
    assert_eq!(daemon.world.events()[0]["failure"]["reason"], "expired");
    assert_eq!(daemon.world.parked(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn one_behind_another_is_not_sent_to_a_tier_to_expire_there() {
    let mut daemon = Daemon::start_with(|rules| rules.order = Order::Device);
    daemon.world.script(std::iter::repeat_n(status(503), 3));
    daemon.deliver("first", json!({}));
    daemon.deliver("expires in the tier", json!({"expiresAt": "2026-11-22T12:00:05Z"}));
    daemon.deliver("third", json!({}));
    daemon.pass(Duration::from_secs(2)).await;
    assert_eq!(daemon.world.parked(), ["5s", "5s"]);
    assert_eq!(daemon.world.events()[0]["failure"]["reason"], "expired");
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.taken(), ["first", "third"]);
}

#[tokio::test(start_paused = true)]
async fn one_of_a_lost_session_keeps_its_place_also_if_it_was_its_turn() {
    let rates = Rates { key_interval: Duration::from_secs(10), ..Rates::default() };
    let mut daemon = Daemon::start_with(|rules| {
        rules.order = Order::Device;
        rules.rates = watch::Sender::new(rates).subscribe();
    });
    for text in ["first", "second", "third"] {
        daemon.deliver(text, json!({"commandId": text}));
    }
    daemon.pass(Duration::from_secs(1)).await;
    daemon.world.lose_session();
    // The second had its turn in between.
    daemon.pass(Duration::from_secs(10)).await;
    for text in ["second", "third"] {
        daemon.deliver(text, json!({"commandId": text}));
    }
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.posted(), ["first", "second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn a_device_keeps_its_order_over_tiers() {
    let mut daemon = Daemon::start_with(|rules| rules.order = Order::Device);
    daemon.world.script(std::iter::repeat_n(status(503), 5));
    for text in ["first", "second", "third"] {
        daemon.deliver(text, json!({}));
    }
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.parked(), ["5s", "5s", "5s", "30s", "30s", "30s", "2m", "2m", "2m"]);
    let posted = daemon.world.posted();
    assert_eq!(posted, ["first", "first", "first", "first", "first", "first", "second", "third"]);
    let attempts: Vec<_> = daemon.world.events().iter().map(|event| event["attempts"].clone()).collect();
    assert_eq!(attempts, [6, 1, 1], "those behind it are not counted");
}
