use tokio::time::advance;

use super::*;

const HEARTBEAT: Duration = Duration::from_secs(10);

const fn counts(ready: u32, consumers: u32) -> QueueCounts {
    QueueCounts { ready, consumers }
}

fn count(consumers: u32) -> ConsumerCount {
    ConsumerCount { requested_at: Instant::now(), counts: counts(0, consumers) }
}

/// A subscription that was opened beside `before` consumers, and then counted.
fn opened(previous: &OwnConsumer, before: u32, after: u32) -> OwnConsumer {
    let mut own = previous.renewed(Some(counts(0, before)), None);
    own.observe(count(after), Some(0), None);
    own
}

fn first_opened(before: u32, after: u32) -> OwnConsumer {
    opened(&OwnConsumer::none(), before, after)
}

fn started() -> OtherConsumers {
    let mut others = OtherConsumers::default();
    others.start_session(HEARTBEAT);
    others
}

/// The others reported by counts of `consumers` every 10 s, for the given time.
async fn others_within(others: &mut OtherConsumers, own: &OwnConsumer, consumers: u32, time: Duration) -> Vec<u32> {
    let mut reported = Vec::new();
    for _ in 0..time.as_secs() / 10 {
        reported.push(others.update(count(consumers), own));
        advance(HEARTBEAT).await;
    }
    reported
}

#[tokio::test(start_paused = true)]
async fn consumer_of_lost_session_is_not_of_another_daemon() {
    let (mut others, own) = (started(), first_opened(0, 1));
    others.end_session();
    others.start_session(HEARTBEAT);
    assert_eq!(others_within(&mut others, &own, 2, LOST_CONSUMER_LIFETIME).await, [0; 9]);
    assert_eq!(others_within(&mut others, &own, 1, LOST_CONSUMER_LIFETIME).await, [0; 9]);
}

#[tokio::test(start_paused = true)]
async fn consumer_of_killed_daemon_is_not_of_another_daemon() {
    let (mut others, own) = (started(), first_opened(1, 2));
    assert_eq!(others_within(&mut others, &own, 2, 3 * HEARTBEAT).await, [0; 3]);
    assert_eq!(others_within(&mut others, &own, 1, HEARTBEAT).await, [0]);
    assert_eq!(others_within(&mut others, &own, 2, 3 * HEARTBEAT).await, [0; 3], "another one, counted anew");
}

#[tokio::test(start_paused = true)]
async fn lost_session_hides_no_other_daemon() {
    let (mut others, own) = (started(), first_opened(1, 2));
    assert_eq!(others_within(&mut others, &own, 2, 5 * HEARTBEAT).await, [0, 0, 0, 0, 1]);
    // The lost consumer is still counted, then no longer.
    others.end_session();
    others.start_session(HEARTBEAT);
    assert_eq!(others_within(&mut others, &own, 3, 2 * HEARTBEAT).await, [1, 1]);
    assert_eq!(others_within(&mut others, &own, 2, 5 * HEARTBEAT).await, [1; 5]);
    assert_eq!(others_within(&mut others, &own, 1, HEARTBEAT).await, [0], "it is gone");
}

#[tokio::test(start_paused = true)]
async fn lost_consumer_that_the_broker_forgot_hides_nobody() {
    let (mut others, own) = (started(), first_opened(0, 1));
    others.end_session();
    others.start_session(HEARTBEAT);
    assert_eq!(others_within(&mut others, &own, 1, HEARTBEAT).await, [0]);
    assert_eq!(others_within(&mut others, &own, 2, 5 * HEARTBEAT).await, [0, 0, 0, 0, 1], "a daemon that came later");
}

