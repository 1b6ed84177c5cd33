//! Trouble that is not one command's own.

use std::time::Duration;

use serde_json::json;

use super::world::{Daemon, status, too_many};
use crate::{domain::evidence::Evidence, gate::GateReason};

const SOON: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn an_unauthorized_answer_closes_the_gate_keeps_the_commands_and_probes_with_one() {
    let mut daemon = Daemon::start_with(|rules| rules.max_attempts = 1);
    daemon.world.script(std::iter::repeat_n(status(401), 12));
    daemon.world.withhold_answers(true);
    for _ in 0..4 {
        daemon.deliver("hello", json!({}));
    }
    daemon.pass(SOON).await;
    daemon.world.withhold_answers(false);
    daemon.pass(SOON).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Auth));
    assert_eq!(daemon.world.posts(), 4, "all were under way when the first answer came");
    daemon.pass(MINUTE).await;
    assert!((5..=12).contains(&daemon.world.posts()), "one probe at a time: {}", daemon.world.posts());
    assert_eq!(daemon.world.acked(), Vec::<u64>::new());
    daemon.pass(2 * MINUTE).await;
    assert!(daemon.is_open());
    assert_eq!(daemon.world.acked().len(), 4);
    for event in daemon.world.events() {
        assert_eq!((&event["outcome"], &event["attempts"]), (&json!("succeeded"), &json!(1)), "401 is not counted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_target_waits_as_long_as_it_asks_and_nothing_is_counted() {
    let mut daemon = Daemon::start_with(|rules| rules.max_attempts = 1);
    daemon.world.script([too_many(30)]);
    daemon.deliver("first", json!({}));
    daemon.pass(SOON).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Throttle));
    daemon.deliver("second", json!({}));
    daemon.pass(Duration::from_secs(29)).await;
    assert_eq!(daemon.world.posts(), 1, "the whole target waits");
    daemon.pass(Duration::from_secs(2)).await;
    assert_eq!((daemon.world.posts(), daemon.world.acked().len()), (3, 2));
    assert!(daemon.world.events().iter().all(|event| event["attempts"] == 1));
}

#[tokio::test(start_paused = true)]
async fn an_absurd_retry_after_is_not_believed() {
    let mut daemon = Daemon::start();
    daemon.world.script([too_many(86_400)]);
    daemon.deliver("hello", json!({}));
    daemon.pass(Duration::from_secs(301)).await;
    assert_eq!(daemon.world.acked(), [1]);
}

#[tokio::test(start_paused = true)]
async fn the_probe_opens_the_gate_when_its_trouble_turns_into_another() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(401), too_many(2), status(400)]);
    daemon.deliver("hello", json!({}));
    daemon.pass(Duration::from_millis(1_500)).await;
    assert_eq!(daemon.gate.state().reasons().collect::<Vec<_>>(), [GateReason::Throttle]);
    daemon.pass(MINUTE).await;
    assert!(daemon.is_open());
    assert_eq!(daemon.world.events()[0]["failure"]["reason"], "rejected");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_starts_while_somebody_else_holds_the_gate() {
    let mut daemon = Daemon::start();
    let hold = daemon.gate.close(GateReason::Blocked);
    daemon.deliver("hello", json!({}));
    daemon.pass(MINUTE).await;
    assert_eq!(daemon.world.posts(), 0);
    drop(hold);
    daemon.pass(SOON).await;
    assert_eq!(daemon.world.posts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_command_of_a_lost_session_is_not_posted_as_the_broker_hands_it_out_again() {
    let mut daemon = Daemon::start();
    daemon.world.script(Vec::<Evidence>::new());
    let hold = daemon.gate.close(GateReason::Blocked);
    daemon.deliver("hello", json!({}));
    daemon.pass(SOON).await;
    daemon.world.lose_session();
    drop(hold);
    daemon.pass(SOON).await;
    assert_eq!((daemon.world.posts(), daemon.world.acked()), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_while_a_command_waits_for_a_slot_holds_it_too() {
    let mut daemon = Daemon::start();
    daemon.world.withhold_answers(true);
    for _ in 0..6 {
        daemon.deliver("hello", json!({}));
    }
    daemon.pass(SOON).await;
    let hold = daemon.gate.close(GateReason::Blocked);
    daemon.world.withhold_answers(false);
    daemon.pass(MINUTE).await;
    assert_eq!((daemon.world.posts(), daemon.world.acked().len()), (4, 4), "what was under way ends, nothing starts");
    drop(hold);
    daemon.pass(SOON).await;
    assert_eq!((daemon.world.posts(), daemon.world.acked().len()), (6, 6));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_closes_the_gate_does_so_before_its_slot_is_free() {
    let mut daemon = Daemon::start();
    daemon.world.script(std::iter::repeat_n(status(401), 100));
    for _ in 0..50 {
        daemon.deliver("hello", json!({}));
    }
    daemon.pass(SOON).await;
    assert!(daemon.world.posts() <= 4, "{} posts: one for each slot at the most", daemon.world.posts());
}
