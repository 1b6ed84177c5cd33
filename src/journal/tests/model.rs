//! Random steps, compared with a reference model.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::fixture::{CERTAIN, JournalFixture, UNCERTAIN, WAITING_UNCERTAIN, key, outcome, pending, published};
use crate::{
    domain::journal::{AttemptHistory, Record, RecordedOutcome, SendKey},
    ports::Journal,
};

/// A send that no step names.
const OTHER: u8 = 4;

/// A journal call on one of four sends, or a crash.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Lookup(u8),
    StartAttempt(u8),
    FinishAttempt(u8, AttemptHistory),
    RecordOutcome(u8, bool),
    RecordLetterStored(u8),
    RecordPublished(u8),
    RecordDoubt(u8),
    RecordUnposted(u8, AttemptHistory),
    Crash,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = 0..4_u8;
    let history = || (0..9_u32, any::<bool>()).prop_map(|(counted, uncertain)| AttemptHistory { counted, uncertain });
    let step = prop_oneof![
        2 => send.clone().prop_map(Step::Lookup),
        6 => send.clone().prop_map(Step::StartAttempt),
        4 => (send.clone(), history()).prop_map(|(send, history)| Step::FinishAttempt(send, history)),
        2 => (send.clone(), any::<bool>()).prop_map(|(send, letter_pending)| Step::RecordOutcome(send, letter_pending)),
        1 => send.clone().prop_map(Step::RecordLetterStored),
        1 => send.clone().prop_map(Step::RecordPublished),
        1 => send.clone().prop_map(Step::RecordDoubt),
        1 => (send, history()).prop_map(|(send, history)| Step::RecordUnposted(send, history)),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// The reference model: the specified behaviour without storage.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReferenceModel {
    records: BTreeMap<SendKey, (Record, AttemptHistory)>,
}

impl ReferenceModel {
    /// The record, and the attempts before the present one.
    fn get(&self, key: &SendKey) -> (Record, AttemptHistory) {
        self.records.get(key).cloned().unwrap_or((Record::Unknown, CERTAIN))
    }

    pub(crate) fn lookup(&self, key: &SendKey) -> Record {
        self.get(key).0
    }

    fn start_attempt(&mut self, key: &SendKey) -> Record {
        let (before, history) = self.get(key);
        if before.allows_attempt() {
            let uncertain = history.uncertain || matches!(before, Record::Orphaned { .. });
            self.records.insert(key.clone(), (Record::InProgress, AttemptHistory { uncertain, ..history }));
        }
        before
    }

    fn finish_attempt(&mut self, key: &SendKey, history: AttemptHistory) {
        let uncertain = history.uncertain || self.get(key).1.uncertain;
        let history = AttemptHistory { uncertain, ..history };
        self.records.insert(key.clone(), (Record::Waiting(history), history));
    }

    fn record_outcome(&mut self, key: &SendKey, recorded: RecordedOutcome) {
        self.records.insert(key.clone(), (Record::Finished(recorded), CERTAIN));
    }

    fn record_published(&mut self, key: &SendKey) {
        if let Record::Finished(recorded) = self.lookup(key) {
            self.record_outcome(key, published(recorded));
        }
    }

    fn record_doubt(&mut self, key: &SendKey) {
        self.records.entry(key.clone()).or_insert((WAITING_UNCERTAIN, UNCERTAIN));
    }

    fn record_unposted(&mut self, key: &SendKey, history: AttemptHistory) {
        self.records.entry(key.clone()).or_insert((Record::Waiting(history), history));
    }

    fn record_letter_stored(&mut self, key: &SendKey) {
        if let Record::Finished(recorded) = self.lookup(key) {
            self.record_outcome(key, RecordedOutcome { letter_pending: false, ..recorded });
        }
    }

    pub(crate) fn crash(&mut self) {
        for (record, history) in self.records.values_mut().filter(|(record, _)| *record == Record::InProgress) {
            *record = Record::Orphaned { counted: history.counted };
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
        Step::FinishAttempt(id, history) if model.lookup(&send(id)) == Record::InProgress => {
            model.finish_attempt(&send(id), history);
            assert_eq!(journal.finish_attempt(&send(id), history).await, Ok(()), "step {number}");
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
        Step::RecordPublished(id) if matches!(model.lookup(&send(id)), Record::Finished(_)) => {
            model.record_published(&send(id));
            assert_eq!(journal.record_published(&send(id)).await, Ok(()), "step {number}");
            // Durable with a later change only.
            model.start_attempt(&send(OTHER));
            journal.start_attempt(&send(OTHER)).await.expect("available");
            model.finish_attempt(&send(OTHER), CERTAIN);
            journal.finish_attempt(&send(OTHER), CERTAIN).await.expect("available");
        }
        Step::RecordDoubt(id) => {
            model.record_doubt(&send(id));
            assert_eq!(journal.record_doubt(&send(id)).await, Ok(()), "step {number}");
        }
        Step::RecordUnposted(id, history) => {
            model.record_unposted(&send(id), history);
            assert_eq!(journal.record_unposted(&send(id), history).await, Ok(()), "step {number}");
        }
        Step::FinishAttempt(..)
        | Step::RecordOutcome(..)
        | Step::RecordLetterStored(_)
        | Step::RecordPublished(_)
        | Step::Crash => {}
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
