//! The contract of every journal that records: one test for each guarantee, run against each implementation.
//!
//! `contract_tests!(fixture)` defines the tests; `fixture` is an expression for a new [`JournalFixture`]. All steps
//! keep the port's protocol: for one send `start_attempt`, then either `finish_attempt` or `record_outcome`.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use futures_util::future::join_all;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    domain::{
        command::CommandId,
        journal::{Record, RecordedOutcome, SendKey},
    },
    ports::Journal,
};

/// A store, and owners of it that crash one after the other.
pub(crate) trait JournalFixture: Sized {
    type Journal: Journal;

    /// Opens an empty store as its first owner.
    fn open(&mut self) -> impl Future<Output = Self::Journal>;

    /// Ends the owner as `kill -9` does, so that only durable changes remain, and opens the store as the next owner.
    fn crash(&mut self, owner: Self::Journal) -> impl Future<Output = Self::Journal>;
}

/// Defines the contract's tests for one fixture.
macro_rules! contract_tests {
    ($fixture:expr) => {
        $crate::journal::tests::contract::contract_tests!(@ $fixture;
            start_of_unknown_send_makes_it_in_progress, lookup_changes_nothing, start_in_progress_is_refused,
            concurrent_starts_grant_one, finished_attempt_is_waiting_and_can_start, uncertainty_persists,
            start_of_crashed_owner_is_orphaned, orphaned_start_stays_uncertain, outcome_is_returned_unchanged,
            outcome_is_final, outcome_without_start_is_recorded, letter_is_pending_until_stored, replay_has_own_record,
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

pub(crate) fn key(id: &str) -> SendKey {
    replay(id, 0)
}

pub(crate) fn replay(id: &str, replay: u32) -> SendKey {
    SendKey { command_id: CommandId::new(id).expect("an id"), replay }
}

pub(crate) fn outcome(event: &str) -> RecordedOutcome {
    RecordedOutcome { event: Bytes::copy_from_slice(event.as_bytes()), letter_pending: false }
}

pub(crate) fn pending(event: &str) -> RecordedOutcome {
    RecordedOutcome { letter_pending: true, ..outcome(event) }
}

pub(crate) const WAITING: Record = Record::Waiting { uncertain: false };
pub(crate) const WAITING_UNCERTAIN: Record = Record::Waiting { uncertain: true };

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
        assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Orphaned));
    }
}

pub(crate) async fn start_in_progress_is_refused(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(journal.clone().start_attempt(&key("a")).await, Ok(Record::InProgress), "a clone is the same owner");
    // The refused start is not another attempt to finish.
    assert_eq!(journal.finish_attempt(&key("a"), false).await, Ok(()));
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
    assert_eq!(journal.finish_attempt(&key("a"), false).await, Ok(()));
    assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING));
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(WAITING), "the attempt was finished before the crash");
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::InProgress));
}

pub(crate) async fn uncertainty_persists(mut fixture: impl JournalFixture) {
    let mut journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    assert_eq!(journal.finish_attempt(&key("a"), true).await, Ok(()));
    for _ in 0..2 {
        assert_eq!(journal.start_attempt(&key("a")).await, Ok(WAITING_UNCERTAIN));
        assert_eq!(journal.finish_attempt(&key("a"), false).await, Ok(()));
        assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING_UNCERTAIN));
        journal = fixture.crash(journal).await;
    }
}

pub(crate) async fn start_of_crashed_owner_is_orphaned(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    let journal = fixture.crash(journal).await;
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Orphaned), "after a second crash");
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Orphaned));
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
}

