//! Outages of the API close the gate and cost no command.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::{
    fake_ports::{status, throttled},
    test_daemon::TestDaemon,
};
use crate::{
    domain::{evidence::Evidence, rate::Rates},
    gate::GateReason,
    pipeline::Drained,
};

const SOON: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn unauthorized_closes_gate_and_probes_with_one_command() {
    let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 1);
    daemon.fakes.script_evidence(std::iter::repeat_n(status(401), 12));
    daemon.fakes.withhold_answers(true);
    for _ in 0..4 {
        daemon.deliver("hello", json!({}));
    }
    daemon.advance(SOON).await;
    daemon.fakes.withhold_answers(false);
    daemon.advance(SOON).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Auth));
    assert_eq!(daemon.fakes.posts(), 4, "all were in flight at the first answer");
    daemon.advance(MINUTE).await;
    assert!((5..=12).contains(&daemon.fakes.posts()), "one probe at a time: {}", daemon.fakes.posts());
    assert_eq!(daemon.fakes.acked(), Vec::<u64>::new());
    daemon.advance(2 * MINUTE).await;
    assert!(daemon.gate_is_open());
    assert_eq!(daemon.fakes.acked().len(), 4);
    for event in daemon.fakes.events() {
        assert_eq!((&event["outcome"], &event["attempts"]), (&json!("succeeded"), &json!(1)), "401 is not counted");
    }
}

#[tokio::test(start_paused = true)]
async fn changed_credential_is_probed_at_once() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(std::iter::repeat_n(status(401), 6));
    daemon.deliver("hello", json!({}));
    // Probes after 1, 2, 4, 8 and 10 s: the next would come at 35 s.
    daemon.advance(Duration::from_secs(26)).await;
    assert_eq!((daemon.fakes.posts(), daemon.gate_is_open()), (6, false));
    daemon.fakes.change_credential();
    daemon.advance(SOON).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked(), daemon.gate_is_open()), (7, vec![1], true));
}

#[tokio::test(start_paused = true)]
async fn throttle_waits_for_retry_after_uncounted() {
    let mut daemon = TestDaemon::start_with(|settings| settings.max_attempts = 1);
    daemon.fakes.script_evidence([throttled(30)]);
    daemon.deliver("first", json!({}));
    daemon.advance(SOON).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Throttle));
    daemon.deliver("second", json!({}));
    daemon.advance(Duration::from_secs(29)).await;
    assert_eq!(daemon.fakes.posts(), 1, "the whole target waits");
    daemon.advance(Duration::from_secs(2)).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked().len()), (3, 2));
    assert!(daemon.fakes.events().iter().all(|event| event["attempts"] == 1));
}

#[tokio::test(start_paused = true)]
async fn long_retry_after_is_clamped() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([throttled(86_400)]);
    daemon.deliver("hello", json!({}));
    daemon.advance(Duration::from_secs(301)).await;
    assert_eq!(daemon.fakes.acked(), [1]);
}

#[tokio::test(start_paused = true)]
async fn concurrent_outages_share_one_probe() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(401), throttled(2)]);
    daemon.fakes.withhold_answers(true);
    daemon.deliver("unauthorized", json!({}));
    daemon.deliver("throttled", json!({}));
    daemon.advance(SOON).await;
    daemon.fakes.withhold_answers(false);
    daemon.advance(SOON).await;
    assert_eq!(daemon.gate.state().reasons().collect::<Vec<_>>(), [GateReason::Auth, GateReason::Throttle]);
    daemon.advance(Duration::from_millis(1_850)).await;
    assert_eq!(daemon.fakes.posts(), 2, "the later of both waits counts");
    daemon.advance(SOON).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked().len(), daemon.gate_is_open()), (4, 2, true));
}

#[tokio::test(start_paused = true)]
async fn outage_ends_only_by_an_answer_about_the_command() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(401), status(503), status(429), status(500), status(422)]);
    daemon.deliver("hello", json!({}));
    for _ in 0..4 {
        daemon.advance(Duration::from_millis(900)).await;
        assert!(daemon.gate.state().is_closed_by(GateReason::Auth), "after {} posts", daemon.fakes.posts());
    }
    daemon.advance(MINUTE).await;
    assert!(daemon.gate_is_open());
    assert_eq!(daemon.fakes.events()[0]["failure"]["reason"], "rejected");
}

#[tokio::test(start_paused = true)]
async fn throttled_and_refused_probes_take_back_no_attempt() {
    for probe in [throttled(1), status(401)] {
        let mut daemon = TestDaemon::start();
        daemon.fakes.script_evidence([status(503), probe.clone(), probe.clone(), probe]);
        daemon.deliver("hello", json!({}));
        daemon.advance(MINUTE).await;
        assert_eq!(daemon.fakes.events()[0]["attempts"], 2, "the 503 and the success");
    }
}

