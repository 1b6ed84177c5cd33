//! The journal decides whether a command may be posted, and records each step before the next depends on it.

use std::time::Duration;

use serde_json::json;

use super::{fake_ports::status, test_daemon::TestDaemon};
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

/// A command whose earlier daemon crashed during its attempt.
async fn orphan(more: &str) -> TestDaemon {
    let mut daemon = TestDaemon::start();
    daemon.fakes.withhold_answers(true);
    daemon.deliver_raw(body(more), |_| {});
    daemon.advance(SOON).await;
    assert_eq!(
        (daemon.fakes.journal_writes(), daemon.fakes.posts()),
        (vec!["start_attempt"], 1),
        "recorded before the POST"
    );
    let daemon = daemon.crash_and_restart().await;
    daemon.fakes.withhold_answers(false);
    daemon
}

#[tokio::test(start_paused = true)]
async fn journal_rejected_command_records_each_step_in_order() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(400)]);
    daemon.deliver_raw(body(""), |_| {});
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.journal_writes(), ["start_attempt", "record_outcome", "letter_stored"]);
    assert_eq!(daemon.fakes.acked(), [1]);
}

#[tokio::test(start_paused = true)]
async fn repeated_command_republishes_event_without_post() {
    let mut daemon = TestDaemon::start();
    for _ in 0..3 {
        daemon.deliver_raw(body(r#", "metadata": {"tenant": 7}"#), |_| {});
        daemon.advance(SOON).await;
    }
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked()), (1, vec![1, 2, 3]));
    let events = daemon.fakes.events();
    assert_eq!(events.iter().map(|event| event["repeated"] == true).collect::<Vec<_>>(), [false, true, true]);
    for event in &events {
        let differs = |key: &str| key == "repeated";
        for (key, value) in event.as_object().unwrap().iter().filter(|(key, _)| !differs(key)) {
            assert_eq!(value, &events[0][key], "{key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replayed_command_is_posted_again() {
    let mut daemon = TestDaemon::start();
    for replay in [0, 1, 1] {
        daemon.deliver_raw(body(""), |delivery| {
            delivery.properties.headers.insert(header::REPLAY.into(), HeaderValue::Int(replay));
        });
        daemon.advance(SOON).await;
    }
    assert_eq!(daemon.fakes.posts(), 2);
}

#[tokio::test(start_paused = true)]
async fn repeated_failure_does_not_republish_stored_letter() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(400)]);
    for _ in 0..2 {
        daemon.deliver_raw(body(""), |_| {});
        daemon.advance(SOON).await;
    }
    assert_eq!((daemon.fakes.dead_letters().len(), daemon.fakes.events().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn crash_before_letter_confirm_republishes_letter() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(400)]);
    daemon.fakes.fail_publishes(std::iter::repeat_n(PublishError::Refused, 100));
    daemon.deliver_raw(body(""), |_| {});
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.journal_writes(), ["start_attempt", "record_outcome"]);
    let daemon = daemon.crash_and_restart().await;
    daemon.fakes.clear_failures();
    daemon.advance(LATER).await;
    let letters = daemon.fakes.dead_letters();
    assert_eq!(letters.len(), 1, "the outcome was recorded, its letter was not");
    assert_eq!(letters[0].properties.text(header::REASON), Some("rejected"));
    assert_eq!(letters[0].properties.int(header::HTTP_STATUS), Some(400));
    assert_eq!((letters[0].properties.int(header::ATTEMPT), daemon.fakes.posts()), (Some(1), 1));
}

