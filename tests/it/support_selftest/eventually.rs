//! Polling: the returned value, the panic message, the deadline.

use std::time::Duration;

use crate::support::eventually::{eventually, poll};

#[tokio::test(start_paused = true)]
async fn poll_returns_first_accepted_value() {
    let mut polls = 0;
    let next = async || {
        polls += 1;
        polls
    };
    assert_eq!(poll(Duration::from_secs(1), next, |polls| *polls >= 3).await, Ok(3));
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "waited 1s for a miracle; last seen: 6 * 7 = 42")]
async fn eventually_timeout_shows_last_value() {
    eventually!(Duration::from_secs(1), 6 * 7, |value| *value == 43, "a miracle");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "waited 1s for an answer")]
async fn eventually_pending_value_times_out() {
    eventually!(Duration::from_secs(1), std::future::pending::<bool>().await, "an answer");
}