pub(crate) async fn orphaned_start_stays_uncertain(mut fixture: impl JournalFixture) {
    let journal = fixture.open().await;
    journal.start_attempt(&key("a")).await.expect("available");
    let journal = fixture.crash(journal).await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Orphaned));
    assert_eq!(journal.finish_attempt(&key("a"), false).await, Ok(()));
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
    journal.finish_attempt(&key("waiting"), true).await.expect("available");
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
        let recorded = RecordedOutcome { event: event.clone(), letter_pending: number == 1 };
        journal.record_outcome(&key(&format!("e{number}")), recorded).await.expect("available");
    }
    let journal = fixture.crash(journal).await;
    for (number, event) in events.iter().enumerate() {
        let recorded = RecordedOutcome { event: event.clone(), letter_pending: number == 1 };
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

// --- Random steps ---

/// A journal call on one of four sends, or a crash.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Lookup(u8),
    StartAttempt(u8),
    FinishAttempt(u8, bool),
    RecordOutcome(u8, bool),
    RecordLetterStored(u8),
    Crash,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = 0..4_u8;
    let step = prop_oneof![
        2 => send.clone().prop_map(Step::Lookup),
        6 => send.clone().prop_map(Step::StartAttempt),
        4 => (send.clone(), any::<bool>()).prop_map(|(send, uncertain)| Step::FinishAttempt(send, uncertain)),
        2 => (send.clone(), any::<bool>()).prop_map(|(send, letter_pending)| Step::RecordOutcome(send, letter_pending)),
        1 => send.prop_map(Step::RecordLetterStored),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// The reference model: the specified behaviour without storage.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReferenceModel {
    records: BTreeMap<SendKey, (Record, bool)>,
}

impl ReferenceModel {
    /// The record, and whether an earlier attempt is uncertain.
    fn get(&self, key: &SendKey) -> (Record, bool) {
        self.records.get(key).cloned().unwrap_or((Record::Unknown, false))
    }

    pub(crate) fn lookup(&self, key: &SendKey) -> Record {
        self.get(key).0
    }

    fn start_attempt(&mut self, key: &SendKey) -> Record {
        let (before, uncertain) = self.get(key);
        if before.allows_attempt() {
            let uncertain = uncertain || before == Record::Orphaned;
            self.records.insert(key.clone(), (Record::InProgress, uncertain));
        }
        before
    }

    fn finish_attempt(&mut self, key: &SendKey, uncertain: bool) {
        let uncertain = uncertain || self.get(key).1;
        self.records.insert(key.clone(), (Record::Waiting { uncertain }, uncertain));
    }

    fn record_outcome(&mut self, key: &SendKey, recorded: RecordedOutcome) {
        self.records.insert(key.clone(), (Record::Finished(recorded), false));
    }

    fn record_letter_stored(&mut self, key: &SendKey) {
        if let Record::Finished(recorded) = self.lookup(key) {
            self.record_outcome(key, RecordedOutcome { letter_pending: false, ..recorded });
        }
    }

    pub(crate) fn crash(&mut self) {
        for (record, _) in self.records.values_mut().filter(|(record, _)| *record == Record::InProgress) {
            *record = Record::Orphaned;
        }
    }
}

static RUNS: AtomicU32 = AtomicU32::new(0);

/// Applies the steps to the journal and the model and compares every result.
async fn run_steps<F: JournalFixture>(fixture: &mut F, owner: F::Journal, steps: &[Step]) -> F::Journal {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let send = |number: u8| key(&format!("run-{run}-{number}"));
    let (mut journal, mut model) = (owner, ReferenceModel::default());
    for (number, step) in steps.iter().enumerate() {
        apply_step(*step, number, &send, &journal, &mut model).await;
        if matches!(step, Step::Crash) {
            journal = fixture.crash(journal).await;
            model.crash();
        }
    }
    for key in (0..4).map(send) {
        assert_eq!(journal.lookup(&key).await, Ok(model.lookup(&key)), "after {steps:?}");
    }
    journal
}

/// Applies one step; skips a step that the protocol does not allow.
pub(crate) async fn apply_step(
    step: Step,
    number: usize,
    send: &impl Fn(u8) -> SendKey,
    journal: &impl Journal,
    model: &mut ReferenceModel,
) {
    let event = format!("{{\"step\":{number}}}");
    match step {
        Step::Lookup(id) => assert_eq!(journal.lookup(&send(id)).await, Ok(model.lookup(&send(id))), "step {number}"),
        Step::StartAttempt(id) => {
            assert_eq!(journal.start_attempt(&send(id)).await, Ok(model.start_attempt(&send(id))), "step {number}")
        }
        Step::FinishAttempt(id, uncertain) if model.lookup(&send(id)) == Record::InProgress => {
            model.finish_attempt(&send(id), uncertain);
            assert_eq!(journal.finish_attempt(&send(id), uncertain).await, Ok(()), "step {number}");
        }
        Step::RecordOutcome(id, letter_pending) if !matches!(model.lookup(&send(id)), Record::Finished(_)) => {
            let recorded = if letter_pending { pending(&event) } else { outcome(&event) };
            model.record_outcome(&send(id), recorded.clone());
            assert_eq!(journal.record_outcome(&send(id), recorded).await, Ok(()), "step {number}");
        }
        Step::RecordLetterStored(id) if matches!(model.lookup(&send(id)), Record::Finished(_)) => {
            model.record_letter_stored(&send(id));
            assert_eq!(journal.record_letter_stored(&send(id)).await, Ok(()), "step {number}");
        }
        Step::FinishAttempt(..) | Step::RecordOutcome(..) | Step::RecordLetterStored(_) | Step::Crash => {}
    }
}

pub(crate) async fn random_steps_match_the_model(mut fixture: impl JournalFixture) {
    let (mut runner, strategy) = (TestRunner::default(), steps());
    let mut journal = fixture.open().await;
    for _ in 0..25 {
        let steps = strategy.new_tree(&mut runner).expect("steps").current();
        journal = run_steps(&mut fixture, journal, &steps).await;
    }
}
