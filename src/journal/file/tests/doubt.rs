//! The journal's doubt: it is on record until its time is over, or until the daemon ends it.

use std::{fs, time::Duration};

use super::fixture::FileJournalFixture;
use crate::{
    domain::journal::{Doubt, Record},
    journal::tests::contract::{CERTAIN, WAITING, key, outcome},
    ports::Journal,
};

/// Opens the journal and closes it; returns whether it was in doubt.
async fn is_in_doubt(fixture: &FileJournalFixture) -> bool {
    let journal = fixture.open();
    let doubt = journal.doubt();
    journal.close().await;
    assert_ne!(doubt, Doubt::SharedQueue);
    doubt == Doubt::SoleOwner
}

#[tokio::test]
async fn new_journal_is_in_doubt_over_restarts() {
    let fixture = FileJournalFixture::new();
    assert!(is_in_doubt(&fixture).await);
    assert!(is_in_doubt(&fixture).await, "after a restart");
    assert!(is_in_doubt(&fixture.crash()).await, "after a crash");
    fixture.advance(Duration::from_hours(71));
    assert!(is_in_doubt(&fixture).await, "records are kept for 72 h");
    fixture.advance(Duration::from_hours(2));
    assert!(!is_in_doubt(&fixture).await);
}

#[tokio::test]
async fn doubt_lasts_an_hour_at_least() {
    let mut fixture = FileJournalFixture::new();
    fixture.settings.retention = Duration::from_secs(60);
    assert!(is_in_doubt(&fixture).await);
    fixture.advance(Duration::from_mins(59));
    assert!(is_in_doubt(&fixture).await);
    fixture.advance(Duration::from_mins(2));
    assert!(!is_in_doubt(&fixture).await);
}

#[tokio::test]
async fn ended_doubt_stays_ended_over_crashes() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    fixture.end_doubt(&journal);
    assert!(journal.is_complete());
    assert!(!is_in_doubt(&fixture.crash()).await);
}

#[tokio::test]
async fn first_middle_or_last_missing_segment_is_doubt() {
    let fixture = FileJournalFixture::new().with_finished_sends(17).await;
    let segments = fixture.segments();
    assert!(segments.len() >= 4 && !is_in_doubt(&fixture.crash()).await);
    for missing in segments {
        let fixture = fixture.crash();
        fs::remove_file(fixture.log(missing)).expect("removed");
        let reported = || fixture.take_events().contains(&format!("SegmentMissing {{ number: {missing} }}"));
        assert!(is_in_doubt(&fixture).await && reported(), "segment {missing}");
        assert!(is_in_doubt(&fixture).await && !reported(), "segment {missing}, after a restart");
    }
}

#[tokio::test]
async fn all_segments_or_emptied_newest_one_missing_is_doubt() {
    let fixture = FileJournalFixture::new().with_finished_sends(17).await;
    let newest = *fixture.segments().last().expect("a segment");
    let emptied = fixture.crash();
    fs::write(emptied.log(newest), b"").expect("written");
    assert!(is_in_doubt(&emptied).await);
    let gone = fixture.crash();
    gone.segments().into_iter().for_each(|number| fs::remove_file(gone.log(number)).expect("removed"));
    assert!(is_in_doubt(&gone).await && is_in_doubt(&gone).await);
}

#[tokio::test]
async fn retention_and_rotation_are_no_doubt() {
    let fixture = FileJournalFixture::new().with_finished_sends(12).await;
    for hours in [50, 50, 50] {
        fixture.advance(Duration::from_hours(hours));
        let journal = fixture.open();
        journal.record_outcome(&key(&format!("after-{hours}")), outcome("{}")).await.expect("available");
        (0..5).for_each(|_| drop(fixture.wait_for_event("Size")));
        journal.close().await;
        assert!(!is_in_doubt(&fixture.crash()).await);
    }
    assert!(!fixture.log(1).exists(), "expired segments are removed");
    assert!(!fixture.take_events().iter().any(|event| event.starts_with("SegmentMissing")));
}

