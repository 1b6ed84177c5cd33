//! Several owners of one send.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Owner, Tuning, end_lease, prefix, quick, shared_redis, until};
use crate::{
    domain::journal::{Record, SendKey},
    journal::{
        redis::RedisJournal,
        tests::contract::{WAITING_UNCERTAIN, ended, key, owing},
    },
    ports::{Journal, JournalResult},
};

async fn owners(number: usize, prefix: &str, tuning: Tuning) -> Vec<Owner> {
    join_all((0..number).map(|_| Owner::start_shared(prefix, tuning))).await
}

impl Owner {
    async fn start_shared(prefix: &str, tuning: Tuning) -> Self {
        Self::start(&shared_redis().url(), prefix, tuning).await
    }
}

/// All owners start the same send, each several times at once.
async fn race(owners: &[Owner], send: &SendKey) -> Vec<JournalResult<Record>> {
    let starts = owners.iter().flat_map(|owner| (0..5).map(|_| owner.journal.start_attempt(send)));
    join_all(starts).await
}

fn count(records: &[JournalResult<Record>], wanted: &Record) -> usize {
    records.iter().filter(|record| record.as_ref() == Ok(wanted)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_owners_one_is_granted_the_start() {
    let prefix = prefix();
    let owners = owners(6, &prefix, quick()).await;
    for number in 0..40 {
        let records = race(&owners, &key(&number.to_string())).await;
        assert_eq!((count(&records, &Record::Unknown), count(&records, &Record::InProgress)), (1, 29), "{records:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_owners_one_takes_an_orphan_over() {
    let prefix = prefix();
    let dead = Owner::start_shared(&prefix, quick()).await;
    let keys: Vec<_> = (0..40).map(|number| key(&number.to_string())).collect();
    for key in &keys {
        assert_eq!(dead.journal.start_attempt(key).await, Ok(Record::Unknown));
    }
    dead.die().await;
    let owners = owners(6, &prefix, quick()).await;
    for key in &keys {
        let records = race(&owners, key).await;
        assert_eq!((count(&records, &Record::Orphaned), count(&records, &Record::InProgress)), (1, 29), "{records:?}");
    }
}

#[tokio::test]
async fn what_a_live_owner_started_is_held() {
    let prefix = prefix();
    let owners = owners(2, &prefix, quick()).await;
    assert_eq!(owners[0].journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(owners[1].journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(owners[1].journal.lookup(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(owners[0].journal.finish_attempt(&key("a"), true).await, Ok(()));
    assert_eq!(owners[1].journal.start_attempt(&key("a")).await, Ok(WAITING_UNCERTAIN));
    assert_eq!(owners[0].journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
}

#[tokio::test]
async fn a_killed_owner_is_gone_when_its_lease_is_over() {
    let prefix = prefix();
    let lease = Duration::from_millis(600);
    let owners = owners(2, &prefix, Tuning { lease, margin: lease / 3, ..quick() }).await;
    let [dead, owner] = owners.try_into().unwrap_or_else(|_| panic!("two"));
    assert_eq!(dead.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    dead.kill();
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::InProgress), "it may live");
    until("the end of the lease", async || owner.journal.start_attempt(&key("a")).await == Ok(Record::Orphaned)).await;
}

#[tokio::test]
async fn who_could_not_renew_the_lease_starts_nothing() {
    let prefix = prefix();
    let lease = Duration::from_millis(900);
    let owner = Owner::start_shared(&prefix, Tuning { lease, margin: lease / 3, ..quick() }).await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    let journal = owner.kill();
    until("the end of our right", async || journal.start_attempt(&key("b")).await.is_err()).await;
    let lease_key = journal.shared.owner_key(journal.shared.owner.as_bytes());
    assert_ne!(shared_redis().cli(&["pttl", &lease_key]), "-2", "we stop before others take over");
    assert_eq!(journal.finish_attempt(&key("a"), false).await, Ok(()), "what was started is accounted for");
    tokio::spawn(journal.clone().run());
    until("a renewed lease", async || journal.start_attempt(&key("c")).await == Ok(Record::Unknown)).await;
}

#[tokio::test]
async fn after_connecting_nothing_is_taken_over_for_a_while() {
    let prefix = prefix();
    let dead = Owner::start_shared(&prefix, quick()).await;
    assert_eq!(dead.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    dead.die().await;
    let owner = Owner::start_shared(&prefix, Tuning { grace: Duration::from_millis(500), ..quick() }).await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(owner.journal.lookup(&key("a")).await, Ok(Record::InProgress));
    until("the time to take over", async || owner.journal.start_attempt(&key("a")).await == Ok(Record::Orphaned)).await;
}

/// One that was taken for dead and lives on, and who has taken its attempt over.
async fn revenant(prefix: &str) -> (RedisJournal, Owner) {
    let old = Owner::start_shared(prefix, quick()).await;
    assert_eq!(old.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    end_lease(&old.journal).await;
    let new = Owner::start_shared(prefix, quick()).await;
    assert_eq!(new.journal.start_attempt(&key("a")).await, Ok(Record::Orphaned));
    (old.kill(), new)
}

#[tokio::test]
async fn the_release_of_an_owner_that_was_taken_over_frees_nothing() {
    let (old, new) = revenant(&prefix()).await;
    assert_eq!(old.finish_attempt(&key("a"), false).await, Ok(()));
    assert_eq!(new.journal.lookup(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(new.journal.finish_attempt(&key("a"), false).await, Ok(()));
    assert_eq!(old.finish_attempt(&key("a"), false).await, Ok(()), "told again");
    assert_eq!(new.journal.lookup(&key("a")).await, Ok(WAITING_UNCERTAIN));
}

#[tokio::test]
async fn the_first_of_two_ends_stays() {
    let (old, new) = revenant(&prefix()).await;
    assert_eq!(new.journal.record_outcome(&key("a"), owing("new")).await, Ok(()));
    assert_eq!(new.journal.record_letter_stored(&key("a")).await, Ok(()));
    assert_eq!(old.record_outcome(&key("a"), owing("old")).await, Ok(()));
    assert_eq!(new.journal.lookup(&key("a")).await, Ok(Record::Finished(ended("new"))));
}

#[tokio::test]
async fn who_closes_is_gone_at_once() {
    let prefix = prefix();
    let owners = owners(2, &prefix, quick()).await;
    assert_eq!(owners[0].journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    owners[0].journal.close().await;
    assert_eq!(owners[1].journal.start_attempt(&key("a")).await, Ok(Record::Orphaned));
    let told = owners[0].journal.start_attempt(&key("b")).await.expect_err("closed").to_string();
    assert!(told.contains("closed"), "{told}");
}

#[tokio::test]
async fn every_record_ends_with_the_retention() {
    let prefix = prefix();
    let owner = Owner::start_shared(&prefix, quick()).await;
    let journal = &owner.journal;
    for id in ["started", "released", "ended", "stored"] {
        assert_eq!(journal.start_attempt(&key(id)).await, Ok(Record::Unknown));
    }
    assert_eq!(journal.finish_attempt(&key("released"), false).await, Ok(()));
    assert_eq!(journal.record_outcome(&key("ended"), ended("{}")).await, Ok(()));
    assert_eq!(journal.record_outcome(&key("stored"), owing("{}")).await, Ok(()));
    assert_eq!(journal.record_letter_stored(&key("stored")).await, Ok(()));
    for id in ["started", "released", "ended", "stored"] {
        let left = shared_redis().cli(&["pttl", &journal.shared.record_key(&key(id))]);
        let left: u128 = left.parse().unwrap_or_else(|_| panic!("{id}: {left}"));
        assert!((1..=super::RETENTION.as_millis()).contains(&left), "{id}: {left}");
    }
}
