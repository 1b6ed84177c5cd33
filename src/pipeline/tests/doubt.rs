//! Redelivered commands while the journal may lack records: in doubt unless this process knows better.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    fake_ports::{FakePorts, status, success},
    test_daemon::TestDaemon,
};
use crate::{
    domain::{
        command::OnUncertain,
        decode::MissingId,
        evidence::{Evidence, NoAnswer},
    },
    gate::GateReason,
    ports::Delivery,
};

const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(60);
/// After this a command has waited in memory for the maximum time, and its copy is in a tier.
const UNTIL_COPY: Duration = Duration::from_secs(301);

fn body(id: &str) -> Vec<u8> {
    json!({"commandId": id, "text": id, "channelType": "MOBILE", "deviceAddress": "a"}).to_string().into_bytes()
}

/// A daemon with a journal in doubt.
fn in_doubt(policy: OnUncertain) -> TestDaemon {
    let daemon = TestDaemon::start_with(|settings| settings.on_uncertain = policy);
    let mut journal = daemon.fakes.journal_state();
    (journal.incomplete, journal.ignores_unposted) = (true, true);
    drop(journal);
    daemon
}

fn redelivered(delivery: &mut Delivery) {
    delivery.redelivered = true;
}

fn sole(delivery: &mut Delivery) {
    delivery.is_sole_consumer = true;
}

/// Outcome and possible duplicate of each event, by command.
fn outcomes(fakes: &FakePorts) -> Vec<(String, Value, Value)> {
    let outcome = |event: &Value| {
        let id = event["commandId"].as_str().unwrap().to_owned();
        (id, event["outcome"].clone(), event["possibleDuplicate"].clone())
    };
    let mut outcomes: Vec<_> = fakes.events().iter().map(outcome).collect();
    outcomes.sort_by(|one, other| one.0.cmp(&other.0));
    outcomes
}

fn outcome(id: &str, outcome: &str, possible_duplicate: bool) -> (String, Value, Value) {
    (id.to_owned(), json!(outcome), json!(possible_duplicate))
}

#[tokio::test(start_paused = true)]
async fn redelivery_without_record_follows_policy() {
    for (policy, posts, expected) in [(OnUncertain::Park, 0, "uncertain"), (OnUncertain::Resend, 1, "succeeded")] {
        let mut daemon = in_doubt(policy);
        daemon.deliver_raw(body("c"), redelivered);
        daemon.advance(SOON).await;
        assert_eq!((daemon.fakes.posts(), outcomes(&daemon.fakes)), (posts, vec![outcome("c", expected, true)]));
    }
}

#[tokio::test(start_paused = true)]
async fn doubt_of_one_delivery_outlives_the_process() {
    let mut daemon = in_doubt(OnUncertain::Resend);
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.deliver_raw(body("c"), redelivered);
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.journal_writes(), ["record_doubt"], "before it may be attempted");
    daemon.fakes.journal_state().incomplete = false;
    drop(hold);
    let daemon = daemon.crash_and_restart().await;
    daemon.advance(SOON).await;
    assert_eq!(outcomes(&daemon.fakes), [outcome("c", "succeeded", true)]);
}

#[tokio::test(start_paused = true)]
async fn unposted_command_of_lost_session_is_not_in_doubt() {
    let mut daemon = in_doubt(OnUncertain::Park);
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.deliver_raw(body("c"), |_| {});
    for _ in 0..3 {
        daemon.advance(SOON).await;
        daemon.fakes.lose_session();
        daemon.fakes.redeliver();
    }
    daemon.advance(SOON).await;
    drop(hold);
    daemon.advance(SOON).await;
    assert_eq!(outcomes(&daemon.fakes), [outcome("c", "succeeded", false)]);
    assert_eq!(daemon.fakes.posts(), 1);
}

