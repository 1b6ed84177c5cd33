//! An in-memory journal whose owner may crash and whose disk may be full.

use std::{collections::HashMap, time::Duration};

use super::fake_ports::FakePorts;
use crate::{
    domain::journal::{AttemptHistory, Doubt, Record, RecordedOutcome, SendKey},
    gate::GateHold,
    ports::{Journal, JournalResult, JournalUnavailable},
};

/// The records and what the test sets.
#[derive(Default)]
pub(super) struct FakeJournal {
    records: HashMap<SendKey, Record>,
    /// The attempts of the sends with one in progress.
    histories: HashMap<SendKey, AttemptHistory>,
    /// Present while the disk is full; keeps the gate closed.
    disk_full: Option<GateHold>,
    /// The names of the writes so far.
    writes: Vec<&'static str>,
    /// Records of former processes may be missing.
    pub(super) incomplete: bool,
    /// Other processes attempt commands without a record here.
    pub(super) is_shared: bool,
    /// As a file journal on a shared queue.
    pub(super) ignores_unposted: bool,
    /// Records that are left may be older than lost ones.
    pub(super) lost_writes: bool,
    /// From the read of a record until the caller has it.
    pub(super) read_latency: Duration,
}

impl FakePorts {
    pub(super) fn set_disk_full(&self, hold: Option<GateHold>) {
        self.journal_state().disk_full = hold;
    }

    /// Orphans the attempts in progress, as the crash of their owner does.
    pub(super) fn orphan_attempts(&self) {
        let mut journal = self.journal_state();
        let FakeJournal { records, histories, .. } = &mut *journal;
        for (key, record) in records.iter_mut().filter(|(_, record)| **record == Record::InProgress) {
            let counted = histories.get(key).map_or(0, |history| history.counted);
            *record = Record::Orphaned { counted };
        }
    }

    /// Puts the journal in doubt as one that several daemons share.
    pub(super) fn set_shared_journal(&self) {
        let mut journal = self.journal_state();
        (journal.incomplete, journal.is_shared, journal.ignores_unposted) = (true, true, false);
    }

    /// Loses all records, as a removed directory does.
    pub(super) fn lose_records(&self) {
        let mut journal = self.journal_state();
        journal.records.clear();
        journal.histories.clear();
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
        let (record, latency) = {
            let journal = self.journal_state();
            (journal.records.get(key).cloned().unwrap_or(Record::Unknown), journal.read_latency)
        };
        if latency > Duration::ZERO {
            tokio::time::sleep(latency).await;
        }
        Ok(record)
    }

    async fn start_attempt(&self, key: &SendKey) -> JournalResult<Record> {
        let before = self.lookup(key).await?;
        if before.allows_attempt() {
            self.write("start_attempt", |journal| drop(journal.records.insert(key.clone(), Record::InProgress)))
                .await?;
        }
        Ok(before)
    }

    async fn finish_attempt(&self, key: &SendKey, history: AttemptHistory) -> JournalResult<()> {
        self.write("finish_attempt", |journal| {
            let before = journal.histories.entry(key.clone()).or_default();
            *before = AttemptHistory { uncertain: before.uncertain || history.uncertain, ..history };
            let record = Record::Waiting(*before);
            journal.records.insert(key.clone(), record);
        })
        .await
    }

    async fn record_unposted(&self, key: &SendKey, history: AttemptHistory) -> JournalResult<()> {
        if self.journal_state().ignores_unposted {
            return Ok(());
        }
        let waiting = Record::Waiting(history);
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

    async fn record_published(&self, key: &SendKey) -> JournalResult<()> {
        if let Some(Record::Finished(outcome)) = self.journal_state().records.get_mut(key) {
            outcome.published = true;
        }
        Ok(())
    }

    async fn record_doubt(&self, key: &SendKey) -> JournalResult<()> {
        self.write("record_doubt", |journal| {
            let doubtful = AttemptHistory { uncertain: true, ..AttemptHistory::default() };
            journal.records.entry(key.clone()).or_insert(Record::Waiting(doubtful));
        })
        .await
    }

    fn is_complete(&self) -> bool {
        self.doubt() == Doubt::None
    }

    fn has_newest_records(&self) -> bool {
        !self.journal_state().lost_writes
    }

    fn doubt(&self) -> Doubt {
        let journal = self.journal_state();
        match (journal.is_shared, journal.incomplete) {
            (true, _) => Doubt::SharedQueue,
            (false, true) => Doubt::SoleOwner,
            (false, false) => Doubt::None,
        }
    }

    fn end_former_doubt(&self) {
        self.journal_state().incomplete = false;
    }
}
