//! Disk faults: no call resolves with success before its change is durable.

use std::{fs, thread};

use super::{faulty_disk::DiskFault, fixture::FileJournalFixture, temp_dir::JournalTempDir};
use crate::{
    domain::journal::Record,
    journal::tests::contract::{CERTAIN, ORPHANED, WAITING, key, outcome, published},
    ports::Journal,
};

#[tokio::test]
async fn reply_waits_for_the_sync() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    journal.start_attempt(&key("before")).await.expect("available");
    fixture.disk.set(DiskFault::SyncBlocks);
    let calls = {
        let journal = journal.clone();
        tokio::spawn(async move {
            let (a, b) = (key("a"), key("b"));
            tokio::join!(journal.start_attempt(&a), journal.record_outcome(&b, outcome("{}")))
        })
    };
    tokio::task::yield_now().await;
    let disk = std::sync::Arc::clone(&fixture.disk);
    tokio::task::spawn_blocking(move || disk.wait_until_sync_blocks()).await.expect("no panic");
    assert!(!calls.is_finished());
    fixture.disk.set(DiskFault::None);
    assert_eq!(calls.await.expect("no panic"), (Ok(Record::Unknown), Ok(())));
    assert!(!fixture.disk.is_dirty());
}

#[tokio::test]
async fn reply_never_precedes_its_sync() {
    let fixture = FileJournalFixture::new().with_one_segment();
    let journal = fixture.open();
    for number in 0..20 {
        let key = key(&format!("id-{number}"));
        journal.start_attempt(&key).await.expect("available");
        assert!(!fixture.disk.is_dirty());
        journal.finish_attempt(&key, CERTAIN).await.expect("available");
        assert!(!fixture.disk.is_dirty());
        journal.record_outcome(&key, outcome("{}")).await.expect("available");
        assert!(!fixture.disk.is_dirty());
    }
}

#[tokio::test]
async fn failed_batch_is_rolled_back() {
    for fault in [DiskFault::Full, DiskFault::SyncFails] {
        let fixture = FileJournalFixture::new().with_one_segment();
        let journal = fixture.open();
        journal.start_attempt(&key("in-progress")).await.expect("available");
        journal.start_attempt(&key("waiting")).await.expect("available");
        journal.finish_attempt(&key("waiting"), CERTAIN).await.expect("available");
        fixture.disk.set(fault);
        let error = journal.start_attempt(&key("new")).await.expect_err("the disk fails");
        assert!(error.to_string().contains(&fixture.log(1).display().to_string()), "{error}");
        journal.start_attempt(&key("waiting")).await.expect_err("the disk fails");
        journal.record_outcome(&key("in-progress"), outcome("{}")).await.expect_err("the disk fails");
        journal.lookup(&key("in-progress")).await.expect_err("a lookup waits for the failed batch, too");
        let crashed = fixture.crash();
        fixture.disk.set(DiskFault::None);
        fixture.wait_for_event("Available");
        for (id, record) in [("new", Record::Unknown), ("waiting", WAITING), ("in-progress", Record::InProgress)] {
            assert_eq!(journal.lookup(&key(id)).await, Ok(record), "{id}, {fault:?}");
        }
        assert_eq!(journal.record_outcome(&key("in-progress"), outcome("{}")).await, Ok(()));

        let journal = crashed.open();
        for (id, record) in [("new", Record::Unknown), ("waiting", WAITING), ("in-progress", ORPHANED)] {
            assert_eq!(journal.lookup(&key(id)).await, Ok(record), "{id}, {fault:?}, after a crash");
        }
    }
}

#[tokio::test]
async fn failure_and_recovery_are_each_reported_once() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    fixture.disk.set(DiskFault::Full);
    for _ in 0..3 {
        journal.start_attempt(&key("a")).await.expect_err("no room");
    }
    let event = fixture.wait_for_event("Unavailable");
    assert!(event.contains("cannot write") && event.contains(&fixture.log(1).display().to_string()), "{event}");
    // The retry fails at another path, which is reported once, too.
    let event = fixture.wait_for_event("Unavailable");
    assert!(event.contains(&fixture.log(2).display().to_string()), "{event}");
    fixture.wait_for_event("Size");
    fixture.wait_for_event("Size");
    assert_eq!(fixture.take_events(), Vec::<String>::new());
    fixture.disk.set(DiskFault::None);
    fixture.wait_for_event("Available");
    assert_eq!(fixture.segments(), [2], "neither a failed retry nor an empty segment leaves a file");
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn failed_segment_is_never_written_again() {
    let fixture = FileJournalFixture::new().with_one_segment();
    let journal = fixture.open();
    journal.record_outcome(&key("before"), outcome("{}")).await.expect("available");
    let length = fs::metadata(fixture.log(1)).expect("a log").len();
    fixture.disk.set(DiskFault::SyncFails);
    journal.start_attempt(&key("a")).await.expect_err("the sync fails");
    fixture.disk.set(DiskFault::None);
    fixture.wait_for_event("Available");
    journal.record_outcome(&key("after"), outcome("{}")).await.expect("available");
    assert_eq!(fixture.segments(), [1, 2]);
    assert_eq!(fs::metadata(fixture.log(1)).expect("a log").len(), length);
    let successor = fixture.crash();
    let journal = successor.open();
    for id in ["before", "after"] {
        assert_eq!(journal.lookup(&key(id)).await, Ok(Record::Finished(outcome("{}"))));
    }
}

