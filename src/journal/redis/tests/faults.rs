//! A Redis that is killed, paused, restarted, and calls whose answers are lost.

use futures_util::FutureExt;

use super::{Owner, Redis, prefix, quick, restless, shared_redis, until};
use crate::{
    domain::journal::Record,
    journal::{
        redis::script::{START, WITHDRAW},
        tests::contract::{WAITING, ended, key},
    },
    ports::Journal,
};

#[tokio::test]
async fn killed_and_restarted_it_is_found_again_with_all_that_it_knew() {
    let mut redis = Redis::start();
    let owner = Owner::start(&redis.url(), &prefix(), restless()).await;
    let journal = &owner.journal;
    assert!(!journal.is_complete(), "a new journal knows nothing of what was before");
    until("the end of the doubt", async || journal.is_complete()).await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(journal.record_outcome(&key("b"), ended("{}")).await, Ok(()));
    redis.stop();
    assert!(journal.record_outcome(&key("a"), ended("{}")).await.is_err());
    assert!(!journal.is_complete());
    owner.is_told("cannot be reached").await;
    redis.start_again();
    owner.is_told("available").await;
    assert!(!journal.is_complete(), "its last writes may be lost");
    assert_eq!(journal.record_outcome(&key("a"), ended("{}")).await, Ok(()), "scripts are sent again");
    assert_eq!(journal.lookup(&key("b")).await, Ok(Record::Finished(ended("{}"))));
    until("the end of the doubt", async || journal.is_complete()).await;
    let told = owner.told();
    assert_eq!(told.iter().filter(|line| *line == "available").count(), 1, "{told:?}");
}

#[tokio::test]
async fn it_waits_for_a_redis_that_comes_later() {
    let mut redis = Redis::start();
    redis.stop();
    let owner = Owner::spawn(super::parse(&redis.url()).expect("a URL"), &prefix(), restless());
    owner.is_told("cannot be reached").await;
    let told = owner.journal.start_attempt(&key("a")).await.expect_err("unavailable").to_string();
    assert!(told.contains("cannot be reached"), "{told}");
    redis.start_again();
    owner.is_told("available").await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn a_start_that_redis_carries_out_after_a_pause_is_withdrawn() {
    let redis = Redis::start();
    let prefix = prefix();
    let owner = Owner::start(&redis.url(), &prefix, quick()).await;
    let other = Owner::start(&redis.url(), &prefix, quick()).await;
    assert_eq!(owner.journal.start_attempt(&key("waiting")).await, Ok(Record::Unknown));
    assert_eq!(owner.journal.finish_attempt(&key("waiting"), false).await, Ok(()));
    redis.pause();
    let (a, waiting) = (key("a"), key("waiting"));
    let (one, two) = tokio::join!(owner.journal.start_attempt(&a), owner.journal.start_attempt(&waiting));
    let told = one.expect_err("no answer").to_string();
    assert!(told.contains("did not answer within 1s"), "{told}");
    assert!(two.is_err());
    redis.resume();
    // It lives and is not at it, so whoever gets the command may start it.
    until("the withdrawal", async || other.journal.lookup(&key("a")).await == Ok(Record::Unknown)).await;
    until("the withdrawal", async || other.journal.lookup(&key("waiting")).await == Ok(WAITING)).await;
    owner.ready().await;
    assert_eq!(other.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
}

#[tokio::test]
async fn a_start_that_is_asked_for_again_after_a_pause_is_granted_and_stays() {
    let redis = Redis::start();
    let owner = Owner::start(&redis.url(), &prefix(), quick()).await;
    redis.cli(&["client", "pause", "3000", "write"]);
    assert!(owner.journal.start_attempt(&key("a")).await.is_err());
    until("an answer", async || owner.journal.start_attempt(&key("a")).await == Ok(Record::Unknown)).await;
    assert_eq!(owner.journal.lookup(&key("a")).await, Ok(Record::InProgress));
    until("a withdrawal that is over", async || owner.journal.shared.held.take_doubtful().is_empty()).await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
}

#[tokio::test]
async fn a_start_that_nobody_waited_for_is_withdrawn() {
    let prefix = prefix();
    let owner = Owner::start(&shared_redis().url(), &prefix, restless()).await;
    let other = Owner::start(&shared_redis().url(), &prefix, quick()).await;
    let a = key("a");
    assert!(owner.journal.start_attempt(&a).now_or_never().is_none(), "one poll sends, and an answer takes longer");
    until("the start", async || {
        let looked = other.journal.lookup(&a).await;
        assert!(matches!(looked, Ok(Record::InProgress | Record::Unknown)), "{looked:?}");
        looked == Ok(Record::Unknown) && owner.journal.shared.held.number(&a).is_none()
    })
    .await;
    until("the withdrawal", async || other.journal.start_attempt(&a).await == Ok(Record::Unknown)).await;
}

#[tokio::test]
async fn an_orphan_whose_take_over_got_no_answer_is_still_an_orphan() {
    let redis = Redis::start();
    let prefix = prefix();
    let dead = Owner::start(&redis.url(), &prefix, quick()).await;
    assert_eq!(dead.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    dead.die().await;
    let owner = Owner::start(&redis.url(), &prefix, quick()).await;
    let shared = &owner.journal.shared;
    let mut ready = shared.link.ready().expect("available");
    // The take-over is carried out, its answer is lost, and it is withdrawn.
    let claim = shared.held.claim(&key("a")).expect("nobody is at it");
    shared.start(&mut ready, &key("a"), claim.number()).await.expect("available");
    drop(claim);
    redis.cli(&["client", "kill", "type", "normal"]);
    let other = Owner::start(&redis.url(), &prefix, quick()).await;
    until("the withdrawal", async || other.journal.lookup(&key("a")).await == Ok(Record::Orphaned)).await;
    assert_eq!(other.journal.start_attempt(&key("a")).await, Ok(Record::Orphaned));
}

#[tokio::test]
async fn a_start_that_comes_after_its_withdrawal_comes_too_late() {
    let prefix = prefix();
    let owner = Owner::start(&shared_redis().url(), &prefix, quick()).await;
    let shared = &owner.journal.shared;
    let mut ready = shared.link.ready().expect("available");
    for before in [Record::Unknown, WAITING] {
        let send = key(&format!("{before:?}"));
        if before == WAITING {
            assert_eq!(owner.journal.start_attempt(&send).await, Ok(Record::Unknown));
            assert_eq!(owner.journal.finish_attempt(&send, false).await, Ok(()));
        }
        let record = shared.record_key(&send);
        let me = shared.owner.as_bytes();
        for _ in 0..2 {
            WITHDRAW.run(&mut ready.connection, &record, &[me, b"70", b"60000"]).await.expect("available");
        }
        let late =
            START.run(&mut ready.connection, &record, &[me, b"70", b"60000", b"", b""]).await.expect("available");
        assert_eq!(late, [b"X"]);
        assert_eq!(owner.journal.lookup(&send).await, Ok(before.clone()));
        let newer =
            START.run(&mut ready.connection, &record, &[me, b"71", b"60000", b"", b""]).await.expect("available");
        assert_ne!(newer, [b"X"]);
        let again =
            START.run(&mut ready.connection, &record, &[me, b"71", b"60000", b"", b""]).await.expect("available");
        assert_eq!(newer, again, "a call that a library makes twice");
    }
}
