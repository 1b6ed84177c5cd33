//! A real process is killed while it writes.

use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;

use super::Place;
use crate::{
    domain::journal::Record,
    journal::{
        FileJournal, FileJournalSettings,
        tests::contract::{ended, key},
    },
    ports::Journal,
};

const DIR: &str = "EDNA_COURIER_TEST_JOURNAL_OF_CHILD";

/// The child's part; for everybody else there is nothing to do.
#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Some(dir) = env::var_os(DIR) else { return };
    let settings =
        FileJournalSettings { dir: PathBuf::from(dir), retention: Duration::from_hours(1), max_bytes: 1 << 30 };
    let journal = FileJournal::open(&settings, Timestamp::now, |_| {}).expect("a journal");
    let workers = (0..20).map(|worker| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for number in 0..1_000_000 {
                let id = format!("{worker}-{number}");
                journal.start_attempt(&key(&id)).await.expect("available");
                println!("\ntold started {id}");
                journal.record_outcome(&key(&id), ended(&id)).await.expect("available");
                println!("\ntold ended {id}");
            }
        })
    });
    futures_util::future::join_all(workers).await;
}

#[tokio::test]
async fn what_a_killed_process_was_told_is_there() {
    let place = Place::new();
    let test = "journal::file::tests::kill::child_writes_until_it_is_killed";
    for round in 1..=3 {
        let mut child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", test, "--nocapture"])
            .env(DIR, &place.0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let enough = round * 300;
        let mut told: Vec<_> =
            lines.by_ref().map_while(Result::ok).filter(|line| line.starts_with("told ")).take(enough).collect();
        child.kill().expect("killed");
        child.wait().expect("gone");
        // What it had still said is in the pipe; the last line may be cut.
        let mut rest: Vec<_> = lines.map_while(Result::ok).filter(|line| line.starts_with("told ")).collect();
        rest.pop();
        told.append(&mut rest);
        assert!(told.len() >= enough, "the child said {} words", told.len());
        check(&place, &told).await;
        std::fs::remove_dir_all(&place.0).expect("removed");
    }
}

async fn check(place: &Place, told: &[String]) {
    let journal = FileJournal::open(&place.settings(), Timestamp::now, |_| {}).expect("a journal");
    for line in told {
        let (what, id) = line.trim_start_matches("told ").split_once(' ').expect("two words");
        let record = journal.lookup(&key(id)).await.expect("available");
        let is_ended = record == Record::Finished(ended(id));
        assert!(is_ended || (what == "started" && record == Record::Orphaned), "{line}: {record:?}");
    }
    journal.close().await;
}
