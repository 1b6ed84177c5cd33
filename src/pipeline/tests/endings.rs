//! What becomes of a command, and that it is told before it is acknowledged.

use std::time::Duration;

use serde_json::json;

use super::{daemon::Daemon, world::status};
use crate::{
    domain::{
        evidence::{Evidence, NoAnswer, NotSent},
        message::Target,
        properties::header,
        reason::Reason,
    },
    gate::GateReason,
    ports::PublishError,
};

const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn a_delivered_command_is_told_with_the_response_and_acknowledged() {
    let mut daemon = Daemon::start();
    daemon.deliver("hello", json!({"metadata": {"tenant": "x"}}));
    daemon.pass(SOON).await;
    let events = daemon.world.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["outcome"], "succeeded");
    assert_eq!(events[0]["commandId"], "c-1");
    assert_eq!(events[0]["response"]["threadId"], 2);
    assert_eq!(events[0]["attempts"], 1);
    assert_eq!(events[0]["possibleDuplicate"], false);
    assert_eq!(events[0]["metadata"], json!({"tenant": "x"}));
    assert_eq!(daemon.world.dead_letters(), []);
    assert_eq!(daemon.world.acked(), [1]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_event_and_dead_letter_are_confirmed() {
    let mut daemon = Daemon::start();
    daemon.world.withhold_confirms(true);
    daemon.world.script([status(200), status(400)]);
    daemon.deliver("fine", json!({}));
    daemon.deliver("rejected", json!({}));
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.posts(), 2);
    assert_eq!(daemon.world.acked(), Vec::<u64>::new());
    daemon.world.withhold_confirms(false);
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.acked().len(), 2);
    assert_eq!(daemon.world.stored_at_ack().last(), Some(&3), "two events and a dead letter were stored first");
}

#[tokio::test(start_paused = true)]
async fn once_there_is_an_answer_only_the_publish_is_tried_again() {
    let mut daemon = Daemon::start();
    daemon.world.refuse([PublishError::Refused, PublishError::Returned, PublishError::Unconfirmed]);
    daemon.deliver("hello", json!({}));
    daemon.pass(Duration::from_millis(50)).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Blocked), "what cannot be recorded must not be created");
    daemon.pass(LATER).await;
    assert_eq!((daemon.world.posts(), daemon.world.events().len(), daemon.world.acked()), (1, 1, vec![1]));
    assert!(daemon.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_command_becomes_an_event_and_a_dead_letter_with_the_reason() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(422)]);
    daemon.deliver("hello", json!({}));
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.events()[0]["failure"]["reason"], "rejected");
    assert_eq!(daemon.world.events()[0]["failure"]["httpStatus"], 422);
    let letters = daemon.world.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].target, Target::Dead(Reason::Rejected));
    assert_eq!(letters[0].properties.int(header::HTTP_STATUS), Some(422));
    assert_eq!(letters[0].properties.text(header::SOURCE), Some("edna.commands/send"));
}

