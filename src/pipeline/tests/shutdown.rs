//! A shutdown settles or requeues every delivery in hand.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    fake_ports::{FakePorts, status},
    test_daemon::TestDaemon,
};
use crate::{gate::GateReason, pipeline::Drained, ports::PublishError};

const SOON: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn drain_finishes_attempts_and_requeues_waiting_commands() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(503)]);
    daemon.deliver("waits for its second attempt", json!({}));
    daemon.advance(SOON).await;
    daemon.fakes.withhold_answers(true);
    for _ in 0..6 {
        daemon.deliver("hello", json!({}));
    }
    daemon.advance(SOON).await;
    let fakes = daemon.fakes.clone();
    daemon.begin_drain();
    daemon.advance(SOON).await;
    fakes.withhold_answers(false);
    assert_eq!(daemon.drain().await, Drained::Complete);
    assert_eq!(fakes.posts(), 5, "four were in flight, two waited for a slot");
    let mut acked = fakes.acked();
    acked.sort_unstable();
    assert_eq!(acked, [2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn drain_still_publishes_outcomes() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.withhold_confirms(true);
    daemon.deliver("hello", json!({}));
    daemon.advance(SOON).await;
    let fakes = daemon.fakes.clone();
    daemon.begin_drain();
    daemon.advance(Duration::from_secs(10)).await;
    fakes.withhold_confirms(false);
    assert_eq!(daemon.drain().await, Drained::Complete);
    assert_eq!((fakes.events().len(), fakes.acked()), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn drained_commands_are_not_in_doubt() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.journal_state().incomplete = true;
    daemon.fakes.withhold_answers(true);
    for _ in 0..6 {
        daemon.deliver("hello", json!({"onUncertain": "park"}));
    }
    daemon.advance(SOON).await;
    let fakes = daemon.fakes.clone();
    daemon.begin_drain();
    daemon.advance(SOON).await;
    daemon.deliver("arrives before the subscription ends", json!({"onUncertain": "park"}));
    daemon.advance(SOON).await;
    daemon.set_consuming(false);
    fakes.withhold_answers(false);
    assert_eq!(daemon.drain().await, Drained::Complete);
    assert_eq!(fakes.posts(), 4);
    let successor = TestDaemon::start_on_fakes(fakes);
    successor.fakes.redeliver();
    successor.advance(SOON).await;
    let events = successor.fakes.events();
    assert_eq!((events.len(), successor.fakes.posts()), (7, 7));
    let is_certain = |event: &Value| event["outcome"] == "succeeded" && event["possibleDuplicate"] == false;
    assert!(events.iter().all(is_certain), "{events:?}");
}

/// Starts another daemon, to which the broker delivers the command again.
async fn expect_success_without_doubt(fakes: FakePorts) {
    let successor = TestDaemon::start_on_fakes(fakes);
    successor.fakes.redeliver();
    successor.advance(SOON).await;
    let event = successor.fakes.events().remove(0);
    assert_eq!((&event["outcome"], &event["possibleDuplicate"]), (&json!("succeeded"), &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn unposted_command_with_refused_copy_is_not_in_doubt() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.set_shared_journal();
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.fakes.fail_publishes(std::iter::repeat_n(PublishError::Refused, 1_000));
    daemon.deliver("hello", json!({"onUncertain": "park"}));
    daemon.advance(Duration::from_secs(310)).await;
    let fakes = daemon.fakes.clone();
    assert_eq!(daemon.drain().await, Drained::Complete);
    assert_eq!((fakes.acked(), fakes.delayed_tiers()), (vec![], vec![]));
    drop(hold);
    fakes.clear_failures();
    expect_success_without_doubt(fakes).await;
}

#[tokio::test(start_paused = true)]
async fn drained_command_redelivered_in_process_is_not_in_doubt() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.journal_state().incomplete = true;
    let hold = daemon.close_gate(GateReason::Operator);
    daemon.deliver("hello", json!({"onUncertain": "park"}));
    daemon.advance(SOON).await;
    daemon.fakes.journal_state().ignores_unposted = true;
    daemon.fakes.lose_session();
    daemon.fakes.redeliver();
    daemon.advance(SOON).await;
    daemon.fakes.journal_state().ignores_unposted = false;
    let fakes = daemon.fakes.clone();
    assert_eq!(daemon.drain().await, Drained::Complete);
    drop(hold);
    expect_success_without_doubt(fakes).await;
}

#[tokio::test(start_paused = true)]
async fn drained_redeliveries_stay_in_doubt() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.journal_state().incomplete = true;
    let hold = daemon.close_gate(GateReason::Operator);
    let body = r#"{"commandId": "c", "text": "t", "channelType": "MOBILE", "deviceAddress": "a"}"#;
    daemon.deliver_raw(body.into(), |delivery| delivery.redelivered = true);
    daemon.advance(SOON).await;
    let fakes = daemon.fakes.clone();
    assert_eq!(daemon.drain().await, Drained::Complete);
    drop(hold);
    let successor = TestDaemon::start_on_fakes(fakes);
    successor.fakes.redeliver();
    successor.advance(SOON).await;
    assert_eq!(successor.fakes.events()[0]["possibleDuplicate"], true);
}

#[tokio::test(start_paused = true)]
async fn drain_out_of_time_returns_remaining_count() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.withhold_answers(true);
    daemon.deliver("one", json!({}));
    daemon.deliver("two", json!({}));
    daemon.advance(SOON).await;
    let fakes = daemon.fakes.clone();
    assert_eq!(daemon.drain().await, Drained::OutOfTime(2));
    assert_eq!(fakes.acked(), Vec::<u64>::new());
}
