//! Redis is killed, paused and restarted, and replies are lost.

use futures_util::FutureExt;

use super::{
    fixture::{TestOwner, fast_timings, prefix, redis_url, shared_redis, short_lease_timings, wait_until},
    server::Redis,
};
use crate::{
    domain::journal::Record,
    journal::{
        redis::script::{START_ATTEMPT, WITHDRAW_START},
        tests::contract::{CERTAIN, ORPHANED, WAITING, key, outcome},
    },
    ports::Journal,
};

#[tokio::test]
async fn restarted_redis_is_reconnected_and_incomplete() {
    let mut redis = Redis::start();
    let owner = TestOwner::start(&redis.url(), &prefix(), short_lease_timings()).await;
    let journal = &owner.journal;
    assert!(!journal.is_complete(), "a new journal has no earlier records");
    wait_until("the period of doubt ends", async || journal.is_complete()).await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(journal.record_outcome(&key("b"), outcome("{}")).await, Ok(()));
    redis.stop();
    assert!(journal.record_outcome(&key("a"), outcome("{}")).await.is_err());
    assert!(!journal.is_complete());
    owner.wait_for_event("cannot be reached").await;
    redis.start_again();
    owner.wait_for_event("available").await;
    assert!(!journal.is_complete(), "Redis may have lost its last writes");
    assert_eq!(journal.record_outcome(&key("a"), outcome("{}")).await, Ok(()), "scripts are sent again");
    assert_eq!(journal.lookup(&key("b")).await, Ok(Record::Finished(outcome("{}"))));
    wait_until("the period of doubt ends", async || journal.is_complete()).await;
    let events = owner.events();
    assert_eq!(events.iter().filter(|event| *event == "available").count(), 1, "{events:?}");
}

