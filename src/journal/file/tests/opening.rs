//! Opening a directory: torn tails are cut, damage fails, indexes are rebuilt.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use proptest::prelude::*;

use super::fixture::FileJournalFixture;
use crate::{
    domain::journal::Record,
    journal::{
        file::OpenError,
        tests::contract::{CERTAIN, ORPHANED, WAITING, key, outcome},
    },
    ports::Journal,
};

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("a byte");
    file.write_all_at(&[!byte[0]], offset).expect("written");
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len()
}

#[tokio::test]
async fn second_daemon_is_refused() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    let error = fixture.try_open().expect_err("in use").to_string();
    assert!(error.contains(&fixture.dir.path().display().to_string()) && error.contains("journal.dir"), "{error}");
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown), "the first daemon continues");
    journal.close().await;
    assert_eq!(fixture.open().lookup(&key("a")).await, Ok(ORPHANED));
}

#[tokio::test]
async fn directory_and_files_are_private() {
    let mut fixture = FileJournalFixture::new();
    fixture.settings.dir = fixture.dir.path().join("several/new/levels");
    drop(fixture.open());
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.settings.dir), 0o700);
    for entry in fs::read_dir(&fixture.settings.dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn journal_is_complete_when_neither_new_nor_shared() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    assert!(!journal.is_complete(), "the journal is new");
    fixture.end_doubt(&journal);
    journal.close().await;
    let journal = fixture.open();
    assert!(journal.is_complete());
    journal.clone().set_shared_queue();
    assert!(!journal.is_complete());
}

#[tokio::test]
async fn torn_tail_is_cut_at_the_last_batch() {
    let fixture = FileJournalFixture::new().with_one_segment().with_finished_sends(3).await;
    let before = length(&fixture.log(1));
    let journal = fixture.open();
    journal.record_outcome(&key("last"), outcome("{\"a\":1}")).await.expect("available");
    journal.close().await;
    for end in before..length(&fixture.log(1)) {
        let torn = fixture.crash();
        fs::File::options().write(true).open(torn.log(1)).and_then(|log| log.set_len(end)).expect("torn");
        let journal = torn.open();
        assert_eq!(torn.take_events().iter().any(|event| event.starts_with("TornTailCut")), end > before);
        assert_eq!(journal.lookup(&key("last")).await, Ok(Record::Unknown));
        assert_eq!(journal.lookup(&key("id-2")).await, Ok(Record::Finished(outcome("{}"))));
        journal.record_outcome(&key("next"), outcome("{}")).await.expect("available");
        let successor = torn.crash();
        let journal = successor.open();
        assert_eq!(journal.lookup(&key("next")).await, Ok(Record::Finished(outcome("{}"))));
    }
}

#[tokio::test]
async fn batch_damaged_at_its_start_is_cut_whole() {
    let fixture = FileJournalFixture::new().with_one_segment().with_finished_sends(2).await;
    let before = length(&fixture.log(1));
    let journal = fixture.open();
    let keys: Vec<_> = (0..50).map(|number| key(&format!("late-{number}"))).collect();
    // All are requested before the writer can take the first.
    let batch = futures_util::future::join_all(keys.iter().map(|key| journal.record_outcome(key, outcome("{}"))));
    assert!(batch.await.iter().all(Result::is_ok));
    journal.close().await;
    flip(&fixture.log(1), before + 9);
    let opened = fixture.try_open();
    // It fails if the writer was fast enough to make two batches, as damage before a later batch is an error.
    if let Ok(journal) = opened {
        assert_eq!(journal.lookup(&keys[0]).await, Ok(Record::Unknown));
        assert_eq!(journal.lookup(&key("id-1")).await, Ok(Record::Finished(outcome("{}"))));
    }
}

#[tokio::test]
async fn damage_before_later_batches_fails_with_its_offset() {
    let fixture = FileJournalFixture::new().with_one_segment().with_finished_sends(3).await;
    for offset in 24..length(&fixture.log(1)) * 2 / 3 {
        let damaged = fixture.crash();
        flip(&damaged.log(1), offset);
        let error = damaged.try_open().expect_err("damaged").to_string();
        let names_place = error.contains(&damaged.log(1).display().to_string()) && error.contains("at byte ");
        assert!(names_place && error.contains("restore"), "{error}");
    }
}

