//! What opening finds: torn tails are cut, damage is refused, what can be made again is.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use proptest::prelude::*;

use super::world::World;
use crate::{
    domain::journal::Record,
    journal::{
        file::OpenError,
        tests::contract::{WAITING, ended, key},
    },
    ports::Journal,
};

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("a byte");
    file.write_all_at(&[!byte[0]], offset).expect("written");
}

/// A world where these sends have ended, one batch each.
async fn ended_one_by_one(world: World, sends: usize) -> World {
    let journal = world.open();
    for number in 0..sends {
        journal.record_outcome(&key(&format!("id-{number}")), ended("{}")).await.expect("available");
    }
    journal.close().await;
    world
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len()
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let world = World::new();
    let journal = world.open();
    let refused = world.try_open().expect_err("it is in use").to_string();
    assert!(refused.contains(&world.place.0.display().to_string()) && refused.contains("journal.dir"), "{refused}");
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown), "the first one goes on");
    journal.close().await;
    assert_eq!(world.open().lookup(&key("a")).await, Ok(Record::Orphaned));
}

#[tokio::test]
async fn only_the_owner_may_look_into_it() {
    let mut world = World::new();
    world.settings.dir = world.place.0.join("made/on/the/way");
    drop(world.open());
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&world.settings.dir), 0o700);
    for entry in fs::read_dir(&world.settings.dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn only_a_journal_that_has_seen_all_is_complete() {
    let world = World::new();
    let journal = world.open();
    assert!(!journal.is_complete(), "it is new");
    journal.close().await;
    let journal = world.open();
    assert!(journal.is_complete());
    journal.clone().others_take_commands();
    assert!(!journal.is_complete());
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_no_more() {
    let world = ended_one_by_one(World::new().large(), 3).await;
    let before = length(&world.log(1));
    let journal = world.open();
    journal.record_outcome(&key("last"), ended("{\"a\":1}")).await.expect("available");
    journal.close().await;
    for end in before..length(&world.log(1)) {
        let torn = world.crash();
        fs::File::options().write(true).open(torn.log(1)).and_then(|log| log.set_len(end)).expect("torn");
        let journal = torn.open();
        assert_eq!(torn.told().iter().any(|told| told.starts_with("TornTail")), end > before);
        assert_eq!(journal.lookup(&key("last")).await, Ok(Record::Unknown));
        assert_eq!(journal.lookup(&key("id-2")).await, Ok(Record::Finished(ended("{}"))));
        journal.record_outcome(&key("next"), ended("{}")).await.expect("available");
        let successor = torn.crash();
        let journal = successor.open();
        assert_eq!(journal.lookup(&key("next")).await, Ok(Record::Finished(ended("{}"))));
    }
}

#[tokio::test]
async fn a_batch_of_which_only_a_later_part_reached_the_disk_is_cut_whole() {
    let world = ended_one_by_one(World::new().large(), 2).await;
    let before = length(&world.log(1));
    let journal = world.open();
    let keys: Vec<_> = (0..50).map(|number| key(&format!("late-{number}"))).collect();
    // All are asked before the writer can take the first.
    let batch = futures_util::future::join_all(keys.iter().map(|key| journal.record_outcome(key, ended("{}"))));
    assert!(batch.await.iter().all(Result::is_ok));
    journal.close().await;
    flip(&world.log(1), before + 9);
    let opened = world.try_open();
    // Unless the writer was quicker and made two batches, of which the first must not be damaged.
    if let Ok(journal) = opened {
        assert_eq!(journal.lookup(&keys[0]).await, Ok(Record::Unknown));
        assert_eq!(journal.lookup(&key("id-1")).await, Ok(Record::Finished(ended("{}"))));
    }
}

#[tokio::test]
async fn damage_before_what_came_later_is_refused_with_its_place() {
    let world = ended_one_by_one(World::new().large(), 3).await;
    for offset in 24..length(&world.log(1)) * 2 / 3 {
        let damaged = world.crash();
        flip(&damaged.log(1), offset);
        let refused = damaged.try_open().expect_err("damaged").to_string();
        let names = refused.contains(&damaged.log(1).display().to_string()) && refused.contains("at byte ");
        assert!(names && refused.contains("restore"), "{refused}");
    }
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_told_when_it_is_read_and_until_it_is_mended() {
    let world = ended_one_by_one(World::new(), 12).await;
    flip(&world.log(1), 24 + 8 + 20);
    let journal = world.open();
    assert_eq!(journal.lookup(&key("id-4")).await, Ok(Record::Finished(ended("{}"))));
    let refused = journal.start_attempt(&key("id-0")).await.expect_err("damaged").to_string();
    assert!(refused.contains(&world.log(1).display().to_string()) && refused.contains("at byte 24"), "{refused}");
    world.until_told("Unavailable");
    journal.start_attempt(&key("new")).await.expect_err("while a record cannot be read, nothing starts");
    flip(&world.log(1), 24 + 8 + 20);
    world.until_told("Available");
    assert_eq!(journal.start_attempt(&key("id-0")).await, Ok(Record::Finished(ended("{}"))));
    assert_eq!(journal.start_attempt(&key("new")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn a_log_that_is_shorter_than_its_index_says_is_refused() {
    let world = ended_one_by_one(World::new(), 12).await;
    world.open().close().await;
    let shorter = length(&world.log(1)) - 1;
    fs::File::options().write(true).open(world.log(1)).and_then(|log| log.set_len(shorter)).expect("cut");
    assert!(world.try_open().expect_err("cut").to_string().contains("is corrupt"));
}

#[tokio::test]
async fn an_index_that_is_missing_or_damaged_anywhere_is_made_again_or_told() {
    let world = ended_one_by_one(World::new(), 12).await;
    let places: Vec<_> = (0..length(&world.index(1))).step_by(61).map(Some).chain([None]).collect();
    for place in places {
        let world = world.crash();
        match place {
            Some(offset) => flip(&world.index(1), offset),
            None => fs::remove_file(world.index(1)).expect("removed"),
        }
        let journal = world.open();
        for number in 0..12 {
            let record = journal.lookup(&key(&format!("id-{number}"))).await;
            // A damaged page is told when it is read; the rest is found at once.
            let is_refused = record.as_ref().is_err_and(|refused| refused.to_string().contains("remove this one file"));
            assert!(is_refused || record == Ok(Record::Finished(ended("{}"))), "byte {place:?}, {number}: {record:?}");
        }
        let is_told = world.told().iter().any(|told| told.starts_with("Reindexed") || told.starts_with("Unavailable"));
        assert!(is_told || place.is_some_and(|offset| (4084..4096).contains(&offset)), "byte {place:?}");
    }
}

#[tokio::test]
async fn without_its_header_it_is_refused() {
    let world = ended_one_by_one(World::new(), 3).await;
    let header = world.place.0.join("header");
    for offset in 0..length(&header) {
        flip(&header, offset);
        assert!(matches!(world.try_open(), Err(OpenError::NoHeader { .. })), "byte {offset}");
        flip(&header, offset);
    }
    fs::remove_file(&header).expect("removed");
    let refused = world.try_open().expect_err("no header").to_string();
    assert!(refused.contains(&header.display().to_string()) && refused.contains("restore"), "{refused}");
}

#[tokio::test]
async fn a_segment_that_is_missing_between_others_is_told() {
    let world = ended_one_by_one(World::new(), 17).await;
    let untouched = world.crash();
    assert!(untouched.open().is_complete());
    fs::remove_file(world.log(2)).expect("removed");
    let journal = world.open();
    assert!(world.told().contains(&"Gap { missing: 2 }".to_owned()));
    assert!(!journal.is_complete());
    assert!(!world.index(2).exists(), "an index alone means nothing");
}

#[tokio::test]
async fn a_segment_that_was_never_begun_is_begun_again() {
    let world = ended_one_by_one(World::new(), 5).await;
    let last = *world.segments().last().expect("a segment");
    for content in [Vec::new(), vec![0; 10], vec![0; 1000], b"EDNALOG1".to_vec()] {
        let world = world.crash();
        fs::write(world.log(last + 1), &content).expect("written");
        let journal = world.open();
        assert_eq!(journal.start_attempt(&key("new")).await, Ok(Record::Unknown));
        assert_eq!(journal.lookup(&key("id-4")).await, Ok(Record::Finished(ended("{}"))));
        assert!(journal.is_complete());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever bytes lie behind the last batch, all that was told durable is there, and nothing else.
    #[test]
    fn any_tail_is_cut(tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new().large();
            let journal = world.open();
            journal.start_attempt(&key("a")).await.expect("available");
            journal.finish_attempt(&key("a"), false).await.expect("available");
            journal.close().await;
            let mut log = fs::read(world.log(1)).expect("a log");
            log.extend(&tail);
            fs::write(world.log(1), log).expect("written");
            let journal = world.open();
            assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING));
            journal.record_outcome(&key("a"), ended("{}")).await.expect("available");
            journal.close().await;
            assert_eq!(world.open().lookup(&key("a")).await, Ok(Record::Finished(ended("{}"))));
        });
    }
}