#[tokio::test]
async fn early_removal_is_doubt_that_the_daemon_cannot_end() {
    let mut fixture = FileJournalFixture::new();
    fixture.settings.max_bytes = 60_000;
    let fixture = fixture.with_finished_sends(0).await;
    let journal = fixture.open();
    for number in 0..300 {
        let event = outcome(&"x".repeat(500));
        journal.record_outcome(&key(&format!("id-{number}")), event).await.expect("available");
    }
    fixture.wait_for_event("DroppedEarly");
    journal.end_former_doubt();
    journal.record_outcome(&key("later"), outcome("{}")).await.expect("available");
    assert_eq!(journal.doubt(), Doubt::SoleOwner);
    journal.close().await;
    assert!(is_in_doubt(&fixture).await, "after a restart");
    fixture.advance(Duration::from_hours(73));
    assert!(!is_in_doubt(&fixture).await, "the lost records would have expired by now");
}

#[tokio::test]
async fn early_removal_with_unwritable_header_is_doubt() {
    let mut fixture = FileJournalFixture::new();
    fixture.settings.max_bytes = 20_000;
    let fixture = fixture.with_finished_sends(8).await;
    let journal = fixture.open();
    let draft = fixture.dir.path().join("header.draft");
    fs::create_dir(&draft).expect("created");
    journal.record_outcome(&key("large"), outcome(&"x".repeat(20_000))).await.expect("available");
    fixture.wait_for_event("DroppedEarly");
    assert!(fixture.wait_for_event("Unavailable").contains("header"));
    assert_eq!(journal.doubt(), Doubt::SoleOwner);
    fs::remove_dir(&draft).expect("removed");
    fixture.wait_for_event("Available");
    assert_eq!(journal.doubt(), Doubt::SoleOwner);
    assert!(is_in_doubt(&fixture.crash()).await, "after a crash");
}

#[tokio::test]
async fn shared_queue_is_doubt_beyond_the_process() {
    let fixture = FileJournalFixture::new().with_finished_sends(1).await;
    assert!(!is_in_doubt(&fixture).await);
    let journal = fixture.open();
    journal.set_shared_queue();
    journal.end_former_doubt();
    journal.record_outcome(&key("later"), outcome("{}")).await.expect("available");
    assert_eq!(journal.doubt(), Doubt::SharedQueue);
    assert!(is_in_doubt(&fixture.crash()).await, "after a crash");
    // Renewed while the queue is shared.
    fixture.advance(Duration::from_hours(100));
    fixture.take_events();
    (0..2).for_each(|_| drop(fixture.wait_for_event("Size")));
    journal.close().await;
    fixture.advance(Duration::from_hours(71));
    assert!(is_in_doubt(&fixture).await, "after a restart");
    let journal = fixture.open();
    fixture.take_events();
    fixture.end_doubt(&journal);
    journal.close().await;
    assert!(!is_in_doubt(&fixture).await, "ended by the next process");
}

#[tokio::test]
async fn unposted_is_recorded_only_by_a_sole_owner_in_doubt() {
    let fixture = FileJournalFixture::new();
    let journal = fixture.open();
    journal.record_unposted(&key("in-doubt"), CERTAIN).await.expect("available");
    fixture.end_doubt(&journal);
    journal.record_unposted(&key("complete"), CERTAIN).await.expect("available");
    journal.set_shared_queue();
    journal.record_unposted(&key("shared"), CERTAIN).await.expect("available");
    assert_eq!(journal.lookup(&key("in-doubt")).await, Ok(WAITING));
    for id in ["complete", "shared"] {
        assert_eq!(journal.lookup(&key(id)).await, Ok(Record::Unknown), "{id}");
    }
}

#[tokio::test]
async fn doubt_recorded_with_a_clock_ahead_is_capped() {
    let fixture = FileJournalFixture::new();
    fixture.set_clock_ahead(Duration::from_hours(100_000));
    assert!(is_in_doubt(&fixture).await);
    let fixture = FileJournalFixture::at(fixture.dir.copy());
    assert!(is_in_doubt(&fixture).await, "the clock is right again");
    fixture.advance(Duration::from_hours(73));
    assert!(!is_in_doubt(&fixture).await);
}
