//! What every journal that remembers must do, whatever it is made of.
//!
//! A journal passes when `contract!(lab)` does, `lab` being an expression for a fresh [`Lab`]. All steps keep to the port's
//! protocol: of one send `start`, then exactly one of `release` and `end`.

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

/// A store, and owners of it that die.
pub(crate) trait Lab: Sized {
    /// The kind of journal.
    type Journal: Journal;

    /// The first owner of an empty store.
    fn first(&mut self) -> impl Future<Output = Self::Journal>;

    /// The owner dies as if by `kill -9`: only what it had told durable is left. Then the next one opens the store.
    fn crash(&mut self, owner: Self::Journal) -> impl Future<Output = Self::Journal>;
}

/// One test a guarantee; every journal runs all of them.
macro_rules! contract {
    ($lab:expr) => {
        $crate::journal::tests::contract::contract!(@ $lab;
            an_unknown_send_is_free_and_then_held, looking_changes_nothing, what_is_held_is_not_started_again,
            of_many_starts_at_once_one_is_free, what_is_released_waits_and_is_free, uncertainty_sticks,
            a_dead_owners_start_is_orphaned, an_orphan_may_be_started_and_stays_uncertain, the_end_is_told_as_it_was,
            the_end_stays, an_end_needs_no_start, a_letter_is_owed_until_it_is_stored, a_replay_is_another_send,
            an_event_of_any_bytes_comes_back, many_sends_at_once_do_not_mix, any_walk_is_as_the_model_says
        );
    };
    (@ $lab:expr; $($name:ident),*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::journal::tests::contract::$name($lab).await;
            }
        )*
    };
}
pub(crate) use contract;

pub(crate) fn key(id: &str) -> SendKey {
    replay(id, 0)
}

pub(crate) fn replay(id: &str, replay: u32) -> SendKey {
    SendKey { command_id: CommandId::new(id).expect("an id"), replay }
}

pub(crate) fn ended(event: &str) -> RecordedOutcome {
    RecordedOutcome { event: Bytes::copy_from_slice(event.as_bytes()), letter_pending: false }
}

pub(crate) fn owing(event: &str) -> RecordedOutcome {
    RecordedOutcome { letter_pending: true, ..ended(event) }
}

pub(crate) const WAITING: Record = Record::Waiting { uncertain: false };
pub(crate) const WAITING_UNCERTAIN: Record = Record::Waiting { uncertain: true };

pub(crate) async fn an_unknown_send_is_free_and_then_held(mut lab: impl Lab) {
    let journal = lab.first().await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(journal.lookup(&key("b")).await, Ok(Record::Unknown));
}

pub(crate) async fn looking_changes_nothing(mut lab: impl Lab) {
    let journal = lab.first().await;
    for _ in 0..2 {
        assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Unknown));
    }
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    let journal = lab.crash(journal).await;
    for _ in 0..2 {
        assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Orphaned));
    }
}

pub(crate) async fn what_is_held_is_not_started_again(mut lab: impl Lab) {
    let journal = lab.first().await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
    assert_eq!(journal.clone().start_attempt(&key("a")).await, Ok(Record::InProgress), "a clone is the same owner");
    // The second start has not become another attempt that must be accounted for.
    assert_eq!(journal.finish_attempt(&key("a"), false).await, Ok(()));
    assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING));
}

pub(crate) async fn of_many_starts_at_once_one_is_free(mut lab: impl Lab) {
    let journal = lab.first().await;
    let records = join_all((0..50).map(|_| async { journal.start_attempt(&key("a")).await })).await;
    let free = records.iter().filter(|record| record.as_ref().is_ok_and(Record::allows_attempt));
    assert_eq!(free.count(), 1, "{records:?}");
    assert_eq!(records.iter().filter(|record| **record == Ok(Record::InProgress)).count(), 49, "{records:?}");
}

pub(crate) async fn what_is_released_waits_and_is_free(mut lab: impl Lab) {
    let journal = lab.first().await;
    journal.start_attempt(&key("a")).await.expect("available");
    assert_eq!(journal.finish_attempt(&key("a"), false).await, Ok(()));
    assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING));
    let journal = lab.crash(journal).await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(WAITING), "a release is accounted for, whoever owns it next");
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::InProgress));
}

pub(crate) async fn uncertainty_sticks(mut lab: impl Lab) {
    let mut journal = lab.first().await;
    journal.start_attempt(&key("a")).await.expect("available");
    assert_eq!(journal.finish_attempt(&key("a"), true).await, Ok(()));
    for _ in 0..2 {
        assert_eq!(journal.start_attempt(&key("a")).await, Ok(WAITING_UNCERTAIN));
        assert_eq!(journal.finish_attempt(&key("a"), false).await, Ok(()));
        assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING_UNCERTAIN));
        journal = lab.crash(journal).await;
    }
}

pub(crate) async fn a_dead_owners_start_is_orphaned(mut lab: impl Lab) {
    let journal = lab.first().await;
    journal.start_attempt(&key("a")).await.expect("available");
    let journal = lab.crash(journal).await;
    let journal = lab.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Orphaned), "also for the owner after the next");
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Orphaned));
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::InProgress));
}

