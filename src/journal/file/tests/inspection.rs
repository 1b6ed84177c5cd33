//! Inspection from another process.

use std::fs;

use jiff::Timestamp;

use super::fixture::{BEGIN_MS, FileJournalFixture};
use crate::{
    domain::journal::Record,
    journal::{
        inspect_record, inspect_stats,
        tests::contract::{CERTAIN, ORPHANED, WAITING_UNCERTAIN, key, outcome, replay},
    },
    ports::Journal,
};

#[tokio::test]
async fn record_is_readable_during_and_after_a_session() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    let dir = fixture.dir.path();
    journal.start_attempt(&key("a")).await.expect("available");
    let inspected = inspect_record(dir, &key("a")).expect("a journal").expect("on record");
    let at = Timestamp::from_millisecond(BEGIN_MS).expect("a time");
    assert_eq!((inspected.record, inspected.uncertain, inspected.at), (Record::InProgress, false, at));
    assert_eq!(inspect_record(dir, &replay("a", 1)).expect("a journal"), None);
    for number in 0..12 {
        journal.record_outcome(&key(&format!("id-{number}")), outcome("{}")).await.expect("available");
    }
    for number in 0..12 {
        let inspected = inspect_record(dir, &key(&format!("id-{number}"))).expect("a journal").expect("on record");
        assert_eq!(inspected.record, Record::Finished(outcome("{}")));
    }
    journal.close().await;
    let journal = fixture.open();
    let inspected = inspect_record(dir, &key("a")).expect("a journal").expect("on record");
    assert_eq!((inspected.record, inspected.uncertain), (ORPHANED, true));
    journal.finish_attempt(&key("a"), CERTAIN).await.expect("available");
    let inspected = inspect_record(dir, &key("a")).expect("a journal").expect("on record");
    assert_eq!(inspected.record, WAITING_UNCERTAIN);
}

#[tokio::test]
async fn stats_count_entries_segments_and_bytes() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    assert_eq!(inspect_stats(fixture.dir.path()).expect("a journal").entries, 0);
    for number in 0..12 {
        journal.record_outcome(&key(&format!("id-{number}")), outcome("{}")).await.expect("available");
    }
    journal.close().await;
    let stats = inspect_stats(fixture.dir.path()).expect("a journal");
    assert_eq!((stats.entries, stats.segments), (12, 3));
    assert!(stats.bytes > 500 && stats.oldest.is_some() && stats.newest >= stats.oldest, "{stats:?}");
}

#[tokio::test]
async fn inspection_beside_a_writer_succeeds() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    let dir = fixture.dir.path().to_owned();
    journal.record_outcome(&key("a"), outcome("{}")).await.expect("available");
    let inspection = tokio::task::spawn_blocking(move || {
        for _ in 0..60 {
            let inspected = inspect_record(&dir, &key("a")).expect("a journal").expect("on record");
            assert_eq!(inspected.record, Record::Finished(outcome("{}")));
            inspect_stats(&dir).expect("a journal");
        }
    });
    let mut number = 0;
    while !inspection.is_finished() {
        number += 1;
        journal.start_attempt(&key(&format!("id-{number}"))).await.expect("available");
    }
    inspection.await.expect("no panic");
}

#[test]
fn inspection_without_journal_names_the_setting() {
    let fixture = FileJournalFixture::new();
    for _ in 0..2 {
        let error = inspect_record(fixture.dir.path(), &key("a")).expect_err("no journal").to_string();
        assert!(error.contains(&fixture.dir.path().display().to_string()) && error.contains("journal.dir"), "{error}");
        assert!(inspect_stats(fixture.dir.path()).is_err());
        fs::create_dir_all(fixture.dir.path()).expect("made");
    }
}
