//! Trouble that is not one command's own.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::{
    daemon::Daemon,
    world::{status, too_many},
};
use crate::{
    domain::{evidence::Evidence, rate::Rates},
    gate::GateReason,
    pipeline::Drained,
};

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
async fn a_credential_that_was_replaced_is_tried_at_once() {
    let mut daemon = Daemon::start();
    daemon.world.script(std::iter::repeat_n(status(401), 6));
    daemon.deliver("hello", json!({}));
    // Probes after 1, 2, 4, 8 and 10 s: the next would come at 35 s.
    daemon.pass(Duration::from_secs(26)).await;
    assert_eq!((daemon.world.posts(), daemon.is_open()), (6, false));
    daemon.world.renew();
    daemon.pass(SOON).await;
    assert_eq!((daemon.world.posts(), daemon.world.acked(), daemon.is_open()), (7, vec![1], true));
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
async fn two_troubles_at_once_share_one_probe_and_end_together() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(401), too_many(2)]);
    daemon.world.withhold_answers(true);
    daemon.deliver("meets the one", json!({}));
    daemon.deliver("meets the other", json!({}));
    daemon.pass(SOON).await;
    daemon.world.withhold_answers(false);
    daemon.pass(SOON).await;
    assert_eq!(daemon.gate.state().reasons().collect::<Vec<_>>(), [GateReason::Auth, GateReason::Throttle]);
    daemon.pass(Duration::from_millis(1_850)).await;
    assert_eq!(daemon.world.posts(), 2, "the later of both waits counts");
    daemon.pass(SOON).await;
    assert_eq!((daemon.world.posts(), daemon.world.acked().len(), daemon.is_open()), (4, 2, true));
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_about_the_command_ends_a_trouble() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(401), status(503), status(429), status(500), status(422)]);
    daemon.deliver("hello", json!({}));
    for _ in 0..4 {
        daemon.pass(Duration::from_millis(900)).await;
        assert!(daemon.gate.state().is_closed_by(GateReason::Auth), "after {} posts", daemon.world.posts());
    }
    daemon.pass(MINUTE).await;
    assert!(daemon.is_open());
    assert_eq!(daemon.world.events()[0]["failure"]["reason"], "rejected");
}

#[tokio::test(start_paused = true)]
async fn a_trouble_outlives_the_commands_that_met_it() {
    for (trouble, deadline) in [(too_many(300), "2026-11-22T12:01:00Z"), (status(401), "2026-11-22T12:00:00.9Z")] {
        let mut daemon = Daemon::start();
        daemon.world.script(std::iter::repeat_n(trouble, 200));
        for _ in 0..50 {
            daemon.deliver("hello", json!({"expiresAt": deadline}));
        }
        daemon.pass(MINUTE).await;
        assert!(daemon.world.posts() <= 4, "{} posts", daemon.world.posts());
        assert!(!daemon.is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn a_trouble_without_a_command_asks_for_one() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(401)]);
    daemon.deliver("expires soon", json!({"expiresAt": "2026-11-22T12:00:00.5Z"}));
    daemon.pass(SOON).await;
    assert!(!daemon.gate.state().probe_requested(), "there is one in hand");
    daemon.pass(MINUTE).await;
    assert_eq!(daemon.world.acked(), [1]);
    assert!(daemon.gate.state().probe_requested());
    daemon.deliver("hello", json!({}));
    daemon.pass(SOON).await;
    assert!(daemon.is_open());
    assert_eq!(daemon.world.acked(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_trouble_asks_for_a_command_also_when_those_in_hand_wait_for_something_else() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(401)]);
    daemon.world.withhold_confirms(true);
    daemon.deliver("expires soon", json!({"expiresAt": "2026-11-22T12:00:00.5Z"}));
    daemon.pass(MINUTE).await;
    assert_eq!((daemon.is_open(), daemon.world.acked()), (false, vec![]), "its event is not confirmed");
    assert!(daemon.gate.state().probe_requested());
    daemon.deliver("hello", json!({}));
    daemon.pass(SOON).await;
    assert!(daemon.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_trouble_asks_for_no_command_that_would_only_wait_for_a_rate() {
    let mut daemon = Daemon::start_with(|rules| {
        let rates = Rates { target: Some(0.01), ..Rates::default() };
        rules.rates = watch::Sender::new(rates).subscribe();
    });
    daemon.world.script([status(401)]);
    daemon.deliver("hello", json!({}));
    daemon.pass(MINUTE).await;
    assert_eq!((daemon.is_open(), daemon.world.posts()), (false, 1));
    assert!(!daemon.gate.state().probe_requested(), "there is one in hand that is the next");
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_down_trips_the_breaker_and_keeps_the_backlog() {
    let mut daemon = Daemon::start();
    daemon.world.script(std::iter::repeat_n(status(503), 24));
    for _ in 0..40 {
        daemon.deliver("hello", json!({}));
    }
    daemon.pass(Duration::from_secs(5)).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Breaker), "from a cold start");
    assert!(daemon.world.posts() <= 18, "{} posts", daemon.world.posts());
    daemon.pass(10 * MINUTE).await;
    assert!(daemon.is_open());
    assert_eq!(daemon.world.acked().len(), 40);
    assert_eq!(daemon.world.dead_letters(), [], "nothing of the backlog was lost to the outage");
}

#[tokio::test(start_paused = true)]
async fn an_api_that_rejects_everything_pulls_the_brake_and_keeps_the_backlog() {
    let mut daemon = Daemon::start();
    daemon.world.script(std::iter::repeat_n(status(404), 30));
    for _ in 0..100 {
        daemon.deliver("hello", json!({}));
    }
    daemon.pass(MINUTE).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Brake));
    let dead = daemon.world.dead_letters().len();
    assert!((19..=22).contains(&dead), "{dead} dead letters: the last twenty at most, and what was under way");
    daemon.pass(10 * MINUTE).await;
    assert!(daemon.is_open());
    assert_eq!(daemon.world.acked().len(), 100);
    assert_eq!(daemon.world.dead_letters().len(), dead);
    assert!(
        daemon.world.events().iter().all(|event| event["attempts"] == 1),
        "rejections under the brake do not count"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_wins_over_every_probe() {
    for trouble in [status(401), too_many(60), status(503), status(404)] {
        let mut daemon = Daemon::start();
        daemon.world.script(std::iter::repeat_n(trouble, 1_000));
        for _ in 0..40 {
            daemon.deliver("hello", json!({}));
        }
        daemon.pass(Duration::from_secs(30)).await;
        assert!(!daemon.is_open());
        let (world, posts) = (daemon.world.clone(), daemon.world.posts());
        assert_eq!(daemon.drain().await, Drained::Complete);
        assert_eq!(world.posts(), posts);
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_starts_while_somebody_else_holds_the_gate() {
    let mut daemon = Daemon::start();
    let hold = daemon.close(GateReason::Blocked);
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
    let hold = daemon.close(GateReason::Blocked);
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
    let hold = daemon.close(GateReason::Blocked);
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