#[tokio::test]
async fn removed_directory_is_detected_and_not_recreated() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    journal.start_attempt(&key("a")).await.expect("available");
    fs::remove_dir_all(fixture.dir.path()).expect("removed");
    let event = fixture.wait_for_event("Unavailable");
    assert!(event.contains(&fixture.dir.path().display().to_string()) && event.contains("put it back"), "{event}");
    fixture.wait_for_event("Size");
    journal.start_attempt(&key("b")).await.expect_err("the directory is gone");
    assert!(!fixture.dir.path().exists());
    journal.close().await;
    let journal = fixture.open();
    assert!(!journal.is_complete());
}

#[tokio::test]
async fn restored_directory_is_used_again() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    let elsewhere = JournalTempDir::new();
    fs::rename(fixture.dir.path(), elsewhere.path()).expect("moved");
    let mut number = 0;
    while journal.record_outcome(&key(&format!("id-{number}")), outcome("{}")).await.is_ok() {
        number += 1;
        assert!(number < 100, "the missing directory was not detected");
        thread::yield_now();
    }
    fs::rename(elsewhere.path(), fixture.dir.path()).expect("moved back");
    fixture.wait_for_event("Available");
    for id in 0..number {
        assert_eq!(journal.lookup(&key(&format!("id-{id}"))).await, Ok(Record::Finished(outcome("{}"))));
    }
    assert_eq!(journal.start_attempt(&key("new")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn closed_journal_fails_calls_and_dropped_one_unlocks() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    let clone = journal.clone();
    journal.start_attempt(&key("a")).await.expect("available");
    journal.close().await;
    let error = clone.lookup(&key("a")).await.expect_err("closed");
    assert!(error.to_string().contains("closed"), "{error}");
    clone.close().await;
    drop(fixture.open());
    // The writer thread of the dropped journal unlocks the directory soon.
    while fixture.try_open().is_err() {
        thread::yield_now();
    }
}

#[tokio::test]
async fn published_survives_a_failed_batch() {
    for fault in [DiskFault::Full, DiskFault::SyncFails] {
        let fixture = FileJournalFixture::new().with_one_segment();
        let journal = fixture.open();
        journal.record_outcome(&key("a"), outcome("{}")).await.expect("available");
        fixture.disk.set(fault);
        journal.record_published(&key("a")).await.expect("does not wait for the disk");
        journal.start_attempt(&key("b")).await.expect_err("the disk fails");
        fixture.disk.set(DiskFault::None);
        fixture.wait_for_event("Available");
        journal.start_attempt(&key("b")).await.expect("available");
        let successor = fixture.crash();
        let journal = successor.open();
        assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(published(outcome("{}")))), "{fault:?}");
    }
}

#[tokio::test]
async fn repeated_publish_adds_no_record() {
    let fixture = FileJournalFixture::new().with_one_segment();
    let journal = fixture.open();
    journal.record_outcome(&key("a"), outcome("{}")).await.expect("available");
    let mut before = fs::metadata(fixture.log(1)).expect("a log").len();
    let mut added = Vec::new();
    for (number, is_published) in [true, true, true, false].into_iter().enumerate() {
        if is_published {
            journal.record_published(&key("a")).await.expect("available");
        }
        // The publish is durable with this change.
        journal.record_outcome(&key(&format!("other-{number}")), outcome("{}")).await.expect("available");
        let after = fs::metadata(fixture.log(1)).expect("a log").len();
        added.push(after - std::mem::replace(&mut before, after));
    }
    let alone = added[3];
    assert!(added[0] > alone && added[1..] == [alone; 3], "{added:?}");
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(published(outcome("{}")))));
}

#[tokio::test]
async fn published_alone_becomes_durable_with_maintenance() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    journal.record_outcome(&key("a"), outcome("{}")).await.expect("available");
    fixture.take_events();
    journal.record_published(&key("a")).await.expect("available");
    fixture.wait_for_event("Committed");
    let successor = fixture.crash();
    let journal = successor.open();
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(published(outcome("{}")))));
}
