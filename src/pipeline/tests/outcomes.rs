//! The outcomes of commands, each published before its delivery is acked.

use std::time::Duration;

use serde_json::json;

use super::{fake_ports::status, test_daemon::TestDaemon};
use crate::{
    domain::{
        evidence::{Answer, Evidence, NoAnswer, NotSent},
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
async fn delivered_command_publishes_response_and_acks() {
    let mut daemon = TestDaemon::start();
    daemon.deliver("hello", json!({"metadata": {"tenant": "x"}}));
    daemon.advance(SOON).await;
    let events = daemon.fakes.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["outcome"], "succeeded");
    assert_eq!(events[0]["commandId"], "c-1");
    assert_eq!(events[0]["response"]["threadId"], 2);
    assert_eq!(events[0]["attempts"], 1);
    assert_eq!(events[0]["possibleDuplicate"], false);
    assert_eq!(events[0]["metadata"], json!({"tenant": "x"}));
    assert_eq!(daemon.fakes.dead_letters(), []);
    assert_eq!(daemon.fakes.acked(), [1]);
}

#[tokio::test(start_paused = true)]
async fn ack_follows_confirms_of_event_and_letter() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.withhold_confirms(true);
    daemon.fakes.script_evidence([status(200), status(400)]);
    daemon.deliver("fine", json!({}));
    daemon.deliver("rejected", json!({}));
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.posts(), 2);
    assert_eq!(daemon.fakes.acked(), Vec::<u64>::new());
    daemon.fakes.withhold_confirms(false);
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.acked().len(), 2);
    assert_eq!(daemon.fakes.stored_at_ack().last(), Some(&3), "two events and a dead letter were stored before");
}

#[tokio::test(start_paused = true)]
async fn failed_publish_is_retried_without_another_post() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.fail_publishes([PublishError::Refused, PublishError::Returned, PublishError::Unconfirmed]);
    daemon.deliver("hello", json!({}));
    daemon.advance(Duration::from_millis(50)).await;
    assert!(
        daemon.gate.state().is_closed_by(GateReason::Blocked),
        "no attempt may start while outcomes cannot be published"
    );
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.events().len(), daemon.fakes.acked()), (1, 1, vec![1]));
    assert!(daemon.gate_is_open());
}

#[tokio::test(start_paused = true)]
async fn rejected_command_publishes_event_and_dead_letter() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(422)]);
    daemon.deliver("hello", json!({}));
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.events()[0]["failure"]["reason"], "rejected");
    assert_eq!(daemon.fakes.events()[0]["failure"]["httpStatus"], 422);
    let letters = daemon.fakes.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].target, Target::Dead(Reason::Rejected));
    assert_eq!(letters[0].properties.int(header::HTTP_STATUS), Some(422));
    assert_eq!(letters[0].properties.text(header::SOURCE), Some("edna.commands/send"));
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_are_retried_until_exhausted() {
    let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 3);
    daemon.fakes.script_evidence([status(503), Evidence::NotSent(NotSent::Connect), status(200)]);
    daemon.deliver("third time lucky", json!({}));
    daemon.advance(LATER).await;
    daemon.fakes.script_evidence([status(503), status(503), status(503)]);
    daemon.deliver("never", json!({}));
    daemon.advance(LATER).await;
    let events = daemon.fakes.events();
    assert_eq!((&events[0]["outcome"], &events[0]["attempts"]), (&json!("succeeded"), &json!(3)));
    assert_eq!((&events[1]["failure"]["reason"], &events[1]["attempts"]), (&json!("exhausted"), &json!(3)));
    assert_eq!(daemon.fakes.posts(), 6);
    assert_eq!(daemon.fakes.acked(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn uncertain_attempt_is_resent_or_parked_by_policy() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([Evidence::NoAnswer(NoAnswer::Timeout)]);
    daemon.deliver("resend", json!({}));
    daemon.advance(LATER).await;
    daemon.fakes.script_evidence([Evidence::NoAnswer(NoAnswer::Broken)]);
    daemon.deliver("park", json!({"onUncertain": "park"}));
    daemon.advance(LATER).await;
    let events = daemon.fakes.events();
    assert_eq!((&events[0]["outcome"], &events[0]["possibleDuplicate"]), (&json!("succeeded"), &json!(true)));
    assert_eq!((&events[1]["outcome"], &events[1]["possibleDuplicate"]), (&json!("uncertain"), &json!(true)));
    assert_eq!(daemon.fakes.dead_letters()[0].target, Target::Dead(Reason::Uncertain));
    assert_eq!(daemon.fakes.posts(), 3);
}

#[tokio::test(start_paused = true)]
async fn exhausted_command_reports_possible_arrival() {
    let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 2);
    daemon.fakes.script_evidence([status(503), status(504)]);
    daemon.deliver("the last attempt is uncertain", json!({}));
    daemon.advance(LATER).await;
    daemon.fakes.script_evidence([status(503), status(503)]);
    daemon.deliver("no attempt is", json!({}));
    daemon.advance(LATER).await;
    let events = daemon.fakes.events();
    assert_eq!((&events[0]["failure"]["reason"], &events[0]["possibleDuplicate"]), (&json!("exhausted"), &json!(true)));
    assert_eq!(
        (&events[1]["failure"]["reason"], &events[1]["possibleDuplicate"]),
        (&json!("exhausted"), &json!(false))
    );
}

