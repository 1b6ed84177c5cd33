//! Nothing is told durable that is not, whatever the disk does.

use std::{fs, thread};

use super::{
    Place,
    world::{Mood, World},
};
use crate::{
    domain::journal::Record,
    journal::tests::contract::{WAITING, ended, key},
    ports::Journal,
};

#[tokio::test]
async fn nobody_is_answered_before_the_disk_has_it() {
    let world = World::new();
    let journal = world.open();
    journal.start_attempt(&key("before")).await.expect("available");
    world.disk.set(Mood::Stuck);
    let asks = {
        let journal = journal.clone();
        tokio::spawn(async move {
            let (a, b) = (key("a"), key("b"));
            tokio::join!(journal.start_attempt(&a), journal.record_outcome(&b, ended("{}")))
        })
    };
    tokio::task::yield_now().await;
    let disk = std::sync::Arc::clone(&world.disk);
    tokio::task::spawn_blocking(move || disk.until_stuck()).await.expect("stuck");
    assert!(!asks.is_finished());
    world.disk.set(Mood::Fine);
    assert_eq!(asks.await.expect("no panic"), (Ok(Record::Unknown), Ok(())));
    assert!(!world.disk.is_dirty());
}

#[tokio::test]
async fn every_answer_comes_after_a_sync() {
    let world = World::new().large();
    let journal = world.open();
    for number in 0..20 {
        let key = key(&format!("id-{number}"));
        journal.start_attempt(&key).await.expect("available");
        assert!(!world.disk.is_dirty());
        journal.finish_attempt(&key, false).await.expect("available");
        assert!(!world.disk.is_dirty());
        journal.record_outcome(&key, ended("{}")).await.expect("available");
        assert!(!world.disk.is_dirty());
    }
}

#[tokio::test]
async fn what_could_not_be_written_has_not_happened() {
    for mood in [Mood::Full, Mood::Broken] {
        let world = World::new().large();
        let journal = world.open();
        journal.start_attempt(&key("held")).await.expect("available");
        journal.start_attempt(&key("waiting")).await.expect("available");
        journal.finish_attempt(&key("waiting"), false).await.expect("available");
        world.disk.set(mood);
        let refused = journal.start_attempt(&key("new")).await.expect_err("the disk fails");
        assert!(refused.to_string().contains(&world.log(1).display().to_string()), "{refused}");
        journal.start_attempt(&key("waiting")).await.expect_err("the disk fails");
        journal.record_outcome(&key("held"), ended("{}")).await.expect_err("the disk fails");
        journal.lookup(&key("held")).await.expect_err("what was asked before may not be known");
        let crashed = world.crash();
        world.disk.set(Mood::Fine);
        world.until_told("Available");
        for (id, record) in [("new", Record::Unknown), ("waiting", WAITING), ("held", Record::InProgress)] {
            assert_eq!(journal.lookup(&key(id)).await, Ok(record), "{id}, {mood:?}");
        }
        assert_eq!(journal.record_outcome(&key("held"), ended("{}")).await, Ok(()));

        let journal = crashed.open();
        for (id, record) in [("new", Record::Unknown), ("waiting", WAITING), ("held", Record::Orphaned)] {
            assert_eq!(journal.lookup(&key(id)).await, Ok(record), "{id}, {mood:?}, after a crash");
        }
    }
}

#[tokio::test]
async fn trouble_is_told_once_and_so_is_its_end() {
    let world = World::new();
    let journal = world.open();
    world.disk.set(Mood::Full);
    for _ in 0..3 {
        journal.start_attempt(&key("a")).await.expect_err("no room");
    }
    let told = world.until_told("Unavailable");
    assert!(told.contains("cannot write") && told.contains(&world.log(1).display().to_string()), "{told}");
    // It tries again in vain, which is another place, told once.
    let told = world.until_told("Unavailable");
    assert!(told.contains(&world.log(2).display().to_string()), "{told}");
    world.until_told("Holds");
    world.until_told("Holds");
    assert_eq!(world.told(), Vec::<String>::new());
    world.disk.set(Mood::Fine);
    world.until_told("Available");
    assert_eq!(
        world.segments(),
        [2],
        "what it tried in vain leaves nothing behind, nor does a segment without records"
    );
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn a_file_that_failed_is_not_written_again() {
    let world = World::new().large();
    let journal = world.open();
    journal.record_outcome(&key("before"), ended("{}")).await.expect("available");
    let length = fs::metadata(world.log(1)).expect("a log").len();
    world.disk.set(Mood::Broken);
    journal.start_attempt(&key("a")).await.expect_err("broken");
    world.disk.set(Mood::Fine);
    world.until_told("Available");
    journal.record_outcome(&key("after"), ended("{}")).await.expect("available");
    assert_eq!(world.segments(), [1, 2]);
    assert_eq!(fs::metadata(world.log(1)).expect("a log").len(), length);
    let successor = world.crash();
    let journal = successor.open();
    for id in ["before", "after"] {
        assert_eq!(journal.lookup(&key(id)).await, Ok(Record::Finished(ended("{}"))));
    }
}

#[tokio::test]
async fn a_removed_directory_is_noticed_and_never_begun_anew() {
    let world = World::new();
    let journal = world.open();
    journal.start_attempt(&key("a")).await.expect("available");
    fs::remove_dir_all(&world.place.0).expect("removed");
    let told = world.until_told("Unavailable");
    assert!(told.contains(&world.place.0.display().to_string()) && told.contains("put it back"), "{told}");
    world.until_told("Holds");
    journal.start_attempt(&key("b")).await.expect_err("gone");
    assert!(!world.place.0.exists());
    journal.close().await;
    let journal = world.open();
    assert!(!journal.is_complete());
}

#[tokio::test]
async fn a_directory_that_comes_back_is_used_again() {
    let world = World::new();
    let journal = world.open();
    let elsewhere = Place::new();
    fs::rename(&world.place.0, &elsewhere.0).expect("moved");
    let mut number = 0;
    while journal.record_outcome(&key(&format!("id-{number}")), ended("{}")).await.is_ok() {
        number += 1;
        assert!(number < 100, "it has not noticed");
        thread::yield_now();
    }
    fs::rename(&elsewhere.0, &world.place.0).expect("moved back");
    world.until_told("Available");
    for id in 0..number {
        assert_eq!(journal.lookup(&key(&format!("id-{id}"))).await, Ok(Record::Finished(ended("{}"))));
    }
    assert_eq!(journal.start_attempt(&key("new")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn a_dropped_journal_lets_go_and_a_closed_one_says_so() {
    let world = World::new();
    let journal = world.open();
    let clone = journal.clone();
    journal.start_attempt(&key("a")).await.expect("available");
    journal.close().await;
    let refused = clone.lookup(&key("a")).await.expect_err("closed");
    assert!(refused.to_string().contains("closed"), "{refused}");
    clone.close().await;
    drop(world.open());
    // The thread that was let go needs a moment to let go of the lock.
    while world.try_open().is_err() {
        thread::yield_now();
    }
}
