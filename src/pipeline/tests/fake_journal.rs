//! An in-memory journal whose owner may crash and whose disk may be full.

use std::collections::HashMap;

use super::fake_ports::FakePorts;
use crate::{
    domain::journal::{Record, RecordedOutcome, SendKey},
    gate::GateHold,
    ports::{Journal, JournalResult, JournalUnavailable},
};

/// The records and what the test sets.
#[derive(Default)]
pub(super) struct FakeJournal {
    records: HashMap<SendKey, Record>,
    uncertain: HashMap<SendKey, bool>,
    /// Present while the disk is full; keeps the gate closed.
    disk_full: Option<GateHold>,
    /// The names of the writes so far.
    writes: Vec<&'static str>,
    pub(super) incomplete: bool,
}

impl FakePorts {
    pub(super) fn set_disk_full(&self, hold: Option<GateHold>) {
        self.journal_state().disk_full = hold;
    }

    /// Orphans the attempts in progress, as the crash of their owner does.
    pub(super) fn orphan_attempts(&self) {
        for record in self.journal_state().records.values_mut().filter(|record| **record == Record::InProgress) {
            *record = Record::Orphaned;
        }
    }

    pub(super) fn journal_writes(&self) -> Vec<&'static str> {
        self.journal_state().writes.clone()
    }

    async fn write(&self, name: &'static str, change: impl FnOnce(&mut FakeJournal) + Send) -> JournalResult<()> {
        self.pass_latency().await;
        {
            let mut journal = self.journal_state();
            if journal.disk_full.is_some() {
                return Err(JournalUnavailable("the disk is full".to_owned()));
            }
            journal.writes.push(name);
            change(&mut journal);
        }
        self.pass_latency().await;
        Ok(())
    }
}

impl Journal for FakePorts {
    async fn lookup(&self, key: &SendKey) -> JournalResult<Record> {
        Ok(self.journal_state().records.get(key).cloned().unwrap_or(Record::Unknown))
    }

    async fn start_attempt(&self, key: &SendKey) -> JournalResult<Record> {
        let before = self.lookup(key).await?;
        if before.allows_attempt() {
            self.write("start_attempt", |journal| drop(journal.records.insert(key.clone(), Record::InProgress)))
                .await?;
        }
        Ok(before)
    }

    async fn finish_attempt(&self, key: &SendKey, uncertain: bool) -> JournalResult<()> {
        self.write("finish_attempt", |journal| {
            let sticky = journal.uncertain.entry(key.clone()).or_default();
            *sticky |= uncertain;
            let uncertain = *sticky;
            journal.records.insert(key.clone(), Record::Waiting { uncertain });
        })
        .await
    }

    async fn record_unposted(&self, key: &SendKey) -> JournalResult<()> {
        let waiting = Record::Waiting { uncertain: false };
        self.write("unposted", |journal| {
            journal.records.entry(key.clone()).or_insert(waiting);
        })
        .await
    }

    async fn record_outcome(&self, key: &SendKey, outcome: RecordedOutcome) -> JournalResult<()> {
        self.write("record_outcome", |journal| drop(journal.records.insert(key.clone(), Record::Finished(outcome))))
            .await
    }

    async fn record_letter_stored(&self, key: &SendKey) -> JournalResult<()> {
        self.write("letter_stored", |journal| {
            if let Some(Record::Finished(outcome)) = journal.records.get_mut(key) {
                outcome.letter_pending = false;
            }
        })
        .await
    }

    fn is_complete(&self) -> bool {
        !self.journal_state().incomplete
    }
}