pub(crate) async fn an_orphan_may_be_started_and_stays_uncertain(mut lab: impl Lab) {
    let journal = lab.first().await;
    journal.start_attempt(&key("a")).await.expect("available");
    let journal = lab.crash(journal).await;
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Orphaned));
    assert_eq!(journal.finish_attempt(&key("a"), false).await, Ok(()));
    assert_eq!(journal.lookup(&key("a")).await, Ok(WAITING_UNCERTAIN), "the dead owner's request may have left");
}

pub(crate) async fn the_end_is_told_as_it_was(mut lab: impl Lab) {
    let journal = lab.first().await;
    journal.start_attempt(&key("a")).await.expect("available");
    assert_eq!(journal.record_outcome(&key("a"), ended(r#"{"outcome":"succeeded"}"#)).await, Ok(()));
    let record = Record::Finished(ended(r#"{"outcome":"succeeded"}"#));
    assert_eq!(journal.lookup(&key("a")).await, Ok(record.clone()));
    let journal = lab.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(record.clone()));
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(record));
}

pub(crate) async fn the_end_stays(mut lab: impl Lab) {
    let journal = lab.first().await;
    journal.start_attempt(&key("a")).await.expect("available");
    journal.record_outcome(&key("a"), ended("{}")).await.expect("available");
    assert_eq!(journal.start_attempt(&key("a")).await, Ok(Record::Finished(ended("{}"))));
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(ended("{}"))), "the start changed nothing");
    let journal = lab.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(ended("{}"))));
}

pub(crate) async fn an_end_needs_no_start(mut lab: impl Lab) {
    let journal = lab.first().await;
    journal.start_attempt(&key("orphaned")).await.expect("available");
    journal.start_attempt(&key("waiting")).await.expect("available");
    journal.finish_attempt(&key("waiting"), true).await.expect("available");
    let journal = lab.crash(journal).await;
    for id in ["unknown", "orphaned", "waiting"] {
        assert_eq!(journal.record_outcome(&key(id), ended(id)).await, Ok(()));
        assert_eq!(journal.lookup(&key(id)).await, Ok(Record::Finished(ended(id))));
    }
}

pub(crate) async fn a_letter_is_owed_until_it_is_stored(mut lab: impl Lab) {
    let journal = lab.first().await;
    journal.record_outcome(&key("a"), owing("{}")).await.expect("available");
    let journal = lab.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(owing("{}"))));
    for _ in 0..2 {
        assert_eq!(journal.record_letter_stored(&key("a")).await, Ok(()));
        assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(ended("{}"))));
    }
    let journal = lab.crash(journal).await;
    assert_eq!(journal.lookup(&key("a")).await, Ok(Record::Finished(ended("{}"))));
}

pub(crate) async fn a_replay_is_another_send(mut lab: impl Lab) {
    let journal = lab.first().await;
    journal.record_outcome(&replay("a", 0), ended("{}")).await.expect("available");
    assert_eq!(journal.start_attempt(&replay("a", 1)).await, Ok(Record::Unknown));
    assert_eq!(journal.lookup(&replay("a", 0)).await, Ok(Record::Finished(ended("{}"))));
    assert_eq!(journal.lookup(&replay("a", 2)).await, Ok(Record::Unknown));
    // Ids that a careless key would run together.
    journal.record_outcome(&replay("b", 11), ended("{}")).await.expect("available");
    for other in [replay("b1", 1), replay("b:1", 1), replay("b", 1), replay("b11", 0)] {
        assert_eq!(journal.lookup(&other).await, Ok(Record::Unknown), "{other:?}");
    }
}

pub(crate) async fn an_event_of_any_bytes_comes_back(mut lab: impl Lab) {
    let journal = lab.first().await;
    let events = [Bytes::new(), Bytes::from_static(b"\0\xff\r\n"), Bytes::from(vec![b'x'; 64 * 1024])];
    for (number, event) in events.iter().enumerate() {
        let ended = RecordedOutcome { event: event.clone(), letter_pending: number == 1 };
        journal.record_outcome(&key(&format!("e{number}")), ended).await.expect("available");
    }
    let journal = lab.crash(journal).await;
    for (number, event) in events.iter().enumerate() {
        let ended = RecordedOutcome { event: event.clone(), letter_pending: number == 1 };
        assert_eq!(journal.lookup(&key(&format!("e{number}"))).await, Ok(Record::Finished(ended)), "{number}");
    }
}

pub(crate) async fn many_sends_at_once_do_not_mix(mut lab: impl Lab) {
    let journal = lab.first().await;
    let ids: Vec<_> = (0..1_500).map(|number| format!("id-{number}")).collect();
    let whole = join_all(ids.iter().map(|id| async {
        let record = journal.start_attempt(&key(id)).await;
        assert_eq!(journal.record_outcome(&key(id), ended(id)).await, Ok(()));
        record
    }));
    assert!(whole.await.iter().all(|record| *record == Ok(Record::Unknown)));
    let journal = lab.crash(journal).await;
    for id in &ids {
        assert_eq!(journal.lookup(&key(id)).await, Ok(Record::Finished(ended(id))));
    }
}