/// On a queue with a single active consumer, only the active one is counted.
#[tokio::test(start_paused = true)]
async fn standby_reports_the_active_daemon_after_a_renewal() {
    let (mut others, own) = (started(), first_opened(1, 1));
    assert!(own.is_waiting() && !own.is_sole());
    assert_eq!(others_within(&mut others, &own, 1, 3 * HEARTBEAT).await, [0; 3]);
    assert!(!others.needs_renewal(Instant::now(), &own));
    assert_eq!(others_within(&mut others, &own, 1, 2 * HEARTBEAT).await, [0; 2]);
    assert!(others.needs_renewal(Instant::now(), &own));
    let mut own = opened(&own, 1, 1);
    assert_eq!(others.update(count(1), &own), 1);
    assert!(!others.needs_renewal(Instant::now(), &own) && !others.would_hand_over(&own));
    // The active daemon is gone.
    assert!(own.record_delivery(Instant::now()));
    assert_eq!(others.take_over(), 0);
    assert_eq!(others_within(&mut others, &own, 1, 5 * HEARTBEAT).await, [0; 5]);
    assert!(others.would_hand_over(&own));
}

#[tokio::test(start_paused = true)]
async fn killed_active_consumer_is_not_of_another_daemon() {
    let (mut others, own) = (started(), first_opened(1, 1));
    assert_eq!(others_within(&mut others, &own, 1, 5 * HEARTBEAT).await, [0; 5]);
    assert!(others.needs_renewal(Instant::now(), &own));
    let own = opened(&own, 0, 1);
    assert_eq!(others_within(&mut others, &own, 1, 5 * HEARTBEAT).await, [0; 5]);
    assert!(!others.needs_renewal(Instant::now(), &own));
}

#[tokio::test(start_paused = true)]
async fn handed_over_queue_proves_another_daemon_at_once() {
    let (mut others, own) = (started(), first_opened(0, 1));
    assert_eq!(others_within(&mut others, &own, 1, 4 * HEARTBEAT).await, [0; 4]);
    let own = opened(&own, 1, 1);
    assert_eq!(others.update(count(1), &own), 1);
}

#[tokio::test(start_paused = true)]
async fn sole_consumer_needs_a_proof() {
    assert!(OwnConsumer::none().renewed(Some(counts(5, 0)), Some(0)).is_sole(), "no consumer, and messages");
    assert!(!OwnConsumer::none().renewed(Some(counts(0, 0)), Some(0)).is_sole(), "the broker may not have counted");
    assert!(!OwnConsumer::none().renewed(None, Some(0)).is_sole());
    assert!(OwnConsumer::none().renewed(Some(counts(0, 2)), Some(2)).is_sole(), "both were cancelled here");
    assert!(!OwnConsumer::none().renewed(Some(counts(0, 2)), None).is_sole(), "some may be settled");
    let mut own = first_opened(0, 1);
    assert!(!own.is_sole(), "the one may be of another daemon");
    let before_delivery = count(1);
    advance(HEARTBEAT).await;
    own.record_delivery(Instant::now());
    own.observe(before_delivery, Some(0), None);
    assert!(!own.is_sole());
    own.observe(count(1), Some(0), None);
    assert!(own.is_sole());
    own.observe(count(2), Some(0), None);
    assert!(!own.is_sole(), "another daemon");
    own.observe(count(1), Some(0), None);
    assert!(own.is_sole() && !own.renewed(Some(counts(0, 1)), Some(0)).is_sole(), "a standby may have taken over");
}

#[tokio::test(start_paused = true)]
async fn first_consumer_of_an_empty_queue_is_the_sole_one() {
    for (after, is_sole) in
        [(Some(counts(0, 1)), true), (Some(counts(0, 2)), false), (Some(counts(0, 0)), false), (None, false)]
    {
        let mut own = OwnConsumer::none().renewed(Some(counts(0, 0)), Some(0));
        own.record_counts_after_zeros(after);
        assert_eq!(own.is_sole(), is_sole, "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn acks_in_flight_leave_the_standing_unknown() {
    let mut own = OwnConsumer::none().renewed(Some(counts(0, 1)), None);
    own.observe(count(1), Some(0), Some(Instant::now()));
    assert!(!own.is_waiting() && started().needs_renewal(Instant::now(), &own));
    advance(2 * ACK_PROCESSING_TIME).await;
    let mut own = OwnConsumer::none().renewed(Some(counts(0, 1)), None);
    own.observe(count(1), Some(0), Some(Instant::now() - 2 * ACK_PROCESSING_TIME));
    assert!(own.is_waiting());
}
