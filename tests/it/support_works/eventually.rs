use std::time::Duration;

use crate::support::eventually::{eventually, poll};

#[tokio::test(start_paused = true)]
async fn returns_the_first_value_that_is_as_wanted() {
    let mut turns = 0;
    let next = async || {
        turns += 1;
        turns
    };
    assert_eq!(poll(Duration::from_secs(1), next, |turn| *turn >= 3).await, Ok(3));
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "waited 1s for a miracle; last seen: 6 * 7 = 42")]
async fn tells_what_it_saw_last() {
    eventually!(Duration::from_secs(1), 6 * 7, |value| *value == 43, "a miracle");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "waited 1s for an answer")]
async fn a_look_that_never_ends_does_not_outlast_the_deadline() {
    eventually!(Duration::from_secs(1), std::future::pending::<bool>().await, "an answer");
}