// --- Any walk ---

/// A step of a walk over a few sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Look(u8),
    Start(u8),
    Release(u8, bool),
    End(u8, bool),
    LetterStored(u8),
    Crash,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = 0..4_u8;
    let step = prop_oneof![
        2 => send.clone().prop_map(Step::Look),
        6 => send.clone().prop_map(Step::Start),
        4 => (send.clone(), any::<bool>()).prop_map(|(send, uncertain)| Step::Release(send, uncertain)),
        2 => (send.clone(), any::<bool>()).prop_map(|(send, owes)| Step::End(send, owes)),
        1 => send.prop_map(Step::LetterStored),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// The semantics in their simplest form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    records: BTreeMap<SendKey, (Record, bool)>,
}

impl Model {
    /// What is on record, and whether a former attempt is uncertain.
    fn get(&self, key: &SendKey) -> (Record, bool) {
        self.records.get(key).cloned().unwrap_or((Record::Unknown, false))
    }

    pub(crate) fn lookup(&self, key: &SendKey) -> Record {
        self.get(key).0
    }

    fn start(&mut self, key: &SendKey) -> Record {
        let (before, uncertain) = self.get(key);
        if before.allows_attempt() {
            let uncertain = uncertain || before == Record::Orphaned;
            self.records.insert(key.clone(), (Record::InProgress, uncertain));
        }
        before
    }

    fn release(&mut self, key: &SendKey, uncertain: bool) {
        let uncertain = uncertain || self.get(key).1;
        self.records.insert(key.clone(), (Record::Waiting { uncertain }, uncertain));
    }

    fn end(&mut self, key: &SendKey, ended: RecordedOutcome) {
        self.records.insert(key.clone(), (Record::Finished(ended), false));
    }

    fn record_letter_stored(&mut self, key: &SendKey) {
        if let Record::Finished(ended) = self.lookup(key) {
            self.end(key, RecordedOutcome { letter_pending: false, ..ended });
        }
    }

    pub(crate) fn crash(&mut self) {
        for (record, _) in self.records.values_mut().filter(|(record, _)| *record == Record::InProgress) {
            *record = Record::Orphaned;
        }
    }
}

static WALKS: AtomicU32 = AtomicU32::new(0);

/// Takes the steps in both worlds; an illegal step is left out.
pub(crate) async fn walk<L: Lab>(lab: &mut L, owner: L::Journal, steps: &[Step]) -> L::Journal {
    let walk = WALKS.fetch_add(1, Ordering::Relaxed);
    let send = |number: u8| key(&format!("walk-{walk}-{number}"));
    let (mut journal, mut model) = (owner, Model::default());
    for (number, step) in steps.iter().enumerate() {
        take(*step, number, &send, &journal, &mut model).await;
        if matches!(step, Step::Crash) {
            journal = lab.crash(journal).await;
            model.crash();
        }
    }
    for key in (0..4).map(send) {
        assert_eq!(journal.lookup(&key).await, Ok(model.lookup(&key)), "after {steps:?}");
    }
    journal
}

pub(crate) async fn take(
    step: Step,
    number: usize,
    send: &impl Fn(u8) -> SendKey,
    journal: &impl Journal,
    model: &mut Model,
) {
    let event = format!("{{\"step\":{number}}}");
    match step {
        Step::Look(id) => assert_eq!(journal.lookup(&send(id)).await, Ok(model.lookup(&send(id))), "step {number}"),
        Step::Start(id) => {
            assert_eq!(journal.start_attempt(&send(id)).await, Ok(model.start(&send(id))), "step {number}")
        }
        Step::Release(id, uncertain) if model.lookup(&send(id)) == Record::InProgress => {
            model.release(&send(id), uncertain);
            assert_eq!(journal.finish_attempt(&send(id), uncertain).await, Ok(()), "step {number}");
        }
        Step::End(id, owes) if !matches!(model.lookup(&send(id)), Record::Finished(_)) => {
            let ended = if owes { owing(&event) } else { ended(&event) };
            model.end(&send(id), ended.clone());
            assert_eq!(journal.record_outcome(&send(id), ended).await, Ok(()), "step {number}");
        }
        Step::LetterStored(id) if matches!(model.lookup(&send(id)), Record::Finished(_)) => {
            model.record_letter_stored(&send(id));
            assert_eq!(journal.record_letter_stored(&send(id)).await, Ok(()), "step {number}");
        }
        Step::Release(..) | Step::End(..) | Step::LetterStored(_) | Step::Crash => {}
    }
}

pub(crate) async fn any_walk_is_as_the_model_says(mut lab: impl Lab) {
    let (mut runner, strategy) = (TestRunner::default(), steps());
    let mut journal = lab.first().await;
    for _ in 0..25 {
        let steps = strategy.new_tree(&mut runner).expect("steps").current();
        journal = walk(&mut lab, journal, &steps).await;
    }
}
