//! The store: all segments, the pending batch, and the undo log of its changes in memory.

use std::collections::VecDeque;

use super::{
    active::ActiveSegment,
    directory::JournalDirectory,
    error::StorageError,
    index_file::RecordPlace,
    key::{KeyHash, KeyHashMap},
    record::{LogRecord, SendState},
    sealed::SealedSegment,
    settings::FileJournalTuning,
};
use crate::domain::journal::{AttemptHistory, Record, RecordedOutcome};

/// A journal call on one send.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Lookup,
    StartAttempt,
    FinishAttempt(AttemptHistory),
    RecordOutcome(RecordedOutcome),
    RecordLetterStored,
    RecordPublished,
    RecordDoubt,
    RecordUnposted(AttemptHistory),
}

/// The journal's content, owned by the writer thread.
pub(super) struct Store {
    pub(super) dir: JournalDirectory,
    pub(super) active: ActiveSegment,
    /// Oldest first.
    pub(super) sealed: VecDeque<SealedSegment>,
    /// This session's attempts in progress, and the segment with their newest record.
    pub(super) in_progress: KeyHashMap<u64>,
    /// This opening of the journal; an attempt that another session started is orphaned.
    session: u64,
    pub(super) tuning: FileJournalTuning,
    /// The changes of the batch in memory, undone if it cannot be written.
    undo_log: Vec<UndoEntry>,
    /// Records that were removed early would have been kept until this time, in ms since 1970.
    pub(super) dropped_until_ms: i64,
}

struct UndoEntry {
    hash: KeyHash,
    place: Option<RecordPlace>,
    in_progress: Option<u64>,
}

impl Store {
    pub(super) fn new(
        dir: JournalDirectory,
        active: ActiveSegment,
        sealed: VecDeque<SealedSegment>,
        tuning: FileJournalTuning,
    ) -> Self {
        let session = dir.session();
        let (in_progress, undo_log) = (KeyHashMap::default(), Vec::new());
        Self { dir, active, sealed, in_progress, session, tuning, undo_log, dropped_until_ms: i64::MIN }
    }

    /// Reads the newest record of a send.
    pub(super) fn find(&self, hash: KeyHash) -> Result<Option<LogRecord>, StorageError> {
        if let Some(offset) = self.active.offsets.get(&hash) {
            return self.active.read(*offset).map(Some);
        }
        for segment in self.sealed.iter().rev() {
            if let Some(record) = segment.find(hash)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Adds the operation's change to the batch and returns the record before it. The caller must not reply before the
    /// batch is durable.
    pub(super) fn apply(&mut self, hash: KeyHash, operation: Operation, at_ms: i64) -> Result<Record, StorageError> {
        // The most frequent change needs no lookup.
        if let Operation::RecordOutcome(outcome) = operation {
            self.put(hash, at_ms, SendState::Finished(outcome));
            return Ok(Record::Unknown);
        }
        if matches!(operation, Operation::RecordPublished) && self.put_published(hash, at_ms) {
            return Ok(Record::Unknown);
        }
        let before = self.find(hash)?.map(|record| record.state);
        if let Some(state) = self.next_state(before.as_ref(), &operation) {
            self.put(hash, at_ms, state);
        }
        Ok(before.map_or(Record::Unknown, |state| state.into_record(self.session)))
    }

    /// The send's state after the operation, if it changes.
    fn next_state(&self, before: Option<&SendState>, operation: &Operation) -> Option<SendState> {
        let session = self.session;
        let history = before.map(|state| state.history(session)).unwrap_or_default();
        match (operation, before) {
            (Operation::StartAttempt | Operation::FinishAttempt(_), Some(SendState::Finished(_)))
            | (Operation::Lookup, _) => None,
            (Operation::StartAttempt, Some(SendState::Started { session: owner, .. })) if *owner == session => None,
            (Operation::StartAttempt, _) => Some(SendState::Started { session, history }),
            (Operation::FinishAttempt(now), _) => {
                Some(SendState::Waiting(AttemptHistory { uncertain: now.uncertain || history.uncertain, ..*now }))
            }
            (Operation::RecordOutcome(outcome), _) => Some(SendState::Finished(outcome.clone())),
            (Operation::RecordLetterStored, Some(SendState::Finished(outcome))) if outcome.letter_pending => {
                Some(SendState::Finished(RecordedOutcome { letter_pending: false, ..outcome.clone() }))
            }
            (Operation::RecordPublished, Some(SendState::Finished(outcome))) if !outcome.published => {
                Some(SendState::Finished(RecordedOutcome { published: true, ..outcome.clone() }))
            }
            (Operation::RecordDoubt, None) => {
                Some(SendState::Waiting(AttemptHistory { uncertain: true, ..AttemptHistory::default() }))
            }
            (Operation::RecordUnposted(history), None) => Some(SendState::Waiting(*history)),
            (Operation::RecordLetterStored | Operation::RecordPublished, _)
            | (Operation::RecordDoubt | Operation::RecordUnposted(_), Some(_)) => None,
        }
    }

    pub(super) fn put(&mut self, hash: KeyHash, at_ms: i64, state: SendState) {
        let is_start = matches!(state, SendState::Started { .. });
        let place = self.active.put(hash, at_ms, state);
        let in_progress = match is_start {
            true => self.in_progress.insert(hash, self.active.number),
            false => self.in_progress.remove(&hash),
        };
        self.undo_log.push(UndoEntry { hash, place, in_progress });
    }

    /// Adds a short record, without a lookup, if the active segment has the outcome: nearly always. A repeat adds none.
    fn put_published(&mut self, hash: KeyHash, at_ms: i64) -> bool {
        let place = self.active.put_published(hash, at_ms);
        if place.is_some() {
            let in_progress = self.in_progress.get(&hash).copied();
            self.undo_log.push(UndoEntry { hash, place, in_progress });
        }
        place.is_some()
    }

    /// Makes the batch durable, or rolls it back.
    pub(super) fn commit(&mut self) -> Result<(), StorageError> {
        if self.active.batch_bytes() == 0 {
            return Ok(());
        }
        let committed = self.active.commit(&*self.tuning.disk);
        if committed.is_err() {
            self.roll_back();
            // If this fails too, the torn batch is cut at the next opening; none of its calls resolved with success.
            let _ = self.active.truncate();
        }
        self.undo_log.clear();
        committed
    }

    /// Undoes the changes of the batch.
    pub(super) fn roll_back(&mut self) {
        self.active.discard_batch();
        for UndoEntry { hash, place, in_progress } in self.undo_log.drain(..).rev() {
            restore(&mut self.active.offsets, hash, place);
            restore(&mut self.in_progress, hash, in_progress);
        }
    }

    /// The number of sends on record, counted once for each segment that has a record of them.
    pub(super) fn entries(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|segment| u64::from(segment.summary.entries)).sum();
        sealed.saturating_add(u64::try_from(self.active.offsets.len()).unwrap_or(u64::MAX))
    }

    /// The size on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.sealed.iter().map(SealedSegment::bytes).sum::<u64>().saturating_add(u64::from(self.active.durable))
    }
}

fn restore<V>(map: &mut KeyHashMap<V>, hash: KeyHash, before: Option<V>) {
    match before {
        Some(value) => map.insert(hash, value),
        None => map.remove(&hash),
    };
}