#[tokio::test]
async fn redis_started_later_is_connected() {
    let mut redis = Redis::start();
    redis.stop();
    let owner = TestOwner::spawn(redis_url(&redis.url()), &prefix(), short_lease_timings());
    owner.wait_for_event("cannot be reached").await;
    let error = owner.journal.start_attempt(&key("a")).await.expect_err("unavailable").to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    redis.start_again();
    owner.wait_for_event("available").await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn start_executed_after_a_pause_is_withdrawn() {
    let redis = Redis::start();
    let prefix = prefix();
    let owner = TestOwner::start(&redis.url(), &prefix, fast_timings()).await;
    let other = TestOwner::start(&redis.url(), &prefix, fast_timings()).await;
    assert_eq!(owner.journal.start_attempt(&key("waiting")).await, Ok(Record::Unknown));
    assert_eq!(owner.journal.finish_attempt(&key("waiting"), CERTAIN).await, Ok(()));
    redis.pause();
    let (a, waiting) = (key("a"), key("waiting"));
    let (one, two) = tokio::join!(owner.journal.start_attempt(&a), owner.journal.start_attempt(&waiting));
    let error = one.expect_err("no answer").to_string();
    assert!(error.contains("did not answer within 1s"), "{error}");
    assert!(two.is_err());
    redis.resume();
    // The owner is alive but has no attempt in progress, so any owner may start one.
    wait_until("the start is withdrawn", async || other.journal.lookup(&key("a")).await == Ok(Record::Unknown)).await;
    wait_until("the start is withdrawn", async || other.journal.lookup(&key("waiting")).await == Ok(WAITING)).await;
    owner.wait_until_connected().await;
    assert_eq!(other.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
}

#[tokio::test]
async fn start_repeated_after_a_pause_is_granted() {
    let redis = Redis::start();
    let owner = TestOwner::start(&redis.url(), &prefix(), fast_timings()).await;
    redis.cli(&["client", "pause", "3000", "write"]);
    assert!(owner.journal.start_attempt(&key("a")).await.is_err());
    wait_until("an answer", async || owner.journal.start_attempt(&key("a")).await == Ok(Record::Unknown)).await;
    assert_eq!(owner.journal.lookup(&key("a")).await, Ok(Record::InProgress));
    wait_until("no start is left to withdraw", async || owner.journal.state.attempts.take_unconfirmed().is_empty())
        .await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
}

#[tokio::test]
async fn start_of_cancelled_caller_is_withdrawn() {
    let prefix = prefix();
    let owner = TestOwner::start(&shared_redis().url(), &prefix, short_lease_timings()).await;
    let other = TestOwner::start(&shared_redis().url(), &prefix, fast_timings()).await;
    let a = key("a");
    assert!(
        owner.journal.start_attempt(&a).now_or_never().is_none(),
        "the first poll sends the call; the reply takes longer"
    );
    wait_until("the start is executed", async || {
        let found = other.journal.lookup(&a).await;
        assert!(matches!(found, Ok(Record::InProgress | Record::Unknown)), "{found:?}");
        found == Ok(Record::Unknown) && owner.journal.state.attempts.start_number(&a).is_none()
    })
    .await;
    wait_until("the start is withdrawn", async || other.journal.start_attempt(&a).await == Ok(Record::Unknown)).await;
}

#[tokio::test]
async fn takeover_without_reply_leaves_the_send_orphaned() {
    let redis = Redis::start();
    let prefix = prefix();
    let crashed = TestOwner::start(&redis.url(), &prefix, fast_timings()).await;
    assert_eq!(crashed.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    crashed.kill_and_expire().await;
    let owner = TestOwner::start(&redis.url(), &prefix, fast_timings()).await;
    let state = &owner.journal.state;
    let mut ready = state.lease.connection().expect("available");
    // The takeover is executed, its reply is lost, and it is withdrawn.
    let claim = state.attempts.claim(&key("a")).expect("no attempt in progress");
    state.start_attempt(&mut ready, &key("a"), claim.number()).await.expect("available");
    drop(claim);
    redis.cli(&["client", "kill", "type", "normal"]);
    let other = TestOwner::start(&redis.url(), &prefix, fast_timings()).await;
    wait_until("the start is withdrawn", async || other.journal.lookup(&key("a")).await == Ok(ORPHANED)).await;
    assert_eq!(other.journal.start_attempt(&key("a")).await, Ok(ORPHANED));
}

#[tokio::test]
async fn start_executed_after_its_withdrawal_is_rejected() {
    let prefix = prefix();
    let owner = TestOwner::start(&shared_redis().url(), &prefix, fast_timings()).await;
    let state = &owner.journal.state;
    let mut ready = state.lease.connection().expect("available");
    for before in [Record::Unknown, WAITING] {
        let send = key(&format!("{before:?}"));
        if before == WAITING {
            assert_eq!(owner.journal.start_attempt(&send).await, Ok(Record::Unknown));
            assert_eq!(owner.journal.finish_attempt(&send, CERTAIN).await, Ok(()));
        }
        let record = state.record_key(&send);
        let me = state.owner.as_bytes();
        for _ in 0..2 {
            WITHDRAW_START.run(&mut ready.connection, &[&record], &[me, b"70", b"60000"]).await.expect("available");
        }
        let late = START_ATTEMPT
            .run(&mut ready.connection, &[&record], &[me, b"70", b"60000", b"", b""])
            .await
            .expect("available");
        assert_eq!(late, [b"X"]);
        assert_eq!(owner.journal.lookup(&send).await, Ok(before.clone()));
        let newer = START_ATTEMPT
            .run(&mut ready.connection, &[&record], &[me, b"71", b"60000", b"", b""])
            .await
            .expect("available");
        assert_ne!(newer, [b"X"]);
        let again = START_ATTEMPT
            .run(&mut ready.connection, &[&record], &[me, b"71", b"60000", b"", b""])
            .await
            .expect("available");
        assert_eq!(newer, again, "the same call twice, as after a retry by the client library");
    }
}
