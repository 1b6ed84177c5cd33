//! Several owners of one send.

use std::time::Duration;

use futures_util::future::join_all;

use super::fixture::{RETENTION, TestOwner, expire_lease, fast_timings, prefix, shared_redis, wait_until};
use crate::{
    domain::journal::{Record, SendKey},
    journal::{
        redis::{RedisJournal, settings::RedisTimings},
        tests::contract::{CERTAIN, ORPHANED, UNCERTAIN, WAITING_UNCERTAIN, key, outcome, pending},
    },
    ports::{Journal, JournalResult},
};

async fn owners(number: usize, prefix: &str, timings: RedisTimings) -> Vec<TestOwner> {
    join_all((0..number).map(|_| TestOwner::start_shared(prefix, timings))).await
}

impl TestOwner {
    async fn start_shared(prefix: &str, timings: RedisTimings) -> Self {
        Self::start(&shared_redis().url(), prefix, timings).await
    }
}

/// Starts the same send five times from each owner, all at once.
async fn race(owners: &[TestOwner], send: &SendKey) -> Vec<JournalResult<Record>> {
    let starts = owners.iter().flat_map(|owner| (0..5).map(|_| owner.journal.start_attempt(send)));
    join_all(starts).await
}

fn count(records: &[JournalResult<Record>], wanted: &Record) -> usize {
    records.iter().filter(|record| record.as_ref() == Ok(wanted)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_owners_grant_one_start() {
    let prefix = prefix();
    let owners = owners(6, &prefix, fast_timings()).await;
    for number in 0..40 {
        let records = race(&owners, &key(&number.to_string())).await;
        assert_eq!((count(&records, &Record::Unknown), count(&records, &Record::InProgress)), (1, 29), "{records:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_takeovers_grant_one() {
    let prefix = prefix();
    let crashed = TestOwner::start_shared(&prefix, fast_timings()).await;
    let keys: Vec<_> = (0..40).map(|number| key(&number.to_string())).collect();
    for key in &keys {
        assert_eq!(crashed.journal.start_attempt(key).await, Ok(Record::Unknown));
    }
    crashed.kill_and_expire().await;
    let owners = owners(6, &prefix, fast_timings()).await;
    for key in &keys {
        let records = race(&owners, key).await;
        assert_eq!((count(&records, &ORPHANED), count(&records, &Record::InProgress)), (1, 29), "{records:?}");
    }
}

#[tokio::test]
async fn start_beside_a_live_owner_is_refused() {
    let prefix = prefix();
    let owners = owners(2, &prefix, fast_timings()).await;
    assert_eq!(owners[0].journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(owners[1].journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(owners[1].journal.lookup(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(owners[0].journal.finish_attempt(&key("a"), UNCERTAIN).await, Ok(()));
    assert_eq!(owners[1].journal.start_attempt(&key("a")).await, Ok(WAITING_UNCERTAIN));
    assert_eq!(owners[0].journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
}

#[tokio::test]
async fn killed_owner_is_orphaned_when_its_lease_expires() {
    let prefix = prefix();
    let lease = Duration::from_millis(600);
    let owners = owners(2, &prefix, RedisTimings { lease, margin: lease / 3, ..fast_timings() }).await;
    let [crashed, owner] = owners.try_into().unwrap_or_else(|_| panic!("two owners"));
    assert_eq!(crashed.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    crashed.kill();
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::InProgress), "the owner may still be alive");
    wait_until("the lease expires", async || owner.journal.start_attempt(&key("a")).await == Ok(ORPHANED)).await;
}

#[tokio::test]
async fn owner_without_renewal_starts_no_attempt() {
    let prefix = prefix();
    let lease = Duration::from_millis(900);
    let owner = TestOwner::start_shared(&prefix, RedisTimings { lease, margin: lease / 3, ..fast_timings() }).await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    let journal = owner.kill();
    wait_until("the lease no longer allows a start", async || journal.start_attempt(&key("b")).await.is_err()).await;
    let lease_key = journal.state.owner_key(journal.state.owner.as_bytes());
    assert_ne!(shared_redis().cli(&["pttl", &lease_key]), "-2", "starts stop before others may take over");
    assert_eq!(journal.finish_attempt(&key("a"), CERTAIN).await, Ok(()), "a started attempt can still be finished");
    tokio::spawn(journal.clone().run());
    wait_until("the lease is renewed", async || journal.start_attempt(&key("c")).await == Ok(Record::Unknown)).await;
}

#[tokio::test]
async fn takeover_waits_for_the_delay_after_connecting() {
    let prefix = prefix();
    let crashed = TestOwner::start_shared(&prefix, fast_timings()).await;
    assert_eq!(crashed.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    crashed.kill_and_expire().await;
    let owner =
        TestOwner::start_shared(&prefix, RedisTimings { takeover_delay: Duration::from_millis(500), ..fast_timings() })
            .await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(owner.journal.lookup(&key("a")).await, Ok(Record::InProgress));
    wait_until("the takeover is allowed", async || owner.journal.start_attempt(&key("a")).await == Ok(ORPHANED)).await;
}

/// Returns an owner whose lease expired while it was alive, and the one that took over its attempt.
async fn replaced_owner(prefix: &str) -> (RedisJournal, TestOwner) {
    let old = TestOwner::start_shared(prefix, fast_timings()).await;
    assert_eq!(old.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    expire_lease(&old.journal).await;
    let new = TestOwner::start_shared(prefix, fast_timings()).await;
    assert_eq!(new.journal.start_attempt(&key("a")).await, Ok(ORPHANED));
    (old.kill(), new)
}

#[tokio::test]
async fn finish_by_replaced_owner_changes_nothing() {
    let (old, new) = replaced_owner(&prefix()).await;
    assert_eq!(old.finish_attempt(&key("a"), CERTAIN).await, Ok(()));
    assert_eq!(new.journal.lookup(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(new.journal.finish_attempt(&key("a"), CERTAIN).await, Ok(()));
    assert_eq!(old.finish_attempt(&key("a"), CERTAIN).await, Ok(()), "repeated");
    assert_eq!(new.journal.lookup(&key("a")).await, Ok(WAITING_UNCERTAIN));
}

#[tokio::test]
async fn first_of_two_outcomes_stays() {
    let (old, new) = replaced_owner(&prefix()).await;
    assert_eq!(new.journal.record_outcome(&key("a"), pending("new")).await, Ok(()));
    assert_eq!(new.journal.record_letter_stored(&key("a")).await, Ok(()));
    assert_eq!(old.record_outcome(&key("a"), pending("old")).await, Ok(()));
    assert_eq!(new.journal.lookup(&key("a")).await, Ok(Record::Finished(outcome("new"))));
}

#[tokio::test]
async fn closed_owner_is_orphaned_at_once() {
    let prefix = prefix();
    let owners = owners(2, &prefix, fast_timings()).await;
    assert_eq!(owners[0].journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    owners[0].journal.close().await;
    assert_eq!(owners[1].journal.start_attempt(&key("a")).await, Ok(ORPHANED));
    let error = owners[0].journal.start_attempt(&key("b")).await.expect_err("closed").to_string();
    assert!(error.contains("closed"), "{error}");
}

#[tokio::test]
async fn every_record_expires_with_the_retention() {
    let prefix = prefix();
    let owner = TestOwner::start_shared(&prefix, fast_timings()).await;
    let journal = &owner.journal;
    for id in ["started", "finished", "outcome", "stored"] {
        assert_eq!(journal.start_attempt(&key(id)).await, Ok(Record::Unknown));
    }
    assert_eq!(journal.finish_attempt(&key("finished"), CERTAIN).await, Ok(()));
    assert_eq!(journal.record_outcome(&key("outcome"), outcome("{}")).await, Ok(()));
    assert_eq!(journal.record_outcome(&key("stored"), pending("{}")).await, Ok(()));
    assert_eq!(journal.record_letter_stored(&key("stored")).await, Ok(()));
    for id in ["started", "finished", "outcome", "stored"] {
        let left = shared_redis().cli(&["pttl", &journal.state.record_key(&key(id))]);
        let left: u128 = left.parse().unwrap_or_else(|_| panic!("{id}: {left}"));
        assert!((1..=RETENTION.as_millis()).contains(&left), "{id}: {left}");
    }
}