#[tokio::test(start_paused = true)]
async fn orphaned_attempt_is_uncertain_and_follows_policy() {
    for (policy, outcome, posts) in [("park", "uncertain", 1), ("resend", "succeeded", 2)] {
        let daemon = orphan(&format!(r#", "onUncertain": "{policy}""#)).await;
        daemon.advance(LATER).await;
        assert_eq!((daemon.fakes.posts(), daemon.fakes.events().len()), (posts, 1), "{policy}");
        let event = daemon.fakes.events().remove(0);
        assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!(outcome), &json!(true)), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn orphaned_attempt_past_deadline_follows_policy() {
    for (policy, outcome) in [("park", "uncertain"), ("resend", "expired")] {
        let more = format!(r#", "onUncertain": "{policy}", "expiresAt": "2026-11-22T12:00:00.05Z""#);
        let daemon = orphan(&more).await;
        daemon.advance(SOON).await;
        let event = daemon.fakes.events().remove(0);
        assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!(outcome), &json!(true)), "{policy}");
        assert_eq!(daemon.fakes.posts(), 1, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_command_past_deadline_keeps_its_outcome() {
    let mut daemon = TestDaemon::start();
    let more = r#", "expiresAt": "2026-11-22T12:00:10Z""#;
    daemon.deliver_raw(body(more), |_| {});
    daemon.advance(LATER).await;
    daemon.deliver_raw(body(more), |_| {});
    daemon.advance(SOON).await;
    let outcomes: Vec<_> = daemon.fakes.events().iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, ["succeeded", "succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn second_copy_waits_in_shortest_tier_for_first() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.withhold_answers(true);
    daemon.deliver_raw(body(""), |_| {});
    daemon.deliver_raw(body(""), |delivery| delivery.redelivered = true);
    daemon.advance(Duration::from_secs(7)).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.delayed_tiers()), (1, vec!["5s".to_owned(), "5s".into()]));
    daemon.fakes.withhold_answers(false);
    daemon.advance(LATER).await;
    let repeated: Vec<_> = daemon.fakes.events().iter().map(|event| event["repeated"] == true).collect();
    assert_eq!((daemon.fakes.posts(), repeated), (1, vec![false, true]));
}

#[tokio::test(start_paused = true)]
async fn journal_keeps_uncertain_attempt_of_delayed_command() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([Evidence::NoAnswer(NoAnswer::Timeout), status(503), status(503)]);
    daemon.deliver_raw(body(""), |_| {});
    daemon.advance(Duration::from_secs(3)).await;
    assert_eq!(daemon.fakes.delayed_tiers(), ["5s"]);
    // The ack was lost: the broker redelivers the first copy, whose headers lack the attempt.
    daemon.deliver_raw(body(""), |delivery| delivery.redelivered = true);
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.events()[0]["possibleDuplicate"], true);
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.posts(), 4, "the copy in the tier finds the recorded outcome");
}

#[tokio::test(start_paused = true)]
async fn redelivery_without_record_is_first_if_complete() {
    let mut daemon = TestDaemon::start();
    daemon.deliver_raw(body(""), |delivery| delivery.redelivered = true);
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.events()[0]["possibleDuplicate"], false);
}

/// Commands finished and events repeated, as counted by this daemon.
fn counted(daemon: &TestDaemon) -> (u64, u64) {
    (daemon.counter("courier_commands_finished_total"), daemon.counter("courier_repeats_total"))
}

#[tokio::test(start_paused = true)]
async fn unpublished_outcome_is_published_and_counted_once() {
    for (evidence, letters) in [(vec![], 0), (vec![status(400)], 1)] {
        let mut daemon = TestDaemon::start();
        daemon.fakes.script_evidence(evidence);
        daemon.fakes.fail_publishes(std::iter::repeat_n(PublishError::Refused, 100));
        daemon.deliver_raw(body(""), |_| {});
        daemon.advance(SOON).await;
        assert_eq!(counted(&daemon), (0, 0));
        let mut daemon = daemon.crash_and_restart().await;
        daemon.fakes.clear_failures();
        daemon.advance(LATER).await;
        assert_eq!(counted(&daemon), (1, 0), "the first telling");
        assert_eq!((daemon.fakes.posts(), daemon.fakes.dead_letters().len()), (1, letters));
        daemon.deliver_raw(body(""), |_| {});
        daemon.advance(SOON).await;
        let repeated: Vec<_> = daemon.fakes.events().iter().map(|event| event["repeated"] == true).collect();
        assert_eq!((repeated, counted(&daemon)), (vec![false, true], (1, 1)));
        assert_eq!(daemon.fakes.dead_letters().len(), letters);
    }
}

#[tokio::test(start_paused = true)]
async fn outcome_published_before_crash_is_repeated() {
    let mut daemon = TestDaemon::start();
    daemon.deliver_raw(body(""), |_| {});
    daemon.fakes.lose_session();
    daemon.deliver_raw(body(""), |_| {});
    daemon.advance(SOON).await;
    let daemon = daemon.crash_and_restart().await;
    daemon.advance(LATER).await;
    assert!(daemon.fakes.events().iter().skip(1).all(|event| event["repeated"] == true));
    assert_eq!((daemon.fakes.posts(), counted(&daemon).0), (1, 0), "counted before the crash");
}

/// Redelivers a command whose outcome is being published; returns `repeated` of each event.
async fn redeliver_during_publish(daemon: &mut TestDaemon) -> Vec<bool> {
    daemon.fakes.withhold_confirms(true);
    daemon.deliver_raw(body(""), |_| {});
    daemon.advance(SOON).await;
    daemon.deliver_raw(body(""), |delivery| delivery.redelivered = true);
    daemon.advance(SOON).await;
    daemon.fakes.withhold_confirms(false);
    daemon.advance(LATER).await;
    daemon.fakes.events().iter().map(|event| event["repeated"] == true).collect()
}