#[tokio::test(start_paused = true)]
async fn claimed_but_unposted_command_is_not_in_doubt() {
    let mut daemon = in_doubt(OnUncertain::Park);
    daemon.fakes.set_latency(Duration::from_secs(1));
    daemon.deliver_raw(body("c"), |_| {});
    daemon.advance(Duration::from_millis(500)).await;
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.advance(LATER).await;
    daemon.fakes.lose_session();
    daemon.fakes.redeliver();
    drop(hold);
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.posts(), outcomes(&daemon.fakes)), (1, vec![outcome("c", "succeeded", false)]));
}

#[tokio::test(start_paused = true)]
async fn unposted_command_beside_other_daemons_is_in_doubt() {
    let mut daemon = in_doubt(OnUncertain::Park);
    daemon.fakes.journal_state().is_shared = true;
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.deliver_raw(body("c"), |_| {});
    daemon.advance(SOON).await;
    daemon.fakes.lose_session();
    daemon.fakes.redeliver();
    drop(hold);
    daemon.advance(SOON).await;
    assert_eq!(outcomes(&daemon.fakes), [outcome("c", "uncertain", true)], "another daemon may have posted it");
}

#[tokio::test(start_paused = true)]
async fn doubt_ends_with_first_delivery_to_sole_consumer() {
    let mut daemon = in_doubt(OnUncertain::Park);
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.deliver_raw(body("former"), redelivered);
    daemon.deliver_raw(body("first"), |_| {});
    daemon.advance(SOON).await;
    assert!(daemon.fakes.journal_state().incomplete, "another consumer may hold deliveries of before");
    daemon.deliver_raw(body("sole"), sole);
    daemon.advance(SOON).await;
    assert!(!daemon.fakes.journal_state().incomplete);
    // Returned by the broker when a subscription ended, before this process saw it.
    daemon.deliver_raw(body("unseen"), redelivered);
    drop(hold);
    daemon.advance(SOON).await;
    let expected = [
        outcome("first", "succeeded", false),
        outcome("former", "uncertain", true),
        outcome("sole", "succeeded", false),
        outcome("unseen", "succeeded", false),
    ];
    assert_eq!(outcomes(&daemon.fakes), expected);
}

#[tokio::test(start_paused = true)]
async fn redelivery_to_sole_consumer_does_not_end_doubt() {
    let mut daemon = in_doubt(OnUncertain::Resend);
    for id in ["a", "b"] {
        daemon.deliver_raw(body(id), |delivery| (delivery.redelivered, delivery.is_sole_consumer) = (true, true));
    }
    daemon.advance(SOON).await;
    assert!(daemon.fakes.journal_state().incomplete, "more of them may follow");
    assert_eq!(outcomes(&daemon.fakes), [outcome("a", "succeeded", true), outcome("b", "succeeded", true)]);
}

#[tokio::test(start_paused = true)]
async fn doubt_lasts_until_every_redelivery_is_on_record() {
    let mut daemon = in_doubt(OnUncertain::Resend);
    daemon.fakes.set_disk_full(Some(daemon.close_gate(GateReason::Journal)));
    daemon.deliver_raw(body("former"), redelivered);
    daemon.deliver_raw(body("sole"), sole);
    daemon.advance(LATER).await;
    assert!(daemon.fakes.journal_state().incomplete, "the doubt about one is not on record");
    daemon.fakes.set_disk_full(None);
    daemon.advance(LATER).await;
    assert!(!daemon.fakes.journal_state().incomplete);
    assert_eq!(outcomes(&daemon.fakes), [outcome("former", "succeeded", true), outcome("sole", "succeeded", false)]);
}

#[tokio::test(start_paused = true)]
async fn redelivered_command_with_generated_id_is_in_doubt() {
    for (policy, posts, expected) in [(OnUncertain::Park, 0, "uncertain"), (OnUncertain::Resend, 1, "succeeded")] {
        let mut daemon = TestDaemon::start_with(|settings| {
            settings.on_uncertain = policy;
            settings.limits.missing_id = MissingId::Generate;
        });
        let body = br#"{"text": "t", "channelType": "MOBILE", "deviceAddress": "a"}"#;
        daemon.deliver_raw(body.to_vec(), redelivered);
        daemon.advance(SOON).await;
        let event = daemon.fakes.events().remove(0);
        assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!(expected), &json!(true)));
        daemon.deliver_raw(body.to_vec(), |_| {});
        daemon.advance(SOON).await;
        let event = daemon.fakes.events().remove(1);
        assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!("succeeded"), &json!(false)));
        assert_eq!(daemon.fakes.posts(), posts + 1, "the journal is complete, but has no record of a generated id");
    }
}

