//! The contract of every journal that records: one test for each guarantee, run against each implementation.
//!
//! `contract_tests!(fixture)` defines the tests; `fixture` is an expression for a new [`JournalFixture`]. All steps
//! keep the port's protocol: for one send `start_attempt`, then either `finish_attempt` or `record_outcome`.

use bytes::Bytes;
use futures_util::future::join_all;

pub(crate) use super::{
    fixture::{
        CERTAIN, JournalFixture, ORPHANED, UNCERTAIN, WAITING, WAITING_UNCERTAIN, key, outcome, pending, published,
        replay,
    },
    model::random_steps_match_the_model,
};
use crate::{
    domain::journal::{AttemptHistory, Record, RecordedOutcome},
    ports::Journal,
};

/// Defines the contract's tests for one fixture.
macro_rules! contract_tests {
    ($fixture:expr) => {
        $crate::journal::tests::contract::contract_tests!(@ $fixture;
            start_of_unknown_send_makes_it_in_progress, lookup_changes_nothing, start_in_progress_is_refused,
            concurrent_starts_grant_one, finished_attempt_is_waiting_and_can_start, uncertainty_persists,
            start_of_crashed_owner_is_orphaned, orphaned_start_stays_uncertain, outcome_is_returned_unchanged,
            outcome_is_final, outcome_without_start_is_recorded, letter_is_pending_until_stored,
            published_outcome_stays_published, published_and_letter_are_independent, attempts_survive_crashes,
            doubt_is_recorded_only_without_record, unposted_is_recorded_only_without_record, replay_has_own_record,
            event_of_any_bytes_round_trips, concurrent_sends_do_not_mix, random_steps_match_the_model
        );
    };
    (@ $fixture:expr; $($name:ident),*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::journal::tests::contract::$name($fixture).await;
            }
        )*
    };
}
pub(crate) use contract_tests;

pub(crate) async fn start_of_unknown_send_makes_it_in_progress(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(journal.lookup(&key("b")).await, Ok(Record::Unknown));
}

pub(crate) async fn lookup_changes_nothing(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    for _ in 0..2 {
        assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Unknown));
    }
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    let journal = fixture.crash(journal).await;
    for _ in 0..2 {
        assert_eq!(journal.lookup(&key("a")).await, Ok(ORPHANED));
    }
}

pub(crate) async fn start_in_progress_is_refused(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(journal.clone().start_attempt(&key("a")).await, Ok(Record::InProgress), "a clone is the same owner");
    // The refused start is not another attempt to finish.
    assert_eq!(journal.finish_attempt(&key("a"), CERTAIN).await, Ok(()));
    assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING));
}

pub(crate) async fn concurrent_starts_grant_one(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    let records = join_all((0..50).map(|_| async { journal.start_attempt(&key("a")).await })).await;
    let granted = records.iter().filter(|record| record.as_ref().is_ok_and(Record::allows_attempt));
    assert_eq!(granted.count(), 1, "{records:?}");
    assert_eq!(records.iter().filter(|record| **record == Ok(Record::InProgress)).count(), 49, "{records:?}");
}

pub(crate) async fn finished_attempt_is_waiting_and_can_start(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    assert_eq!(journal.finish_attempt(&key("a"), CERTAIN).await, Ok(()));
    assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING));
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(WAITING), "the attempt was finished before the crash");
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::InProgress));
}

pub(crate) async fn uncertainty_persists(mut fixture: impl JournalFixture) {
    let mut journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    assert_eq!(journal.finish_attempt(&key("a"), UNCERTAIN).await, Ok(()));
    for _ in 0..2 {
        assert_eq!(journal.start_attempt(&key("a")).await, Ok(WAITING_UNCERTAIN));
        assert_eq!(journal.finish_attempt(&key("a"), CERTAIN).await, Ok(()));
        assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING_UNCERTAIN));
        journal = fixture.crash(journal).await;
    }
}

pub(crate) async fn start_of_crashed_owner_is_orphaned(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    let journal = fixture.crash(journal).await;
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(ORPHANED), "after a second crash");
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(ORPHANED));
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
}

