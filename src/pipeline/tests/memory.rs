//! A journal in the memory of a test, with owners that die and a disk that fills.

use std::collections::HashMap;

use super::world::World;
use crate::{
    domain::journal::{Record, RecordedOutcome, SendKey},
    gate::{GateHold, GateReason},
    ports::{Journal, JournalResult, JournalUnavailable},
};

/// What is on record.
#[derive(Default)]
pub(super) struct Memory {
    records: HashMap<SendKey, Record>,
    uncertain: HashMap<SendKey, bool>,
    /// While it cannot be written, the gate is closed.
    full: Option<GateHold>,
    /// Every call that changed something, in order.
    pub(super) written: Vec<&'static str>,
    /// It is not known to be complete.
    pub(super) young: bool,
}

impl World {
    /// From now on the journal can be written, or not.
    pub(super) fn fill_disk(&self, full: Option<GateHold>) {
        self.memory().full = full;
    }

    /// The daemon died here, and another took over its journal.
    pub(super) fn orphan_all(&self) {
        for record in self.memory().records.values_mut().filter(|record| **record == Record::InProgress) {
            *record = Record::Orphaned;
        }
    }

    /// What the journal was told, in order.
    pub(super) fn written(&self) -> Vec<&'static str> {
        self.memory().written.clone()
    }

    async fn write(&self, what: &'static str, change: impl FnOnce(&mut Memory) + Send) -> JournalResult<()> {
        self.step().await;
        {
            let mut memory = self.memory();
            if memory.full.is_some() {
                return Err(JournalUnavailable("the disk is full".to_owned()));
            }
            memory.written.push(what);
            change(&mut memory);
        }
        self.step().await;
        Ok(())
    }
}

impl Journal for World {
    async fn lookup(&self, key: &SendKey) -> JournalResult<Record> {
        Ok(self.memory().records.get(key).cloned().unwrap_or(Record::Unknown))
    }

    async fn start_attempt(&self, key: &SendKey) -> JournalResult<Record> {
        let before = self.lookup(key).await?;
        if before.allows_attempt() {
            self.write("start", |memory| drop(memory.records.insert(key.clone(), Record::InProgress))).await?;
        }
        Ok(before)
    }

    async fn finish_attempt(&self, key: &SendKey, uncertain: bool) -> JournalResult<()> {
        self.write("release", |memory| {
            let sticky = memory.uncertain.entry(key.clone()).or_default();
            *sticky |= uncertain;
            let uncertain = *sticky;
            memory.records.insert(key.clone(), Record::Waiting { uncertain });
        })
        .await
    }

    async fn record_outcome(&self, key: &SendKey, ended: RecordedOutcome) -> JournalResult<()> {
        self.write("end", |memory| drop(memory.records.insert(key.clone(), Record::Finished(ended)))).await
    }

    async fn record_letter_stored(&self, key: &SendKey) -> JournalResult<()> {
        self.write("letter", |memory| {
            if let Some(Record::Finished(ended)) = memory.records.get_mut(key) {
                ended.letter_pending = false;
            }
        })
        .await
    }

    fn is_complete(&self) -> bool {
        !self.memory().young
    }
}

/// The reason that a full disk closes the gate by.
pub(super) const REASON: GateReason = GateReason::Journal;
