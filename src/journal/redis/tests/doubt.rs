//! The store is new, emptied or replaced.

use std::time::Duration;

use redis::cmd;

use super::{
    fixture::{RETENTION, TestOwner, fast_timings, prefix, shared_redis, short_lease_timings, wait_until},
    server::Redis,
};
use crate::{
    domain::journal::Record,
    journal::{redis::settings::RedisTimings, tests::contract::key},
    ports::Journal,
};

const NEW_OR_EMPTIED: &str = "Redis held nothing of an earlier use";

impl TestOwner {
    /// Ends the period of doubt, as its expiry does, and waits until this owner knows.
    async fn end_doubt(&self) {
        let state = &self.journal.state;
        let mut ready = state.lease.connection().expect("available");
        let _: () = ready.connection.query(cmd("DEL").arg(state.key("doubt"))).await.expect("available");
        drop(state.lease.report_store_changed());
        wait_until("the journal is complete", async || self.journal.is_complete()).await;
    }
}

/// With rounds of 200 ms and an hour of doubt.
fn timings() -> RedisTimings {
    RedisTimings { doubt: RedisTimings::default().doubt, ..short_lease_timings() }
}

#[tokio::test]
async fn emptied_redis_is_in_doubt_at_the_next_start() {
    let redis = Redis::start();
    let prefix = prefix();
    // Rounds of 5 s: the owners learn of it from their starts.
    let one = TestOwner::start(&redis.url(), &prefix, fast_timings()).await;
    let other = TestOwner::start(&redis.url(), &prefix, fast_timings()).await;
    one.end_doubt().await;
    other.end_doubt().await;
    redis.cli(&["flushall"]);
    for owner in [&one, &other] {
        let send = key(&owner.journal.state.owner);
        assert!(owner.journal.start_attempt(&send).await.is_err(), "the store must be checked first");
        let granted = async || owner.journal.start_attempt(&send).await == Ok(Record::Unknown);
        wait_until("the store is checked", granted).await;
        assert!(!owner.journal.is_complete());
        assert!(owner.events().iter().any(|event| event.contains(NEW_OR_EMPTIED)), "{:?}", owner.events());
    }
}

#[tokio::test]
async fn emptied_redis_is_in_doubt_within_a_round() {
    let redis = Redis::start();
    let owner = TestOwner::start(&redis.url(), &prefix(), timings()).await;
    owner.end_doubt().await;
    let before = owner.events().len();
    redis.cli(&["flushall"]);
    let has_reported =
        |owner: &TestOwner| owner.events().iter().skip(before).any(|event| event.contains(NEW_OR_EMPTIED));
    wait_until("the doubt is reported", async || has_reported(&owner)).await;
    assert!(!owner.journal.is_complete());
    assert_ne!(redis.cli(&["exists", &owner.journal.state.owner_key(owner.journal.state.owner.as_bytes())]), "0");
}

#[tokio::test]
async fn doubt_outlasts_its_owners() {
    let prefix = prefix();
    let url = shared_redis().url();
    let first = TestOwner::start(&url, &prefix, fast_timings()).await;
    first.wait_for_event(NEW_OR_EMPTIED).await;
    first.journal.close().await;
    let second = TestOwner::start(&url, &prefix, fast_timings()).await;
    second.wait_for_event(NEW_OR_EMPTIED).await;
    assert!(!second.journal.is_complete());
    second.end_doubt().await;
    let third = TestOwner::start(&url, &prefix, fast_timings()).await;
    assert!(third.journal.is_complete(), "known as soon as it is connected");
}

#[tokio::test]
async fn records_of_another_server_may_not_be_the_newest() {
    let prefix = prefix();
    let url = shared_redis().url();
    let owner = TestOwner::start(&url, &prefix, fast_timings()).await;
    assert!(!owner.journal.is_complete() && owner.journal.has_newest_records(), "the store is new");
    owner.end_doubt().await;
    assert!(owner.journal.has_newest_records());
    shared_redis().cli(&["set", &owner.journal.state.mark_key(), "another server"]);
    let owner = TestOwner::start(&url, &prefix, fast_timings()).await;
    assert!(!owner.journal.is_complete() && !owner.journal.has_newest_records());
}

#[tokio::test]
async fn redis_restarted_without_its_data_is_in_doubt() {
    let mut redis = Redis::start_with(&["--save", "", "--appendonly", "no"]);
    let owner = TestOwner::start(&redis.url(), &prefix(), timings()).await;
    owner.end_doubt().await;
    redis.stop();
    redis.start_again();
    wait_until("the doubt", async || {
        let started = owner.journal.start_attempt(&key("a")).await;
        assert!(started != Ok(Record::Unknown) || !owner.journal.is_complete(), "a start without doubt");
        started == Ok(Record::Unknown)
    })
    .await;
    assert_eq!(owner.events().iter().filter(|event| event.contains(NEW_OR_EMPTIED)).count(), 2, "{:?}", owner.events());
}

#[tokio::test]
async fn doubt_lasts_as_long_as_records() {
    for (retention, hours) in [(RETENTION, 72), (Duration::from_mins(1), 1)] {
        let timings = RedisTimings { doubt: RedisTimings::for_retention(retention).doubt, ..fast_timings() };
        let owner = TestOwner::start(&shared_redis().url(), &prefix(), timings).await;
        let left = shared_redis().cli(&["pttl", &owner.journal.state.key("doubt")]);
        let left = Duration::from_millis(left.parse().expect("ms"));
        let full = Duration::from_hours(hours);
        assert!(left <= full && left > full - Duration::from_mins(5), "{left:?} for {retention:?}");
    }
}
