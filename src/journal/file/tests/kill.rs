//! A process that is killed while it writes.

use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;

use super::temp_dir::JournalTempDir;
use crate::{
    domain::journal::Record,
    journal::{
        FileJournal, FileJournalSettings,
        tests::contract::{ORPHANED, key, outcome},
    },
    ports::Journal,
};

const DIR: &str = "EDNA_COURIER_TEST_JOURNAL_OF_CHILD";

/// The child process's part of the next test; does nothing in a normal run.
#[tokio::test]
async fn child_process_writes_until_killed() {
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
                println!("\nconfirmed started {id}");
                journal.record_outcome(&key(&id), outcome(&id)).await.expect("available");
                println!("\nconfirmed finished {id}");
            }
        })
    });
    futures_util::future::join_all(workers).await;
}

#[tokio::test]
async fn killed_process_keeps_every_confirmed_record() {
    let dir = JournalTempDir::new();
    let test = "journal::file::tests::kill::child_process_writes_until_killed";
    for round in 1..=3 {
        let mut child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", test, "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let enough = round * 300;
        let mut confirmed: Vec<_> =
            lines.by_ref().map_while(Result::ok).filter(|line| line.starts_with("confirmed ")).take(enough).collect();
        child.kill().expect("killed");
        child.wait().expect("gone");
        // The pipe has the rest of the child's output; its last line may be cut.
        let mut rest: Vec<_> = lines.map_while(Result::ok).filter(|line| line.starts_with("confirmed ")).collect();
        rest.pop();
        confirmed.append(&mut rest);
        assert!(confirmed.len() >= enough, "the child confirmed only {} writes", confirmed.len());
        check(&dir, &confirmed).await;
        std::fs::remove_dir_all(dir.path()).expect("removed");
    }
}

async fn check(dir: &JournalTempDir, confirmed: &[String]) {
    let journal = FileJournal::open(&dir.settings(), Timestamp::now, |_| {}).expect("a journal");
    for line in confirmed {
        let (step, id) = line.trim_start_matches("confirmed ").split_once(' ').expect("two words");
        let record = journal.lookup(&key(id)).await.expect("available");
        let is_finished = record == Record::Finished(outcome(id));
        assert!(is_finished || (step == "started" && record == ORPHANED), "{line}: {record:?}");
    }
    journal.close().await;
}