#[tokio::test(start_paused = true)]
async fn redelivered_command_stays_in_doubt_in_a_tier() {
    let without_id = br#"{"text": "t", "channelType": "MOBILE", "deviceAddress": "a"}"#.to_vec();
    for (body, is_shared) in [(body("c"), true), (without_id, false)] {
        let mut daemon = TestDaemon::start_with(|settings| {
            settings.on_uncertain = OnUncertain::Park;
            settings.limits.missing_id = MissingId::Generate;
        });
        daemon.fakes.journal_state().is_shared = is_shared;
        let hold = daemon.close_gate(GateReason::Operator);
        daemon.deliver_raw(body, redelivered);
        daemon.advance(UNTIL_COPY).await;
        assert_eq!(daemon.fakes.delayed_tiers(), ["5s"]);
        drop(hold);
        daemon.advance(LATER).await;
        let event = daemon.fakes.events().remove(0);
        assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!("uncertain"), &json!(true)));
        assert_eq!(daemon.fakes.posts(), 0, "is_shared: {is_shared}");
    }
}

#[tokio::test(start_paused = true)]
async fn copy_of_unposted_command_is_not_in_doubt() {
    for returns in [1, 10] {
        let mut daemon = in_doubt(OnUncertain::Park);
        let hold = daemon.close_gate(GateReason::Operator);
        daemon.deliver_raw(body("c"), |_| {});
        daemon.advance(SOON).await;
        daemon.fakes.lose_session();
        daemon.deliver_raw(body("c"), |delivery| (delivery.redelivered, delivery.returns) = (true, returns));
        daemon.advance(UNTIL_COPY).await;
        assert!(!daemon.fakes.delayed_tiers().is_empty());
        drop(hold);
        daemon.advance(LATER).await;
        assert_eq!(outcomes(&daemon.fakes), [outcome("c", "succeeded", false)], "returned {returns} times");
    }
}

#[tokio::test(start_paused = true)]
async fn copy_of_unposted_command_is_on_record_for_a_successor() {
    let mut daemon = in_doubt(OnUncertain::Park);
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.deliver_raw(body("c"), |_| {});
    daemon.advance(SOON).await;
    daemon.fakes.lose_session();
    daemon.fakes.redeliver();
    daemon.advance(SOON).await;
    daemon.fakes.journal_state().ignores_unposted = false;
    daemon.advance(UNTIL_COPY).await;
    assert_eq!((daemon.fakes.delayed_tiers(), daemon.fakes.acked()), (vec!["5s".to_owned()], vec![1]));
    drop(hold);
    let daemon = daemon.crash_and_restart().await;
    daemon.advance(LATER).await;
    assert_eq!(outcomes(&daemon.fakes), [outcome("c", "succeeded", false)]);
}

#[tokio::test(start_paused = true)]
async fn lost_session_is_on_record_while_the_gate_is_closed() {
    let mut daemon = in_doubt(OnUncertain::Park);
    daemon.fakes.set_shared_journal();
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.deliver_raw(body("c"), |_| {});
    daemon.advance(SOON).await;
    daemon.fakes.lose_session();
    daemon.advance(Duration::from_secs(1)).await;
    assert_eq!(daemon.fakes.journal_writes(), ["unposted"], "before another daemon receives it");
    daemon.fakes.redeliver();
    drop(hold);
    daemon.advance(SOON).await;
    assert_eq!(outcomes(&daemon.fakes), [outcome("c", "succeeded", false)]);
}

