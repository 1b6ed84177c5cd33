//! Retention by age and by size.

use std::time::Duration;

use super::fixture::FileJournalFixture;
use crate::{
    domain::journal::Record,
    journal::{
        file::FileJournal,
        tests::contract::{ORPHANED, UNCERTAIN, key, outcome},
    },
    ports::Journal,
};

async fn finish_many(journal: &FileJournal, name: &str, sends: usize) {
    for number in 0..sends {
        journal.record_outcome(&key(&format!("{name}-{number}")), outcome(&"x".repeat(500))).await.expect("available");
    }
}

#[tokio::test]
async fn record_is_kept_until_retention_ends() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    finish_many(&journal, "old", 12).await;
    fixture.advance(Duration::from_hours(71));
    finish_many(&journal, "new", 12).await;
    fixture.wait_for_event("Size");
    fixture.wait_for_event("Size");
    assert!(matches!(journal.lookup(&key("old-0")).await, Ok(Record::Finished(_))));
    fixture.advance(Duration::from_hours(2));
    fixture.wait_until("the first segment is removed", || !fixture.log(1).exists());
    assert_eq!(journal.lookup(&key("old-0")).await, Ok(Record::Unknown));
    assert!(matches!(journal.lookup(&key("new-0")).await, Ok(Record::Finished(_))));
    fixture.wait_for_event("Size");
    assert!(!fixture.index(1).exists());
    assert!(!fixture.take_events().iter().any(|event| event.starts_with("DroppedEarly")));
}

#[tokio::test]
async fn single_record_expires_with_its_segment() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    finish_many(&journal, "only", 1).await;
    fixture.advance(Duration::from_hours(73));
    fixture.wait_until("the segment is removed", || !fixture.log(1).exists());
    assert_eq!(journal.lookup(&key("only-0")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn attempt_in_progress_outlives_its_segment() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    journal.start_attempt(&key("in-progress")).await.expect("available");
    journal.start_attempt(&key("finished")).await.expect("available");
    journal.finish_attempt(&key("finished"), UNCERTAIN).await.expect("available");
    finish_many(&journal, "other", 12).await;
    fixture.advance(Duration::from_hours(100));
    fixture.wait_until("the segment is removed", || !fixture.log(1).exists());
    assert_eq!(journal.start_attempt(&key("in-progress")).await, Ok(Record::InProgress));
    assert_eq!(journal.lookup(&key("finished")).await, Ok(Record::Unknown));
    let successor = fixture.crash();
    let journal = successor.open();
    assert_eq!(journal.lookup(&key("in-progress")).await, Ok(ORPHANED), "after a crash");
}

#[tokio::test]
async fn oversized_journal_drops_early_and_reports_it() {
    let mut fixture = FileJournalFixture::new();
    let journal = fixture.open();
    fixture.end_doubt(&journal);
    journal.close().await;
    fixture.settings.max_bytes = 60_000;
    let journal = fixture.open();
    journal.start_attempt(&key("in-progress")).await.expect("available");
    assert!(journal.is_complete());
    finish_many(&journal, "many", 300).await;
    fixture.wait_for_event("DroppedEarly");
    let bytes = || crate::journal::inspect_stats(fixture.dir.path()).expect("a journal").bytes;
    fixture.wait_until("the journal is small enough", || bytes() < 62_000);
    assert_eq!(journal.lookup(&key("many-0")).await, Ok(Record::Unknown));
    assert!(matches!(journal.lookup(&key("many-299")).await, Ok(Record::Finished(_))));
    assert_eq!(journal.lookup(&key("in-progress")).await, Ok(Record::InProgress));
    assert!(!journal.is_complete(), "a send without a record may have been started");
    fixture.advance(Duration::from_hours(73));
    assert!(journal.is_complete(), "the lost records would have expired by now");
}

#[tokio::test]
async fn clock_jump_expires_nothing() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    finish_many(&journal, "old", 12).await;
    fixture.set_clock_ahead(Duration::from_hours(1_000));
    finish_many(&journal, "new", 12).await;
    (0..5).for_each(|_| drop(fixture.wait_for_event("Size")));
    assert!(matches!(journal.lookup(&key("old-0")).await, Ok(Record::Finished(_))));
    assert!(!journal.is_complete(), "the journal is new");
    fixture.advance(Duration::from_hours(73));
    assert!(journal.is_complete());
    fixture.wait_until("the first segment is removed", || !fixture.log(1).exists());
    assert!(matches!(journal.lookup(&key("new-11")).await, Ok(Record::Finished(_))));
}
