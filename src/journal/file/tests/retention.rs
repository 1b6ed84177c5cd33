//! What is forgotten, and what is not.

use std::time::Duration;

use super::world::World;
use crate::{
    domain::journal::Record,
    journal::{
        file::FileJournal,
        tests::contract::{ended, key},
    },
    ports::Journal,
};

async fn end_many(journal: &FileJournal, name: &str, sends: usize) {
    for number in 0..sends {
        journal.record_outcome(&key(&format!("{name}-{number}")), ended(&"x".repeat(500))).await.expect("available");
    }
}

#[tokio::test]
async fn a_send_is_remembered_for_the_retention_and_not_much_longer() {
    let world = World::new();
    let journal = world.open();
    end_many(&journal, "old", 12).await;
    world.pass(Duration::from_hours(71));
    end_many(&journal, "new", 12).await;
    world.until_told("Holds");
    world.until_told("Holds");
    assert!(matches!(journal.lookup(&key("old-0")).await, Ok(Record::Finished(_))));
    world.pass(Duration::from_hours(2));
    world.until("the first segment is forgotten", || !world.log(1).exists());
    assert_eq!(journal.lookup(&key("old-0")).await, Ok(Record::Unknown));
    assert!(matches!(journal.lookup(&key("new-0")).await, Ok(Record::Finished(_))));
    world.until_told("Holds");
    assert!(!world.index(1).exists());
    assert!(!world.told().iter().any(|told| told.starts_with("DroppedEarly")));
}

#[tokio::test]
async fn also_where_few_sends_come_they_go() {
    let world = World::new();
    let journal = world.open();
    end_many(&journal, "only", 1).await;
    world.pass(Duration::from_hours(73));
    world.until("its segment is forgotten", || !world.log(1).exists());
    assert_eq!(journal.lookup(&key("only-0")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn an_attempt_under_way_outlives_its_segment() {
    let world = World::new();
    let journal = world.open();
    journal.start_attempt(&key("held")).await.expect("available");
    journal.start_attempt(&key("over")).await.expect("available");
    journal.finish_attempt(&key("over"), true).await.expect("available");
    end_many(&journal, "other", 12).await;
    world.pass(Duration::from_hours(100));
    world.until("their segment is forgotten", || !world.log(1).exists());
    assert_eq!(journal.start_attempt(&key("held")).await, Ok(Record::InProgress));
    assert_eq!(journal.lookup(&key("over")).await, Ok(Record::Unknown));
    let successor = world.crash();
    let journal = successor.open();
    assert_eq!(journal.lookup(&key("held")).await, Ok(Record::Orphaned), "and a crash");
}

#[tokio::test]
async fn what_is_too_much_goes_early_and_that_is_told() {
    let mut world = World::new();
    let journal = world.open();
    journal.close().await;
    world.settings.max_bytes = 60_000;
    let journal = world.open();
    journal.start_attempt(&key("held")).await.expect("available");
    assert!(journal.is_complete());
    end_many(&journal, "many", 300).await;
    world.until_told("DroppedEarly");
    let bytes = || crate::journal::stats(&world.place.0).expect("a journal").bytes;
    world.until("it is small enough", || bytes() < 62_000);
    assert_eq!(journal.lookup(&key("many-0")).await, Ok(Record::Unknown));
    assert!(matches!(journal.lookup(&key("many-299")).await, Ok(Record::Finished(_))));
    assert_eq!(journal.lookup(&key("held")).await, Ok(Record::InProgress));
    assert!(!journal.is_complete(), "a send without a record may have been started");
    world.pass(Duration::from_hours(73));
    assert!(journal.is_complete(), "that would be forgotten by now anyway");
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_makes_nothing_old() {
    let world = World::new();
    let journal = world.open();
    end_many(&journal, "old", 12).await;
    world.jump(Duration::from_hours(1_000));
    end_many(&journal, "new", 12).await;
    (0..5).for_each(|_| drop(world.until_told("Holds")));
    assert!(matches!(journal.lookup(&key("old-0")).await, Ok(Record::Finished(_))));
    assert!(!journal.is_complete(), "it was made just now");
    world.pass(Duration::from_hours(2));
    assert!(journal.is_complete());
    world.pass(Duration::from_hours(71));
    world.until("the first segment is forgotten", || !world.log(1).exists());
    assert!(matches!(journal.lookup(&key("new-11")).await, Ok(Record::Finished(_))));
}
