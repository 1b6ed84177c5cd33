//! What the journal knows decides what may be sent, and what is known is written before anything depends on it.

use std::time::Duration;

use serde_json::json;

use super::{daemon::Daemon, memory::REASON, world::status};
use crate::{
    domain::{
        evidence::{Evidence, NoAnswer},
        properties::{HeaderValue, header},
        reason::Reason,
    },
    gate::GateReason,
    ports::PublishError,
};

const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(60);

fn body(more: &str) -> Vec<u8> {
    format!(r#"{{"commandId": "c", "text": "t", "channelType": "MOBILE", "deviceAddress": "a"{more}}}"#).into_bytes()
}

/// A command whose former owner died after it had recorded the start of an attempt.
async fn orphan(more: &str) -> Daemon {
    let mut daemon = Daemon::start();
    daemon.world.withhold_answers(true);
    daemon.deliver_raw(body(more), |_| {});
    daemon.pass(SOON).await;
    assert_eq!((daemon.world.written(), daemon.world.posts()), (vec!["start"], 1), "written before the POST");
    let daemon = daemon.die().await;
    daemon.world.withhold_answers(false);
    daemon
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_on_record_before_and_its_end_before_it_is_told() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(400)]);
    daemon.deliver_raw(body(""), |_| {});
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.written(), ["start", "end", "letter"]);
    assert_eq!(daemon.world.acked(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_known_end_is_told_again_and_nothing_is_sent() {
    let mut daemon = Daemon::start();
    for _ in 0..3 {
        daemon.deliver_raw(body(r#", "metadata": {"tenant": 7}"#), |_| {});
        daemon.pass(SOON).await;
    }
    assert_eq!((daemon.world.posts(), daemon.world.acked()), (1, vec![1, 2, 3]));
    let events = daemon.world.events();
    assert_eq!(events.iter().map(|event| event["repeated"] == true).collect::<Vec<_>>(), [false, true, true]);
    for event in &events {
        let told_anew = |key: &str| key == "repeated";
        for (key, value) in event.as_object().unwrap().iter().filter(|(key, _)| !told_anew(key)) {
            assert_eq!(value, &events[0][key], "{key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_a_new_send() {
    let mut daemon = Daemon::start();
    for replay in [0, 1, 1] {
        daemon.deliver_raw(body(""), |delivery| {
            delivery.properties.headers.insert(header::REPLAY.into(), HeaderValue::Int(replay));
        });
        daemon.pass(SOON).await;
    }
    assert_eq!(daemon.world.posts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_stored_is_not_written_again() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(400)]);
    for _ in 0..2 {
        daemon.deliver_raw(body(""), |_| {});
        daemon.pass(SOON).await;
    }
    assert_eq!((daemon.world.dead_letters().len(), daemon.world.events().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_may_be_missing_is_written_again() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(400)]);
    daemon.world.refuse(std::iter::repeat_n(PublishError::Refused, 100));
    daemon.deliver_raw(body(""), |_| {});
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.written(), ["start", "end"]);
    let daemon = daemon.die().await;
    daemon.world.mend();
    daemon.pass(LATER).await;
    let letters = daemon.world.dead_letters();
    assert_eq!(letters.len(), 1, "the end was on record, its letter was not");
    assert_eq!(letters[0].properties.text(header::REASON), Some("rejected"));
    assert_eq!(letters[0].properties.int(header::HTTP_STATUS), Some(400));
    assert_eq!((letters[0].properties.int(header::ATTEMPT), daemon.world.posts()), (Some(1), 1));
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_attempt_is_uncertain_and_follows_the_policy() {
    for (policy, outcome, posts) in [("park", "uncertain", 1), ("resend", "succeeded", 2)] {
        let daemon = orphan(&format!(r#", "onUncertain": "{policy}""#)).await;
        daemon.pass(LATER).await;
        assert_eq!((daemon.world.posts(), daemon.world.events().len()), (posts, 1), "{policy}");
        let event = daemon.world.events().remove(0);
        assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!(outcome), &json!(true)), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_is_too_late_is_parked_if_that_is_the_policy_and_else_expired() {
    for (policy, outcome) in [("park", "uncertain"), ("resend", "expired")] {
        let more = format!(r#", "onUncertain": "{policy}", "expiresAt": "2026-11-22T12:00:00.05Z""#);
        let daemon = orphan(&more).await;
        daemon.pass(SOON).await;
        let event = daemon.world.events().remove(0);
        assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!(outcome), &json!(true)), "{policy}");
        assert_eq!(daemon.world.posts(), 1, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_known_is_not_told_as_expired() {
    let mut daemon = Daemon::start();
    let more = r#", "expiresAt": "2026-11-22T12:00:10Z""#;
    daemon.deliver_raw(body(more), |_| {});
    daemon.pass(LATER).await;
    daemon.deliver_raw(body(more), |_| {});
    daemon.pass(SOON).await;
    let outcomes: Vec<_> = daemon.world.events().iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, ["succeeded", "succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_waits_in_the_shortest_tier_while_the_first_is_at_it() {
    let mut daemon = Daemon::start();
    daemon.world.withhold_answers(true);
    daemon.deliver_raw(body(""), |_| {});
    daemon.deliver_raw(body(""), |delivery| delivery.redelivered = true);
    daemon.pass(Duration::from_secs(7)).await;
    assert_eq!((daemon.world.posts(), daemon.world.parked()), (1, vec!["5s".to_owned(), "5s".into()]));
    daemon.world.withhold_answers(false);
    daemon.pass(LATER).await;
    let repeated: Vec<_> = daemon.world.events().iter().map(|event| event["repeated"] == true).collect();
    assert_eq!((daemon.world.posts(), repeated), (1, vec![false, true]));
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_attempt_is_remembered_over_a_tier() {
    let mut daemon = Daemon::start();
    daemon.world.script([Evidence::NoAnswer(NoAnswer::Timeout), status(503), status(503)]);
    daemon.deliver_raw(body(""), |_| {});
    daemon.pass(Duration::from_secs(3)).await;
    assert_eq!(daemon.world.parked(), ["5s"]);
    // The acknowledgement was lost: the broker hands the first copy out again, which knows of nothing.
    daemon.deliver_raw(body(""), |delivery| delivery.redelivered = true);
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.events()[0]["possibleDuplicate"], true);
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.posts(), 4, "the copy in the tier is told the known end");
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_command_without_a_record_was_not_sent_if_the_journal_is_complete() {
    for (young, may) in [(false, false), (true, true)] {
        let mut daemon = Daemon::start();
        daemon.world.memory().young = young;
        daemon.deliver_raw(body(""), |delivery| delivery.redelivered = true);
        daemon.pass(SOON).await;
        assert_eq!(daemon.world.events()[0]["possibleDuplicate"], may);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_the_journal_cannot_be_written_and_it_goes_on_by_itself() {
    let mut daemon = Daemon::start();
    daemon.world.fill_disk(Some(daemon.close(REASON)));
    daemon.deliver_raw(body(""), |_| {});
    daemon.pass(LATER).await;
    assert_eq!((daemon.world.posts(), daemon.is_open()), (0, false));
    daemon.world.fill_disk(None);
    daemon.pass(LATER).await;
    assert_eq!((daemon.world.posts(), daemon.world.acked()), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_written_is_not_told_and_not_acknowledged() {
    let mut daemon = Daemon::start();
    daemon.world.withhold_answers(true);
    daemon.deliver_raw(body(""), |_| {});
    daemon.pass(SOON).await;
    daemon.world.fill_disk(Some(daemon.close(REASON)));
    daemon.world.withhold_answers(false);
    daemon.pass(LATER).await;
    assert_eq!((daemon.world.events().len(), daemon.world.acked()), (0, vec![]));
    daemon.world.fill_disk(None);
    daemon.pass(LATER).await;
    assert_eq!((daemon.world.posts(), daemon.world.events().len(), daemon.world.acked()), (1, 1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_expires_while_the_journal_is_gone_is_told_when_it_is_back() {
    let mut daemon = Daemon::start();
    daemon.world.fill_disk(Some(daemon.close(REASON)));
    daemon.deliver_raw(body(r#", "expiresAt": "2026-11-22T12:00:05Z""#), |_| {});
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.events().len(), 0);
    daemon.world.fill_disk(None);
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.events()[0]["failure"]["reason"], Reason::Expired.as_str());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_the_journal_writes_stops_the_post() {
    let mut daemon = Daemon::start();
    daemon.world.slow_down(Duration::from_secs(4));
    daemon.deliver_raw(body(r#", "expiresAt": "2026-11-22T12:00:05Z""#), |_| {});
    daemon.pass(LATER).await;
    assert_eq!((daemon.world.posts(), daemon.world.acked()), (0, vec![1]));
    let event = daemon.world.events().remove(0);
    assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!("expired"), &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_while_the_journal_writes_stops_the_post() {
    let mut daemon = Daemon::start();
    daemon.world.slow_down(Duration::from_secs(1));
    daemon.deliver_raw(body(""), |_| {});
    daemon.pass(Duration::from_millis(500)).await;
    let hold = daemon.close(GateReason::Operator);
    daemon.pass(LATER).await;
    assert_eq!((daemon.world.posts(), daemon.world.written()), (0, vec!["start", "release"]));
    drop(hold);
    daemon.pass(LATER).await;
    let event = daemon.world.events().remove(0);
    assert_eq!(
        (&event["attempts"], &event["possibleDuplicate"]),
        (&json!(1), &json!(false)),
        "the claim was no attempt"
    );
    assert_eq!((daemon.world.posts(), daemon.world.acked()), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_probe_does_not_go_on_when_a_gate_closes_that_it_cannot_open() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(401)]);
    daemon.deliver_raw(body(""), |_| {});
    daemon.pass(SOON).await;
    daemon.world.slow_down(Duration::from_secs(1));
    daemon.pass(Duration::from_millis(1_500)).await;
    assert_eq!(daemon.world.posts(), 1, "the probe is being written down");
    let hold = daemon.close(GateReason::Operator);
    daemon.pass(LATER).await;
    assert_eq!(daemon.world.posts(), 1);
    drop(hold);
    daemon.pass(LATER).await;
    assert_eq!((daemon.world.posts(), daemon.world.acked(), daemon.is_open()), (2, vec![1], true));
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_stored_is_not_written_again_while_its_event_cannot_be() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(400)]);
    // The event comes first; it is refused until long after the letter is stored.
    daemon.world.refuse_events(true);
    daemon.deliver_raw(body(""), |_| {});
    daemon.pass(SOON).await;
    assert_eq!((daemon.world.dead_letters().len(), daemon.world.written()), (1, vec!["start", "end", "letter"]));
    let daemon = daemon.die().await;
    daemon.world.refuse_events(false);
    daemon.pass(LATER).await;
    assert_eq!((daemon.world.dead_letters().len(), daemon.world.events().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_letter_on_its_way_is_not_written_again_for_the_copy_of_a_lost_session() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(400)]);
    daemon.world.withhold_confirms(true);
    daemon.deliver_raw(body(""), |_| {});
    daemon.pass(SOON).await;
    daemon.deliver_raw(body(""), |delivery| delivery.redelivered = true);
    daemon.pass(SOON).await;
    daemon.world.withhold_confirms(false);
    daemon.pass(LATER).await;
    let repeated: Vec<_> = daemon.world.events().iter().map(|event| event["repeated"] == true).collect();
    assert_eq!((daemon.world.dead_letters().len(), repeated), (1, vec![false, true]));
}