pub(crate) async fn orphaned_start_stays_uncertain(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(ORPHANED));
    assert_eq!(journal.finish_attempt(&key("a"), CERTAIN).await, Ok(()));
    assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING_UNCERTAIN), "the crashed owner's request may have left");
}

pub(crate) async fn outcome_is_returned_unchanged(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    assert_eq!(journal.record_outcome(&key("a"), outcome(r#"{"outcome":"succeeded"}"#)).await, Ok(()));
    let record = Record::Finished(outcome(r#"{"outcome":"succeeded"}"#));
    assert_eq!(journal.lookup(&key("a")).await, Ok(record.clone()));
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(record.clone()));
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(record));
}

pub(crate) async fn outcome_is_final(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    journal.record_outcome(&key("a"), outcome("{}")).await.expect("available");
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Finished(outcome("{}"))));
    assert_eq!(
        journal.lookup(&key("a")).await,
        Ok(Record::Finished(outcome("{}"))),
        "the start must not change the record"
    );
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(outcome("{}"))));
}

pub(crate) async fn outcome_without_start_is_recorded(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("orphaned")).await.expect("available");
    journal.start_attempt(&key("waiting")).await.expect("available");
    journal.finish_attempt(&key("waiting"), UNCERTAIN).await.expect("available");
    let journal = fixture.crash(journal).await;
    for id in ["unknown", "orphaned", "waiting"] {
        assert_eq!(journal.record_outcome(&key(id), outcome(id)).await, Ok(()));
        assert_eq!(journal.lookup(&key(id)).await, Ok(Record::Finished(outcome(id))));
    }
}

pub(crate) async fn letter_is_pending_until_stored(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.record_outcome(&key("a"), pending("{}")).await.expect("available");
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(pending("{}"))));
    for _ in 0..2 {
        assert_eq!(journal.record_letter_stored(&key("a")).await, Ok(()));
        assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(outcome("{}"))));
    }
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(outcome("{}"))));
}

pub(crate) async fn published_outcome_stays_published(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.record_published(&key("unknown")).await.expect("available");
    journal.record_outcome(&key("a"), outcome("{}")).await.expect("available");
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(outcome("{}"))), "not confirmed before the crash");
    for _ in 0..2 {
        assert_eq!(journal.record_published(&key("a")).await, Ok(()));
        assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Finished(published(outcome("{}")))));
    }
    // Durable with a later change.
    journal.start_attempt(&key("b")).await.expect("available");
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(published(outcome("{}")))));
    assert_eq!(journal.lookup(&key("unknown")).await, Ok(Record::Unknown));
}

pub(crate) async fn published_and_letter_are_independent(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    for id in ["published-first", "letter-first"] {
        journal.record_outcome(&key(id), pending("{}")).await.expect("available");
    }
    journal.record_published(&key("published-first")).await.expect("available");
    assert_eq!(journal.lookup(&key("published-first")).await, Ok(Record::Finished(published(pending("{}")))));
    journal.record_letter_stored(&key("published-first")).await.expect("available");
    journal.record_letter_stored(&key("letter-first")).await.expect("available");
    assert_eq!(journal.lookup(&key("letter-first")).await, Ok(Record::Finished(outcome("{}"))));
    journal.record_published(&key("letter-first")).await.expect("available");
    journal.start_attempt(&key("later")).await.expect("available");
    let journal = fixture.crash(journal).await;
    for id in ["published-first", "letter-first"] {
        assert_eq!(journal.lookup(&key(id)).await, Ok(Record::Finished(published(outcome("{}")))), "{id}");
    }
}

pub(crate) async fn attempts_survive_crashes(mut fixture: impl JournalFixture) {
    let history = AttemptHistory { counted: 3, uncertain: false };
    let journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    assert_eq!(journal.finish_attempt(&key("a"), history).await, Ok(()));
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Waiting(history)));
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Orphaned { counted: 3 }));
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Orphaned { counted: 3 }));
    let history = AttemptHistory { counted: 5, ..history };
    journal.finish_attempt(&key("a"), history).await.expect("available");
    let uncertain = AttemptHistory { uncertain: true, ..history };
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Waiting(uncertain)));
}