#[tokio::test(start_paused = true)]
async fn deadline_passed_starts_no_attempt() {
    let mut daemon = TestDaemon::start();
    daemon.deliver("too late", json!({"expiresAt": "2026-11-22T11:59:59Z"}));
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.posts(), 0);
    daemon.fakes.script_evidence([status(503), status(503), status(503), status(503)]);
    daemon.deliver("in two seconds", json!({"expiresAt": "2026-11-22T12:00:02Z"}));
    daemon.advance(Duration::from_millis(1_500)).await;
    assert_eq!(daemon.fakes.posts(), 3, "at 0.1, 0.3 and 1.3 s");
    assert_eq!(daemon.fakes.events().len(), 2, "the next wait would end after the deadline: expires at once");
    let reasons: Vec<_> = daemon.fakes.events().iter().map(|event| event["failure"]["reason"].clone()).collect();
    assert_eq!(reasons, ["expired", "expired"]);
    assert_eq!(daemon.fakes.acked(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn expired_command_reports_possible_arrival() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([Evidence::NoAnswer(NoAnswer::Broken)]);
    daemon.deliver("unsure", json!({"expiresAt": "2026-11-22T12:00:00.1Z"}));
    daemon.advance(LATER).await;
    let events = daemon.fakes.events();
    assert_eq!((&events[0]["outcome"], &events[0]["possibleDuplicate"]), (&json!("expired"), &json!(true)));
    assert!(events[0]["failure"]["detail"].as_str().unwrap().contains("may have reached the API"));
}

/// A login proxy answers 200 with its page: the decision table calls it delivered, so it must not go unnoticed.
#[tokio::test(start_paused = true)]
async fn unread_2xx_is_delivered_and_counted_by_its_reason() {
    let answer = |body: Option<&str>| {
        let body = body.map(|body| body.as_bytes().to_vec());
        Evidence::Answer(Answer { status: 200, retry_after: None, body })
    };
    let bodies = [Some(""), Some("<html>log in</html>"), None, Some(r#"{"success":false}"#), Some(r#"{"id":"7"}"#)];
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(bodies.map(answer));
    for _ in bodies {
        daemon.deliver("hello", json!({}));
        daemon.advance(SOON).await;
    }
    let events = daemon.fakes.events();
    assert!(events.iter().all(|event| event["outcome"] == "succeeded"), "{events:?}");
    let ids: Vec<_> = events.iter().map(|event| event["response"]["id"].clone()).collect();
    assert_eq!(ids, [json!(null), json!(null), json!(null), json!(null), json!(7)]);
    assert_eq!((daemon.fakes.posts(), daemon.fakes.dead_letters()), (5, vec![]));
    let metrics = daemon.metrics();
    for (why, count) in [("empty", 1), ("not_json", 2), ("no_ids", 1)] {
        let sample = format!("courier_answers_unread_total{{why=\"{why}\"}} {count}\n");
        assert!(metrics.contains(&sample), "{sample}");
    }
}

/// Some clients write 0 for no time.
#[tokio::test(start_paused = true)]
async fn message_timestamp_of_zero_is_absent() {
    let mut daemon = TestDaemon::start_with(|settings| settings.default_ttl = Some(Duration::from_secs(60)));
    let body = br#"{"commandId": "a", "text": "t", "channelType": "MOBILE", "deviceAddress": "a"}"#;
    daemon.deliver_raw(body.to_vec(), |delivery| delivery.properties.timestamp_s = Some(0));
    daemon.advance(SOON).await;
    let outcomes: Vec<_> = daemon.fakes.events().iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, ["succeeded"]);
    let metrics = daemon.metrics();
    assert!(metrics.contains("courier_queue_wait_seconds_count 0\n"), "no wait is known");
}

#[tokio::test(start_paused = true)]
async fn default_ttl_counts_from_the_message_timestamp() {
    let mut daemon = TestDaemon::start_with(|settings| settings.default_ttl = Some(Duration::from_secs(60)));
    for (id, age_s) in [("a", 61), ("b", 59)] {
        let body = json!({"commandId": id, "text": "t", "channelType": "MOBILE", "deviceAddress": "a"}).to_string();
        daemon.deliver_raw(body.into_bytes(), |delivery| delivery.properties.timestamp_s = Some(1_795_348_800 - age_s));
    }
    daemon.advance(SOON).await;
    let outcomes: Vec<_> = daemon.fakes.events().iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, ["expired", "succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn malformed_message_is_dead_lettered_byte_for_byte() {
    let mut daemon = TestDaemon::start();
    daemon.deliver_raw(b"\xff not even text".to_vec(), |_| {});
    daemon.deliver("no channel", json!({"channelType": 5}));
    daemon.advance(SOON).await;
    let letters = daemon.fakes.dead_letters();
    assert_eq!(letters.len(), 2);
    assert!(letters.iter().all(|letter| letter.target == Target::Dead(Reason::Malformed)));
    assert!(letters.iter().any(|letter| letter.body.as_ref() == b"\xff not even text"));
    let events = daemon.fakes.events();
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["commandId"], &events[0]["failure"]["reason"]), (&json!("c-2"), &json!("malformed")));
    assert!(events[0]["failure"]["detail"].as_str().unwrap().contains("channelType"));
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked()), (0, vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn reply_is_published_beside_the_event() {
    let mut daemon = TestDaemon::start_with(|settings| settings.replies = true);
    let body = br#"{"commandId": "c", "text": "t", "channelType": "MOBILE", "deviceAddress": "a"}"#;
    daemon.deliver_raw(body.to_vec(), |delivery| delivery.properties.reply_to = Some("answers".to_owned()));
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.replies(), daemon.fakes.events());
    let body = br#"{"commandId": "d", "text": "t", "channelType": "MOBILE", "deviceAddress": "a"}"#;
    daemon.deliver_raw(body.to_vec(), |delivery| delivery.properties.reply_to = Some(String::new()));
    daemon.advance(SOON).await;
    assert_eq!(
        (daemon.fakes.replies().len(), daemon.fakes.events().len()),
        (1, 2),
        "an empty reply_to causes no reply"
    );
    assert_eq!(daemon.fakes.acked(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn attempts_stay_within_the_concurrency_limit() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.withhold_answers(true);
    for _ in 0..20 {
        daemon.deliver("hello", json!({}));
    }
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.max_in_flight_posts(), 4);
    daemon.fakes.withhold_answers(false);
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.acked().len(), 20);
}
