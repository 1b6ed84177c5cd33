//! What people see from outside.

use std::fs;

use jiff::Timestamp;

use super::world::{BEGIN_MS, World};
use crate::{
    domain::journal::Record,
    journal::{
        show, stats,
        tests::contract::{ended, key, replay},
    },
    ports::Journal,
};

#[tokio::test]
async fn a_send_is_shown_while_the_daemon_runs_and_after() {
    let world = World::new();
    let journal = world.open();
    let dir = &world.place.0;
    journal.start_attempt(&key("a")).await.expect("available");
    let shown = show(dir, &key("a")).expect("a journal").expect("on record");
    let at = Timestamp::from_millisecond(BEGIN_MS).expect("a time");
    assert_eq!((shown.record, shown.uncertain, shown.at), (Record::InProgress, false, at));
    assert_eq!(show(dir, &replay("a", 1)).expect("a journal"), None);
    for number in 0..12 {
        journal.record_outcome(&key(&format!("id-{number}")), ended("{}")).await.expect("available");
    }
    for number in 0..12 {
        let shown = show(dir, &key(&format!("id-{number}"))).expect("a journal").expect("on record");
        assert_eq!(shown.record, Record::Finished(ended("{}")));
    }
    journal.close().await;
    let journal = world.open();
    let shown = show(dir, &key("a")).expect("a journal").expect("on record");
    assert_eq!((shown.record, shown.uncertain), (Record::Orphaned, true));
    journal.finish_attempt(&key("a"), false).await.expect("available");
    let shown = show(dir, &key("a")).expect("a journal").expect("on record");
    assert_eq!(shown.record, Record::Waiting { uncertain: true });
}

#[tokio::test]
async fn stats_count_what_is_there() {
    let world = World::new();
    let journal = world.open();
    assert_eq!(stats(&world.place.0).expect("a journal").entries, 0);
    for number in 0..12 {
        journal.record_outcome(&key(&format!("id-{number}")), ended("{}")).await.expect("available");
    }
    journal.close().await;
    let stats = stats(&world.place.0).expect("a journal");
    assert_eq!((stats.entries, stats.segments), (12, 3));
    assert!(stats.bytes > 500 && stats.oldest.is_some() && stats.newest >= stats.oldest, "{stats:?}");
}

#[tokio::test]
async fn looking_never_disturbs_nor_is_disturbed() {
    let world = World::new();
    let journal = world.open();
    let dir = world.place.0.clone();
    journal.record_outcome(&key("a"), ended("{}")).await.expect("available");
    let looking = tokio::task::spawn_blocking(move || {
        for _ in 0..60 {
            let shown = show(&dir, &key("a")).expect("a journal").expect("on record");
            assert_eq!(shown.record, Record::Finished(ended("{}")));
            stats(&dir).expect("a journal");
        }
    });
    let mut number = 0;
    while !looking.is_finished() {
        number += 1;
        journal.start_attempt(&key(&format!("id-{number}"))).await.expect("available");
    }
    looking.await.expect("no panic");
}

#[test]
fn what_is_no_journal_is_said_to_be_none() {
    let world = World::new();
    for _ in 0..2 {
        let refused = show(&world.place.0, &key("a")).expect_err("no journal").to_string();
        assert!(refused.contains(&world.place.0.display().to_string()) && refused.contains("journal.dir"), "{refused}");
        assert!(stats(&world.place.0).is_err());
        fs::create_dir_all(&world.place.0).expect("made");
    }
}
