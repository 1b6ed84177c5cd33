//! Directories of other versions of the format.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use super::fixture::{BEGIN_MS, FileJournalFixture};
use crate::{
    domain::journal::{Record, RecordedOutcome},
    journal::{
        OpenError,
        file::FileJournal,
        inspect_record, inspect_stats,
        tests::contract::{ORPHANED, WAITING, WAITING_UNCERTAIN, key, published, replay},
    },
    ports::Journal,
};

/// A journal that version 0.1.0 wrote, in the format 1.
const VERSION_0_1_0: &str = "tests/data/journal-0.1.0";

/// A copy of that journal, created this long before the present.
fn version_1(age: Duration) -> FileJournalFixture {
    let fixture = FileJournalFixture::new();
    fs::create_dir_all(fixture.dir.path()).expect("a directory");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(VERSION_0_1_0)).expect("the fixture") {
        let entry = entry.expect("an entry");
        fs::write(fixture.dir.path().join(entry.file_name()), fs::read(entry.path()).expect("a file")).expect("copied");
    }
    let created = UNIX_EPOCH + Duration::from_millis(BEGIN_MS.unsigned_abs()) - age;
    let header = File::options().write(true).open(fixture.dir.path().join("header")).expect("a header");
    header.set_modified(created).expect("set");
    fixture
}

async fn check_records(journal: &FileJournal) {
    let outcome_of = async |id: &str| match journal.lookup(&key(id)).await.expect("available") {
        Record::Finished(RecordedOutcome { event, letter_pending, published }) => {
            (String::from_utf8_lossy(&event).contains(id), letter_pending, published)
        }
        other => panic!("{id}: {other:?}"),
    };
    assert_eq!(outcome_of("sent").await, (true, false, false), "whether its event was confirmed is unknown");
    assert_eq!(outcome_of("rejected").await, (true, true, false));
    assert_eq!(outcome_of("stored").await, (true, false, false));
    assert_eq!(journal.lookup(&key("waiting")).await, Ok(WAITING));
    assert_eq!(journal.lookup(&key("uncertain")).await, Ok(WAITING_UNCERTAIN));
    assert_eq!(journal.lookup(&replay("started", 1)).await, Ok(ORPHANED));
    assert_eq!(journal.lookup(&key("started")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn directory_of_0_1_0_is_read_and_continued() {
    let fixture = version_1(Duration::from_hours(100));
    let stats = inspect_stats(fixture.dir.path()).expect("a journal");
    assert_eq!((stats.entries, stats.segments), (7, 2), "one send is in both segments");
    assert_eq!(inspect_record(fixture.dir.path(), &key("waiting")).expect("readable").expect("there").record, WAITING);
    let journal = fixture.open();
    assert!(journal.is_complete());
    check_records(&journal).await;
    let Ok(Record::Finished(sent)) = journal.lookup(&key("sent")).await else { panic!("no outcome") };
    journal.record_published(&key("sent")).await.expect("available");
    journal.start_attempt(&key("new")).await.expect("available");
    let fixture = fixture.crash();
    let journal = fixture.open();
    assert!(journal.is_complete());
    assert_eq!(journal.lookup(&key("new")).await, Ok(ORPHANED));
    assert_eq!(journal.lookup(&key("sent")).await, Ok(Record::Finished(published(sent))), "in another segment");
    assert_eq!(journal.lookup(&key("uncertain")).await, Ok(WAITING_UNCERTAIN));
    assert_eq!(inspect_stats(fixture.dir.path()).expect("a journal").segments, 2);
}

#[tokio::test]
async fn young_directory_of_0_1_0_is_in_doubt() {
    let fixture = version_1(Duration::from_mins(10));
    let journal = fixture.open();
    assert!(!journal.is_complete(), "it may have replaced a lost one");
    check_records(&journal).await;
    journal.close().await;
    assert!(!fixture.open().is_complete(), "also as version 2");
}

#[tokio::test]
async fn directory_of_newer_version_is_refused() {
    let fixture = FileJournalFixture::new();
    fixture.open().close().await;
    let path = fixture.dir.path().join("header");
    let mut header = fs::read(&path).expect("a header");
    header[7] = b'3';
    let crc_at = header.len() - 4;
    let crc = crc32fast::hash(&header[..crc_at]);
    header[crc_at..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &header).expect("written");
    let error = fixture.try_open().expect_err("newer");
    assert!(matches!(error, OpenError::NewerVersion { version: '3', newest: '2', .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()) && text.contains("run the newer version"), "{text}");
    assert_eq!(inspect_stats(fixture.dir.path()).expect_err("newer").to_string(), text);
    assert_eq!(fs::read(&path).expect("a header"), header, "unchanged");
}