#[tokio::test(start_paused = true)]
async fn success_in_progress_is_not_republished_by_redelivery() {
    let mut daemon = TestDaemon::start();
    let repeated = redeliver_during_publish(&mut daemon).await;
    assert_eq!((repeated, counted(&daemon)), (vec![false, true], (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn outcome_published_after_it_was_read_is_repeated() {
    for (evidence, letters) in [(vec![], 0), (vec![status(400)], 1)] {
        let mut daemon = TestDaemon::start();
        daemon.fakes.script_evidence(evidence);
        daemon.fakes.withhold_confirms(true);
        daemon.deliver_raw(body(""), |_| {});
        daemon.advance(SOON).await;
        daemon.fakes.journal_state().read_latency = SOON;
        daemon.deliver_raw(body(""), |delivery| delivery.redelivered = true);
        daemon.advance(SOON / 2).await;
        daemon.fakes.withhold_confirms(false);
        daemon.advance(LATER).await;
        let repeated: Vec<_> = daemon.fakes.events().iter().map(|event| event["repeated"] == true).collect();
        assert_eq!((repeated, counted(&daemon)), (vec![false, true], (1, 1)));
        assert_eq!(daemon.fakes.dead_letters().len(), letters);
    }
}

#[tokio::test(start_paused = true)]
async fn journal_unwritable_blocks_posts_until_it_recovers() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.set_disk_full(Some(daemon.close_gate(GateReason::Journal)));
    daemon.deliver_raw(body(""), |_| {});
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.posts(), daemon.gate_is_open()), (0, false));
    daemon.fakes.set_disk_full(None);
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked()), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn outcome_not_recorded_is_neither_published_nor_acked() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.withhold_answers(true);
    daemon.deliver_raw(body(""), |_| {});
    daemon.advance(SOON).await;
    daemon.fakes.set_disk_full(Some(daemon.close_gate(GateReason::Journal)));
    daemon.fakes.withhold_answers(false);
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.events().len(), daemon.fakes.acked()), (0, vec![]));
    daemon.fakes.set_disk_full(None);
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.events().len(), daemon.fakes.acked()), (1, 1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn command_expired_during_journal_outage_ends_after_it() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.set_disk_full(Some(daemon.close_gate(GateReason::Journal)));
    daemon.deliver_raw(body(r#", "expiresAt": "2026-11-22T12:00:05Z""#), |_| {});
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.events().len(), 0);
    daemon.fakes.set_disk_full(None);
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.events()[0]["failure"]["reason"], Reason::Expired.as_str());
}

#[tokio::test(start_paused = true)]
async fn deadline_during_journal_write_stops_the_post() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.set_latency(Duration::from_secs(4));
    daemon.deliver_raw(body(r#", "expiresAt": "2026-11-22T12:00:05Z""#), |_| {});
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked()), (0, vec![1]));
    let event = daemon.fakes.events().remove(0);
    assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!("expired"), &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn gate_closed_during_journal_write_stops_the_post() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.set_latency(Duration::from_secs(1));
    daemon.deliver_raw(body(""), |_| {});
    daemon.advance(Duration::from_millis(500)).await;
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.journal_writes()), (0, vec!["start_attempt", "finish_attempt"]));
    drop(hold);
    daemon.advance(LATER).await;
    let event = daemon.fakes.events().remove(0);
    assert_eq!(
        (&event["attempts"], &event["possibleDuplicate"]),
        (&json!(1), &json!(false)),
        "the abandoned claim does not count"
    );
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked()), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn probe_stops_when_an_unprobed_reason_closes_the_gate() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(401)]);
    daemon.deliver_raw(body(""), |_| {});
    daemon.advance(SOON).await;
    daemon.fakes.set_latency(Duration::from_secs(1));
    daemon.advance(Duration::from_millis(1_500)).await;
    assert_eq!(daemon.fakes.posts(), 1, "the probe is being recorded");
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.advance(LATER).await;
    assert_eq!(daemon.fakes.posts(), 1);
    drop(hold);
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked(), daemon.gate_is_open()), (2, vec![1], true));
}

#[tokio::test(start_paused = true)]
async fn stored_letter_is_not_republished_for_unstored_event() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(400)]);
    // The event is refused until long after the letter is stored.
    daemon.fakes.set_events_refused(true);
    daemon.deliver_raw(body(""), |_| {});
    // The letter takes its turn behind the event.
    daemon.advance(Duration::from_secs(1)).await;
    assert_eq!(
        (daemon.fakes.dead_letters().len(), daemon.fakes.journal_writes()),
        (1, vec!["start_attempt", "record_outcome", "letter_stored"])
    );
    let daemon = daemon.crash_and_restart().await;
    daemon.fakes.set_events_refused(false);
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.dead_letters().len(), daemon.fakes.events().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn letter_in_progress_is_not_republished_by_redelivery() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(400)]);
    let repeated = redeliver_during_publish(&mut daemon).await;
    assert_eq!((daemon.fakes.dead_letters().len(), repeated), (1, vec![false, true]));
}