#[tokio::test]
async fn damaged_sealed_record_is_unavailable_until_repaired() {
    let fixture = FileJournalFixture::new().with_finished_sends(12).await;
    flip(&fixture.log(1), 24 + 8 + 20);
    let journal = fixture.open();
    assert_eq!(journal.lookup(&key("id-4")).await, Ok(Record::Finished(outcome("{}"))));
    let error = journal.start_attempt(&key("id-0")).await.expect_err("damaged").to_string();
    assert!(error.contains(&fixture.log(1).display().to_string()) && error.contains("at byte 24"), "{error}");
    fixture.wait_for_event("Unavailable");
    journal.start_attempt(&key("new")).await.expect_err("no attempt starts while a record cannot be read");
    flip(&fixture.log(1), 24 + 8 + 20);
    fixture.wait_for_event("Available");
    assert_eq!(journal.start_attempt(&key("id-0")).await, Ok(Record::Finished(outcome("{}"))));
    assert_eq!(journal.start_attempt(&key("new")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn log_shorter_than_its_index_is_corrupt() {
    let fixture = FileJournalFixture::new().with_finished_sends(12).await;
    fixture.open().close().await;
    let shorter = length(&fixture.log(1)) - 1;
    fs::File::options().write(true).open(fixture.log(1)).and_then(|log| log.set_len(shorter)).expect("cut");
    assert!(fixture.try_open().expect_err("cut").to_string().contains("is corrupt"));
}

#[tokio::test]
async fn damaged_or_missing_index_is_rebuilt_or_reported() {
    let fixture = FileJournalFixture::new().with_finished_sends(12).await;
    let offsets: Vec<_> = (0..length(&fixture.index(1))).step_by(61).map(Some).chain([None]).collect();
    for damage in offsets {
        let fixture = fixture.crash();
        match damage {
            Some(offset) => flip(&fixture.index(1), offset),
            None => fs::remove_file(fixture.index(1)).expect("removed"),
        }
        let journal = fixture.open();
        for number in 0..12 {
            let record = journal.lookup(&key(&format!("id-{number}"))).await;
            // A damaged page is reported when it is read, damage of the tail at opening.
            let is_refused = record.as_ref().is_err_and(|error| error.to_string().contains("remove this one file"));
            assert!(
                is_refused || record == Ok(Record::Finished(outcome("{}"))),
                "byte {damage:?}, {number}: {record:?}"
            );
        }
        let events = fixture.take_events();
        let is_reported =
            events.iter().any(|event| event.starts_with("IndexRebuilt") || event.starts_with("Unavailable"));
        assert!(is_reported || damage.is_some_and(|offset| (4084..4096).contains(&offset)), "byte {damage:?}");
    }
}

#[tokio::test]
async fn missing_or_damaged_header_is_refused() {
    let fixture = FileJournalFixture::new().with_finished_sends(3).await;
    let header = fixture.dir.path().join("header");
    for offset in 0..length(&header) {
        flip(&header, offset);
        assert!(matches!(fixture.try_open(), Err(OpenError::NoHeader { .. })), "byte {offset}");
        flip(&header, offset);
    }
    fs::remove_file(&header).expect("removed");
    let error = fixture.try_open().expect_err("no header").to_string();
    assert!(error.contains(&header.display().to_string()) && error.contains("restore"), "{error}");
}

#[tokio::test]
async fn missing_segment_loses_its_index() {
    let fixture = FileJournalFixture::new().with_finished_sends(17).await;
    fs::remove_file(fixture.log(2)).expect("removed");
    drop(fixture.open());
    assert!(!fixture.index(2).exists(), "an index without its log is removed");
}

#[tokio::test]
async fn segment_without_durable_header_is_recreated() {
    let fixture = FileJournalFixture::new().with_finished_sends(5).await;
    let last = *fixture.segments().last().expect("a segment");
    for content in [Vec::new(), vec![0; 10], vec![0; 1000], b"EDNALOG1".to_vec()] {
        let fixture = fixture.crash();
        fs::write(fixture.log(last + 1), &content).expect("written");
        let journal = fixture.open();
        assert_eq!(journal.start_attempt(&key("new")).await, Ok(Record::Unknown));
        assert_eq!(journal.lookup(&key("id-4")).await, Ok(Record::Finished(outcome("{}"))));
        assert!(journal.is_complete());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Random bytes behind the last batch change neither its records nor later ones.
    #[test]
    fn random_tail_is_cut(tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let fixture = FileJournalFixture::new().with_one_segment();
            let journal = fixture.open();
            journal.start_attempt(&key("a")).await.expect("available");
            journal.finish_attempt(&key("a"), CERTAIN).await.expect("available");
            journal.close().await;
            let mut log = fs::read(fixture.log(1)).expect("a log");
            log.extend(&tail);
            fs::write(fixture.log(1), log).expect("written");
            let journal = fixture.open();
            assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING));
            journal.record_outcome(&key("a"), outcome("{}")).await.expect("available");
            journal.close().await;
            assert_eq!(fixture.open().lookup(&key("a")).await, Ok(Record::Finished(outcome("{}"))));
        });
    }
}