#[tokio::test(start_paused = true)]
async fn requeued_command_keeps_its_attempts_without_record() {
    let mut daemon = in_doubt(OnUncertain::Resend);
    daemon.fakes.set_shared_journal();
    daemon.fakes.script_evidence([Evidence::NoAnswer(NoAnswer::Timeout)]);
    daemon.deliver_raw(body("c"), |_| {});
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.posts(), 1);
    daemon.fakes.lose_records();
    daemon.fakes.lose_session();
    daemon.advance(Duration::from_secs(1)).await;
    daemon.fakes.redeliver();
    daemon.advance(SOON).await;
    assert_eq!(outcomes(&daemon.fakes), [outcome("c", "succeeded", true)]);
    assert_eq!((daemon.fakes.posts(), &daemon.fakes.events()[0]["attempts"]), (2, &json!(2)));
}

/// A command in a tier, beside its attempt in progress in a lost session.
async fn copy_beside_attempt(policy: OnUncertain, evidence: Evidence) -> TestDaemon {
    let mut daemon = TestDaemon::start_with(|settings| settings.on_uncertain = policy);
    daemon.fakes.script_evidence([evidence]);
    daemon.fakes.withhold_answers(true);
    daemon.deliver_raw(body("c"), |_| {});
    daemon.advance(SOON).await;
    daemon.fakes.lose_session();
    daemon.fakes.redeliver();
    daemon.advance(SOON).await;
    assert_eq!((daemon.fakes.delayed_tiers(), daemon.fakes.acked()), (vec!["5s".to_owned()], vec![1]));
    daemon
}

#[tokio::test(start_paused = true)]
async fn copy_beside_attempt_is_uncertain_without_its_record() {
    for (policy, posts, expected) in [(OnUncertain::Park, 1, "uncertain"), (OnUncertain::Resend, 2, "succeeded")] {
        let daemon = copy_beside_attempt(policy, success()).await;
        daemon.fakes.lose_records();
        let daemon = daemon.crash_and_restart_with(|settings| settings.on_uncertain = policy).await;
        daemon.fakes.withhold_answers(false);
        daemon.advance(LATER).await;
        assert_eq!((daemon.fakes.posts(), outcomes(&daemon.fakes)), (posts, vec![outcome("c", expected, true)]));
    }
}

#[tokio::test(start_paused = true)]
async fn copy_beside_attempt_follows_its_record() {
    let timeout = || Evidence::NoAnswer(NoAnswer::Timeout);
    for (evidence, lost_writes, possible_duplicate) in
        [(status(503), false, false), (timeout(), false, true), (status(503), true, true)]
    {
        let daemon = copy_beside_attempt(OnUncertain::Resend, evidence).await;
        // A new store is in doubt, but has all records since.
        daemon.fakes.set_shared_journal();
        daemon.fakes.journal_state().lost_writes = lost_writes;
        daemon.fakes.withhold_answers(false);
        daemon.advance(LATER).await;
        assert_eq!(outcomes(&daemon.fakes), [outcome("c", "succeeded", possible_duplicate)]);
        assert_eq!((daemon.fakes.posts(), &daemon.fakes.events()[0]["attempts"]), (2, &json!(2)));
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_hold_over_lost_sessions() {
    let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 3);
    daemon.fakes.script_evidence(std::iter::repeat_n(status(503), 20));
    daemon.deliver_raw(body("c"), |_| {});
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.posts(), 1);
    daemon.fakes.lose_session();
    daemon.fakes.redeliver();
    daemon.advance(LATER).await;
    let event = daemon.fakes.events().remove(0);
    assert_eq!((daemon.fakes.posts(), &event["attempts"]), (3, &json!(3)), "the headers have none of them");
    assert_eq!(event["failure"]["reason"], "exhausted");
}

#[tokio::test(start_paused = true)]
async fn attempts_hold_over_crashes() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(503), status(503)]);
    daemon.deliver_raw(body("c"), |_| {});
    daemon.advance(Duration::from_millis(500)).await;
    assert_eq!(daemon.fakes.posts(), 2);
    let daemon = daemon.crash_and_restart().await;
    daemon.advance(LATER).await;
    assert_eq!((daemon.fakes.posts(), &daemon.fakes.events()[0]["attempts"]), (3, &json!(3)));
    assert_eq!(outcomes(&daemon.fakes), [outcome("c", "succeeded", false)]);
}
