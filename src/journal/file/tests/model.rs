//! Random steps with disk faults and crashes, compared with the reference model.

use std::mem;

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{faulty_disk::DiskFault, fixture::FileJournalFixture};
use crate::{
    domain::journal::{Record, SendKey},
    journal::{
        file::FileJournal,
        tests::{
            contract::{key, outcome},
            model::{ReferenceModel, Step, apply_step, steps},
        },
    },
    ports::Journal,
};

fn steps_with_faults() -> impl Strategy<Value = Vec<(Step, DiskFault)>> {
    let fault = prop_oneof![6 => Just(DiskFault::None), 1 => Just(DiskFault::Full), 1 => Just(DiskFault::SyncFails)];
    steps().prop_flat_map(move |steps| {
        let faults = prop::collection::vec(fault.clone(), steps.len());
        faults.prop_map(move |faults| steps.iter().copied().zip(faults).collect())
    })
}

fn send(number: u8) -> SendKey {
    key(&format!("send-{number}"))
}

#[tokio::test]
async fn random_steps_with_disk_faults_match_the_model() {
    let (mut runner, strategy) = (TestRunner::default(), steps_with_faults());
    for _ in 0..12 {
        let steps = strategy.new_tree(&mut runner).expect("steps").current();
        let mut fixture = FileJournalFixture::new();
        let (mut journal, mut model) = (fixture.open(), ReferenceModel::default());
        for (number, (step, fault)) in steps.iter().enumerate() {
            match (step, fault) {
                (Step::Crash, _) => {
                    let successor = fixture.crash();
                    drop(mem::replace(&mut fixture, successor));
                    journal = fixture.open();
                    model.crash();
                }
                (_, DiskFault::None) => apply_step(*step, number, &send, &journal, &mut model).await,
                (_, fault) => fail_step(*fault, *step, &fixture, &journal).await,
            }
        }
        for key in (0..4).map(send) {
            assert_eq!(journal.lookup(&key).await, Ok(model.lookup(&key)), "after {steps:?}");
        }
    }
}

/// Makes the step's batch fail, so that nothing changes, then removes the fault.
async fn fail_step(fault: DiskFault, step: Step, fixture: &FileJournalFixture, journal: &FileJournal) {
    fixture.take_events();
    fixture.disk.set(fault);
    let (id, other) = match step {
        Step::Lookup(id)
        | Step::StartAttempt(id)
        | Step::FinishAttempt(id, _)
        | Step::RecordOutcome(id, _)
        | Step::RecordLetterStored(id)
        | Step::RecordPublished(id)
        | Step::RecordDoubt(id)
        | Step::RecordUnposted(id, _) => (send(id), send((id + 1) % 4)),
        Step::Crash => return,
    };
    // An outcome is always written, so every other change in its batch fails with it.
    let (recorded, started) = tokio::join!(journal.record_outcome(&id, outcome("{}")), journal.start_attempt(&other));
    assert!(recorded.is_err());
    assert!(started.is_err() || started.is_ok_and(|record| !matches!(record, Record::Unknown)));
    fixture.disk.set(DiskFault::None);
    fixture.wait_for_event("Available");
}