#[tokio::test(start_paused = true)]
async fn outage_outlives_the_commands_that_detected_it() {
    for (outage, deadline) in [(throttled(300), "2026-11-22T12:01:00Z"), (status(401), "2026-11-22T12:00:00.9Z")] {
        let mut daemon = TestDaemon::start();
        daemon.fakes.script_evidence(std::iter::repeat_n(outage, 200));
        for _ in 0..50 {
            daemon.deliver("hello", json!({"expiresAt": deadline}));
        }
        daemon.advance(MINUTE).await;
        assert!(daemon.fakes.posts() <= 4, "{} posts", daemon.fakes.posts());
        assert!(!daemon.gate_is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn outage_without_command_requests_a_probe() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(401)]);
    daemon.deliver("expires soon", json!({"expiresAt": "2026-11-22T12:00:00.5Z"}));
    daemon.advance(MINUTE).await;
    assert_eq!(daemon.fakes.acked(), [1]);
    assert!(daemon.gate.state().probe_requested());
    daemon.deliver("hello", json!({}));
    daemon.advance(SOON).await;
    assert!(daemon.gate_is_open());
    assert_eq!(daemon.fakes.acked(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn outage_with_unconfirmed_commands_requests_a_probe() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence([status(401)]);
    daemon.fakes.withhold_confirms(true);
    daemon.deliver("expires soon", json!({"expiresAt": "2026-11-22T12:00:00.5Z"}));
    daemon.advance(MINUTE).await;
    assert_eq!((daemon.gate_is_open(), daemon.fakes.acked()), (false, vec![]), "its event is not confirmed");
    assert!(daemon.gate.state().probe_requested());
    daemon.deliver("hello", json!({}));
    daemon.advance(SOON).await;
    assert!(daemon.gate_is_open());
}

#[tokio::test(start_paused = true)]
async fn outage_with_rate_limited_command_requests_no_probe() {
    let mut daemon = TestDaemon::start_with(|settings| {
        let rates = Rates { target: Some(0.01), ..Rates::default() };
        settings.rates = watch::Sender::new(rates).subscribe();
    });
    daemon.fakes.script_evidence([status(401)]);
    daemon.deliver("hello", json!({}));
    daemon.advance(SOON).await;
    daemon.deliver("another device", json!({"deviceAddress": "89000000001"}));
    daemon.advance(MINUTE).await;
    assert_eq!((daemon.gate_is_open(), daemon.fakes.posts()), (false, 1));
    assert!(!daemon.gate.state().probe_requested(), "the second command will probe next");
}

#[tokio::test(start_paused = true)]
async fn breaker_api_down_keeps_the_backlog() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(std::iter::repeat_n(status(503), 24));
    for _ in 0..40 {
        daemon.deliver("hello", json!({}));
    }
    daemon.advance(Duration::from_secs(5)).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Breaker), "from a cold start");
    assert!(daemon.fakes.posts() <= 18, "{} posts", daemon.fakes.posts());
    daemon.advance(30 * MINUTE).await;
    assert!(daemon.gate_is_open());
    assert_eq!(daemon.fakes.acked().len(), 40 + daemon.fakes.delayed_tiers().len());
    assert_eq!(daemon.fakes.dead_letters(), [], "the outage cost no command");
}

#[tokio::test(start_paused = true)]
async fn brake_all_rejected_keeps_the_backlog() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(std::iter::repeat_n(status(404), 30));
    for _ in 0..100 {
        daemon.deliver("hello", json!({}));
    }
    daemon.advance(5 * SOON).await;
    assert!(daemon.gate.state().is_closed_by(GateReason::Brake));
    let dead = daemon.fakes.dead_letters().len();
    assert!((19..=22).contains(&dead), "{dead} dead letters: the last twenty at most, and those in flight");
    daemon.advance(10 * MINUTE).await;
    assert!(daemon.gate_is_open());
    assert_eq!(daemon.fakes.acked().len(), 100);
    assert_eq!(daemon.fakes.dead_letters().len(), dead);
    assert!(
        daemon.fakes.events().iter().all(|event| event["attempts"] == 1),
        "rejections under the brake do not count"
    );
}

#[tokio::test(start_paused = true)]
async fn drain_stops_probes_of_every_outage() {
    for outage in [status(401), throttled(60), status(503), status(404)] {
        let mut daemon = TestDaemon::start();
        daemon.fakes.script_evidence(std::iter::repeat_n(outage, 1_000));
        for _ in 0..40 {
            daemon.deliver("hello", json!({}));
        }
        daemon.advance(Duration::from_secs(30)).await;
        assert!(!daemon.gate_is_open());
        let (fakes, posts) = (daemon.fakes.clone(), daemon.fakes.posts());
        assert_eq!(daemon.drain().await, Drained::Complete);
        assert_eq!(fakes.posts(), posts);
    }
}

#[tokio::test(start_paused = true)]
async fn gate_closed_by_another_component_stops_attempts() {
    let mut daemon = TestDaemon::start();
    let hold = daemon.close_gate(GateReason::Blocked);
    daemon.deliver("hello", json!({}));
    daemon.advance(MINUTE).await;
    assert_eq!(daemon.fakes.posts(), 0);
    drop(hold);
    daemon.advance(SOON).await;
    assert_eq!(daemon.fakes.posts(), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_session_command_is_not_posted() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(Vec::<Evidence>::new());
    let hold = daemon.close_gate(GateReason::Blocked);
    daemon.deliver("hello", json!({}));
    daemon.advance(SOON).await;
    daemon.fakes.lose_session();
    drop(hold);
    daemon.advance(SOON).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked()), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn gate_closed_while_waiting_for_slot_stops_attempt() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.withhold_answers(true);
    for _ in 0..6 {
        daemon.deliver("hello", json!({}));
    }
    daemon.advance(SOON).await;
    let hold = daemon.close_gate(GateReason::Blocked);
    daemon.fakes.withhold_answers(false);
    daemon.advance(MINUTE).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked().len()), (4, 4), "attempts in flight finish, none starts");
    drop(hold);
    daemon.advance(SOON).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked().len()), (6, 6));
}

#[tokio::test(start_paused = true)]
async fn gate_closes_before_the_slot_is_freed() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(std::iter::repeat_n(status(401), 100));
    for _ in 0..50 {
        daemon.deliver("hello", json!({}));
    }
    daemon.advance(SOON).await;
    assert!(daemon.fakes.posts() <= 4, "{} posts: at most one for each slot", daemon.fakes.posts());
}
