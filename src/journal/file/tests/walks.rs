//! Any walk with a failing disk and crashes is as the model says.

use std::mem;

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::world::{Mood, World};
use crate::{
    domain::journal::{Record, SendKey},
    journal::{
        file::FileJournal,
        tests::contract::{Model, Step, key, steps, take},
    },
    ports::Journal,
};

/// A step, and what the disk does meanwhile.
fn steps_with_moods() -> impl Strategy<Value = Vec<(Step, Mood)>> {
    let mood = prop_oneof![6 => Just(Mood::Fine), 1 => Just(Mood::Full), 1 => Just(Mood::Broken)];
    steps().prop_flat_map(move |steps| {
        let moods = prop::collection::vec(mood.clone(), steps.len());
        moods.prop_map(move |moods| steps.iter().copied().zip(moods).collect())
    })
}

fn send(number: u8) -> SendKey {
    key(&format!("send-{number}"))
}

#[tokio::test]
async fn any_walk_with_a_failing_disk_is_as_the_model_says() {
    let (mut runner, strategy) = (TestRunner::default(), steps_with_moods());
    for _ in 0..12 {
        let steps = strategy.new_tree(&mut runner).expect("steps").current();
        let mut world = World::new();
        let (mut journal, mut model) = (world.open(), Model::default());
        for (number, (step, mood)) in steps.iter().enumerate() {
            match (step, mood) {
                (Step::Crash, _) => {
                    let successor = world.crash();
                    drop(mem::replace(&mut world, successor));
                    journal = world.open();
                    model.crash();
                }
                (_, Mood::Fine) => take(*step, number, &send, &journal, &mut model).await,
                (_, mood) => fail(*mood, *step, &world, &journal).await,
            }
        }
        for key in (0..4).map(send) {
            assert_eq!(journal.lookup(&key).await, Ok(model.lookup(&key)), "after {steps:?}");
        }
    }
}

/// The step fails, so nothing changes; then the disk is well again.
async fn fail(mood: Mood, step: Step, world: &World, journal: &FileJournal) {
    world.told();
    world.disk.set(mood);
    let (id, other) = match step {
        Step::Look(id) | Step::Start(id) | Step::Release(id, _) | Step::End(id, _) | Step::LetterStored(id) => {
            (send(id), send((id + 1) % 4))
        }
        Step::Crash => return,
    };
    // An end always writes; what else there is in its batch fails with it.
    let ended = crate::journal::tests::contract::ended("{}");
    let (ended, started) = tokio::join!(journal.record_outcome(&id, ended), journal.start_attempt(&other));
    assert!(ended.is_err());
    assert!(started.is_err() || started.is_ok_and(|record| !matches!(record, Record::Unknown)));
    world.disk.set(Mood::Fine);
    world.until_told("Available");
}
