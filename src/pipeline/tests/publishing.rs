//! Publishes that the broker does not accept.

use std::time::Duration;

use serde_json::json;

use super::{fake_ports::status, test_daemon::TestDaemon};
use crate::{gate::GateReason, pipeline::Drained, ports::PublishError};

const SOON: Duration = Duration::from_millis(100);
const HALF_A_MINUTE: Duration = Duration::from_secs(30);
const COMMANDS: usize = 40;
/// After 0.2, 0.4, … 6.4 and 10 s.
const PROBES_IN_HALF_A_MINUTE: usize = 7;

/// A daemon with this many commands, each posted once, whose events the broker refuses.
async fn with_refused_events() -> TestDaemon {
    let mut daemon = TestDaemon::start();
    daemon.fakes.withhold_confirms(true);
    for _ in 0..COMMANDS {
        daemon.deliver("hello", json!({}));
    }
    daemon.advance(SOON).await;
    daemon.fakes.set_events_refused(true);
    daemon.fakes.withhold_confirms(false);
    daemon.advance(SOON).await;
    assert_eq!((daemon.fakes.posts(), daemon.fakes.state().publishes), (COMMANDS, COMMANDS));
    assert!(daemon.gate.state().is_closed_by(GateReason::Blocked));
    daemon
}

#[tokio::test(start_paused = true)]
async fn refused_publishes_probe_one_at_a_time() {
    let daemon = with_refused_events().await;
    daemon.advance(HALF_A_MINUTE).await;
    assert_eq!(daemon.fakes.state().publishes, COMMANDS + PROBES_IN_HALF_A_MINUTE);
    daemon.fakes.set_events_refused(false);
    daemon.advance(Duration::from_secs(16)).await;
    assert!(daemon.gate_is_open(), "the first probe that is confirmed lets all others go");
    assert_eq!(daemon.fakes.state().publishes, 2 * COMMANDS + PROBES_IN_HALF_A_MINUTE);
    assert_eq!((daemon.fakes.posts(), daemon.fakes.acked().len()), (COMMANDS, COMMANDS));
}

#[tokio::test(start_paused = true)]
async fn refused_publishes_name_exchange_and_command() {
    let daemon = with_refused_events().await;
    let problems = daemon.gate_problems();
    let cause = "to exchange \"event\" failed: the broker refused the message: a bound queue is full or unavailable";
    assert!(problems[0].starts_with("the publish for command \"c-") && problems[0].ends_with(cause), "{problems:?}");
    daemon.advance(HALF_A_MINUTE).await;
    assert_eq!(daemon.gate_problems(), problems, "reported once, not with each probe");
    assert_eq!(daemon.blocked_publishes(), COMMANDS);
}

#[tokio::test(start_paused = true)]
async fn room_for_one_message_lets_one_publish_go() {
    let daemon = with_refused_events().await;
    daemon.advance(HALF_A_MINUTE).await;
    let before = daemon.fakes.state().publishes;
    daemon.fakes.state().room_for_events = Some(1);
    daemon.advance(Duration::from_secs(16)).await;
    assert_eq!(daemon.fakes.acked().len(), 1);
    let probes = daemon.fakes.state().publishes - before;
    assert!((2..=1 + PROBES_IN_HALF_A_MINUTE).contains(&probes), "{probes} publishes");
}

#[tokio::test(start_paused = true)]
async fn accepted_letters_do_not_wait_for_refused_events() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.script_evidence(std::iter::repeat_n(status(400), 4));
    daemon.fakes.set_events_refused(true);
    for _ in 0..4 {
        daemon.deliver("hello", json!({}));
    }
    daemon.advance(HALF_A_MINUTE).await;
    assert_eq!((daemon.fakes.dead_letters().len(), daemon.fakes.acked().len()), (daemon.fakes.posts(), 0));
}

#[tokio::test(start_paused = true)]
async fn drain_ends_probes_of_refused_publishes() {
    let daemon = with_refused_events().await;
    let (fakes, started) = (daemon.fakes.clone(), tokio::time::Instant::now());
    assert_eq!(daemon.drain().await, Drained::Complete);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!((fakes.acked(), fakes.state().publishes), (vec![], COMMANDS), "the broker redelivers them");
}

#[tokio::test(start_paused = true)]
async fn drain_repeats_unconfirmed_publishes() {
    let mut daemon = TestDaemon::start();
    daemon.fakes.fail_publishes([PublishError::Unconfirmed; 4]);
    daemon.deliver("hello", json!({}));
    daemon.advance(SOON).await;
    let fakes = daemon.fakes.clone();
    assert_eq!(daemon.drain().await, Drained::Complete);
    assert_eq!((fakes.events().len(), fakes.acked()), (1, vec![1]));
}