#[tokio::test(start_paused = true)]
async fn what_the_api_did_not_take_is_tried_again_and_then_exhausted() {
    let mut daemon = Daemon::start_with(|rules| rules.max_attempts = 3);
    daemon.world.script([status(503), Evidence::NotSent(NotSent::Connect), status(200)]);
    daemon.deliver("third time lucky", json!({}));
    daemon.pass(LATER).await;
    daemon.world.script([status(503), status(503), status(503)]);
    daemon.deliver("never", json!({}));
    daemon.pass(LATER).await;
    let events = daemon.world.events();
    assert_eq!((&events[0]["outcome"], &events[0]["attempts"]), (&json!("succeeded"), &json!(3)));
    assert_eq!((&events[1]["failure"]["reason"], &events[1]["attempts"]), (&json!("exhausted"), &json!(3)));
    assert_eq!(daemon.world.posts(), 6);
    assert_eq!(daemon.world.acked(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_attempt_is_repeated_and_says_so_or_parked() {
    let mut daemon = Daemon::start();
    daemon.world.script([Evidence::NoAnswer(NoAnswer::Timeout)]);
    daemon.deliver("resend", json!({}));
    daemon.pass(LATER).await;
    daemon.world.script([Evidence::NoAnswer(NoAnswer::Broken)]);
    daemon.deliver("park", json!({"onUncertain": "park"}));
    daemon.pass(LATER).await;
    let events = daemon.world.events();
    assert_eq!((&events[0]["outcome"], &events[0]["possibleDuplicate"]), (&json!("succeeded"), &json!(true)));
    assert_eq!((&events[1]["outcome"], &events[1]["possibleDuplicate"]), (&json!("uncertain"), &json!(true)));
    assert_eq!(daemon.world.dead_letters()[0].target, Target::Dead(Reason::Uncertain));
    assert_eq!(daemon.world.posts(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_success_says_when_an_attempt_may_have_arrived() {
    let mut daemon = Daemon::start_with(|rules| rules.max_attempts = 2);
    daemon.world.script([status(503), status(504)]);
    daemon.deliver("the last attempt is uncertain", json!({}));
    daemon.pass(LATER).await;
    daemon.world.script([status(503), status(503)]);
    daemon.deliver("no attempt is", json!({}));
    daemon.pass(LATER).await;
    let events = daemon.world.events();
    assert_eq!((&events[0]["failure"]["reason"], &events[0]["possibleDuplicate"]), (&json!("exhausted"), &json!(true)));
    assert_eq!(
        (&events[1]["failure"]["reason"], &events[1]["possibleDuplicate"]),
        (&json!("exhausted"), &json!(false))
    );
}

#[tokio::test(start_paused = true)]
async fn no_attempt_starts_after_the_deadline() {
    let mut daemon = Daemon::start();
    daemon.deliver("too late", json!({"expiresAt": "2026-11-22T11:59:59Z"}));
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.posts(), 0);
    daemon.world.script([status(503), status(503), status(503), status(503)]);
    daemon.deliver("in two seconds", json!({"expiresAt": "2026-11-22T12:00:02Z"}));
    daemon.pass(Duration::from_millis(1_500)).await;
    assert_eq!(daemon.world.posts(), 3, "at 0.1, 0.3 and 1.3 s");
    assert_eq!(daemon.world.events().len(), 2, "the next wait would end after the deadline: told at once");
    let reasons: Vec<_> = daemon.world.events().iter().map(|event| event["failure"]["reason"].clone()).collect();
    assert_eq!(reasons, ["expired", "expired"]);
    assert_eq!(daemon.world.acked(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_does_not_hide_that_an_attempt_may_have_reached_the_api() {
    let mut daemon = Daemon::start();
    daemon.world.script([Evidence::NoAnswer(NoAnswer::Broken)]);
    daemon.deliver("unsure", json!({"expiresAt": "2026-11-22T12:00:00.1Z"}));
    daemon.pass(LATER).await;
    let events = daemon.world.events();
    assert_eq!((&events[0]["outcome"], &events[0]["possibleDuplicate"]), (&json!("expired"), &json!(true)));
    assert!(events[0]["failure"]["detail"].as_str().unwrap().contains("may have reached the API"));
}

#[tokio::test(start_paused = true)]
async fn the_default_deadline_counts_from_when_the_command_was_made() {
    let mut daemon = Daemon::start_with(|rules| rules.default_ttl = Some(Duration::from_secs(60)));
    for (id, age_s) in [("a", 61), ("b", 59)] {
        let body = json!({"commandId": id, "text": "t", "channelType": "MOBILE", "deviceAddress": "a"}).to_string();
        daemon.deliver_raw(body.into_bytes(), |delivery| delivery.properties.timestamp_s = Some(1_795_348_800 - age_s));
    }
    daemon.pass(SOON).await;
    let outcomes: Vec<_> = daemon.world.events().iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, ["expired", "succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_command_becomes_one_dead_letter_byte_for_byte_and_an_event_if_it_has_an_id() {
    let mut daemon = Daemon::start();
    daemon.deliver_raw(b"\xff not even text".to_vec(), |_| {});
    daemon.deliver("no channel", json!({"channelType": 5}));
    daemon.pass(SOON).await;
    let letters = daemon.world.dead_letters();
    assert_eq!(letters.len(), 2);
    assert!(letters.iter().all(|letter| letter.target == Target::Dead(Reason::Malformed)));
    assert!(letters.iter().any(|letter| letter.body.as_ref() == b"\xff not even text"));
    let events = daemon.world.events();
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["commandId"], &events[0]["failure"]["reason"]), (&json!("c-2"), &json!("malformed")));
    assert!(events[0]["failure"]["detail"].as_str().unwrap().contains("channelType"));
    assert_eq!((daemon.world.posts(), daemon.world.acked()), (0, vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_a_courtesy_that_cannot_hold_up_the_outcome() {
    let mut daemon = Daemon::start_with(|rules| rules.replies = true);
    let body = br#"{"commandId": "c", "text": "t", "channelType": "MOBILE", "deviceAddress": "a"}"#;
    daemon.deliver_raw(body.to_vec(), |delivery| delivery.properties.reply_to = Some("answers".to_owned()));
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.replies(), daemon.world.events());
    assert_eq!(daemon.world.acked(), [1]);
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_are_under_way_than_allowed() {
    let mut daemon = Daemon::start();
    daemon.world.withhold_answers(true);
    for _ in 0..20 {
        daemon.deliver("hello", json!({}));
    }
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.most_in_flight(), 4);
    daemon.world.withhold_answers(false);
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.acked().len(), 20);
}
