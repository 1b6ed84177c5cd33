//! A shutdown settles or requeues every delivery in hand.

use std::time::Duration;

use serde_json::json;

use super::{fake_ports::status, test_daemon::TestDaemon};
use crate::pipeline::Drained;

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
