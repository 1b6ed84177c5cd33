//! What is in hand at shutdown finishes or goes back; nothing is half done.

use std::time::Duration;

use serde_json::json;

use super::{daemon::Daemon, world::status};
use crate::pipeline::Drained;

const SOON: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn what_is_under_way_finishes_and_what_waits_goes_back() {
    let mut daemon = Daemon::start();
    daemon.world.script([status(503)]);
    daemon.deliver("waits for its second attempt", json!({}));
    daemon.pass(SOON).await;
    daemon.world.withhold_answers(true);
    for _ in 0..6 {
        daemon.deliver("hello", json!({}));
    }
    daemon.pass(SOON).await;
    let world = daemon.world.clone();
    daemon.begin_drain();
    daemon.pass(SOON).await;
    world.withhold_answers(false);
    assert_eq!(daemon.drain().await, Drained::Complete);
    assert_eq!(world.posts(), 5, "four were under way, two waited for a slot");
    let mut acked = world.acked();
    acked.sort_unstable();
    assert_eq!(acked, [2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_still_told_during_the_drain() {
    let mut daemon = Daemon::start();
    daemon.world.withhold_confirms(true);
    daemon.deliver("hello", json!({}));
    daemon.pass(SOON).await;
    let world = daemon.world.clone();
    daemon.begin_drain();
    daemon.pass(Duration::from_secs(10)).await;
    world.withhold_confirms(false);
    assert_eq!(daemon.drain().await, Drained::Complete);
    assert_eq!((world.events().len(), world.acked()), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn out_of_time_tells_how_many_were_left() {
    let mut daemon = Daemon::start();
    daemon.world.withhold_answers(true);
    daemon.deliver("one", json!({}));
    daemon.deliver("two", json!({}));
    daemon.pass(SOON).await;
    let world = daemon.world.clone();
    assert_eq!(daemon.drain().await, Drained::OutOfTime(2));
    assert_eq!(world.acked(), Vec::<u64>::new());
}