pub(crate) async fn doubt_is_recorded_only_without_record(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("started")).await.expect("available");
    journal.start_attempt(&key("waiting")).await.expect("available");
    journal.finish_attempt(&key("waiting"), CERTAIN).await.expect("available");
    journal.record_outcome(&key("finished"), outcome("{}")).await.expect("available");
    for id in ["started", "waiting", "finished", "unknown"] {
        assert_eq!(journal.record_doubt(&key(id)).await, Ok(()), "{id}");
    }
    assert_eq!(journal.lookup(&key("started")).await, Ok(Record::InProgress));
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("waiting")).await, Ok(WAITING));
    assert_eq!(journal.lookup(&key("finished")).await, Ok(Record::Finished(outcome("{}"))));
    assert_eq!(journal.start_attempt(&key("unknown")).await, Ok(WAITING_UNCERTAIN));
    assert_eq!(journal.finish_attempt(&key("unknown"), CERTAIN).await, Ok(()));
    assert_eq!(journal.lookup(&key("unknown")).await, Ok(WAITING_UNCERTAIN));
}

pub(crate) async fn unposted_is_recorded_only_without_record(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("started")).await.expect("available");
    journal.record_doubt(&key("doubtful")).await.expect("available");
    journal.record_outcome(&key("finished"), outcome("{}")).await.expect("available");
    for id in ["started", "doubtful", "finished", "unknown"] {
        assert_eq!(journal.record_unposted(&key(id), CERTAIN).await, Ok(()), "{id}");
    }
    let posted = AttemptHistory { counted: 2, uncertain: true };
    assert_eq!(journal.record_unposted(&key("posted"), posted).await, Ok(()));
    assert_eq!(journal.lookup(&key("started")).await, Ok(Record::InProgress));
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("doubtful")).await, Ok(WAITING_UNCERTAIN));
    assert_eq!(journal.lookup(&key("finished")).await, Ok(Record::Finished(outcome("{}"))));
    assert_eq!(journal.start_attempt(&key("unknown")).await, Ok(WAITING));
    assert_eq!(journal.start_attempt(&key("posted")).await, Ok(Record::Waiting(posted)), "not as unposted");
}

pub(crate) async fn replay_has_own_record(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.record_outcome(&replay("a", 0), outcome("{}")).await.expect("available");
    assert_eq!(journal.start_attempt(&replay("a", 1)).await, Ok(Record::Unknown));
    assert_eq!(journal.lookup(&replay("a", 0)).await, Ok(Record::Finished(outcome("{}"))));
    assert_eq!(journal.lookup(&replay("a", 2)).await, Ok(Record::Unknown));
    // Keys that a plain concatenation would make equal.
    journal.record_outcome(&replay("b", 11), outcome("{}")).await.expect("available");
    for other in [replay("b1", 1), replay("b:1", 1), replay("b", 1), replay("b11", 0)] {
        assert_eq!(journal.lookup(&other).await, Ok(Record::Unknown), "{other:?}");
    }
}

pub(crate) async fn event_of_any_bytes_round_trips(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    let events = [Bytes::new(), Bytes::from_static(b"\0\xff\r\n"), Bytes::from(vec![b'x'; 64 * 1024])];
    for (number, event) in events.iter().enumerate() {
        let recorded = RecordedOutcome { event: event.clone(), letter_pending: number == 1, published: false };
        journal.record_outcome(&key(&format!("e{number}")), recorded).await.expect("available");
    }
    let journal = fixture.crash(journal).await;
    for (number, event) in events.iter().enumerate() {
        let recorded = RecordedOutcome { event: event.clone(), letter_pending: number == 1, published: false };
        assert_eq!(journal.lookup(&key(&format!("e{number}"))).await, Ok(Record::Finished(recorded)), "{number}");
    }
}

pub(crate) async fn concurrent_sends_do_not_mix(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    let ids: Vec<_> = (0..1_500).map(|number| format!("id-{number}")).collect();
    let sends = join_all(ids.iter().map(|id| async {
        let record = journal.start_attempt(&key(id)).await;
        assert_eq!(journal.record_outcome(&key(id), outcome(id)).await, Ok(()));
        record
    }));
    assert!(sends.await.iter().all(|record| *record == Ok(Record::Unknown)));
    let journal = fixture.crash(journal).await;
    for id in &ids {
        assert_eq!(journal.lookup(&key(id)).await, Ok(Record::Finished(outcome(id))));
    }
}
