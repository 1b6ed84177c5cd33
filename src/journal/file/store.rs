//! All segments together: what is known of a send, and the batch that is about to change it.

use std::collections::VecDeque;

use super::{
    Tuning,
    directory::Directory,
    fault::Fault,
    key::{KeyHash, Keyed},
    record::{Entry, State},
    sealed::Sealed,
    segment::Active,
};
use crate::domain::journal::{Record, RecordedOutcome};

/// What is asked about a send.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Look,
    Start,
    Release { uncertain: bool },
    End(RecordedOutcome),
    LetterStored,
}

/// The journal's content. Only the writer's thread has it.
pub(super) struct Store {
    pub(super) dir: Directory,
    pub(super) active: Active,
    /// Oldest first.
    pub(super) sealed: VecDeque<Sealed>,
    /// Our own attempts that are under way, and the segment that knows.
    pub(super) held: Keyed<u64>,
    /// This opening of the journal; a start of another one is an orphan.
    session: u64,
    pub(super) tuning: Tuning,
    /// What the batch has changed in memory, for the case that it cannot be written.
    undo: Vec<Undo>,
}

struct Undo {
    hash: KeyHash,
    offset: Option<u32>,
    held: Option<u64>,
}

impl Store {
    pub(super) fn new(dir: Directory, active: Active, sealed: VecDeque<Sealed>, tuning: Tuning) -> Self {
        let session = dir.session();
        Self { dir, active, sealed, held: Keyed::default(), session, tuning, undo: Vec::new() }
    }

    /// The newest record of a send.
    pub(super) fn find(&self, hash: KeyHash) -> Result<Option<Entry>, Fault> {
        if let Some(offset) = self.active.offsets.get(&hash) {
            return self.active.read(*offset).map(Some);
        }
        for segment in self.sealed.iter().rev() {
            if let Some(entry) = segment.find(hash)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Answers, and adds to the batch what it changes; the answer may be told when the batch is durable.
    pub(super) fn apply(&mut self, hash: KeyHash, ask: Ask, at_ms: i64) -> Result<Record, Fault> {
        // By far the most frequent change needs no look at what was before.
        if let Ask::End(ended) = ask {
            self.put(hash, at_ms, State::Ended(ended));
            return Ok(Record::Unknown);
        }
        let before = self.find(hash)?.map(|entry| entry.state);
        if let Some(state) = self.change(before.as_ref(), &ask) {
            self.put(hash, at_ms, state);
        }
        Ok(before.map_or(Record::Unknown, |state| state.told_to(self.session)))
    }

    /// What is known of the send afterwards, if that is something new.
    fn change(&self, before: Option<&State>, ask: &Ask) -> Option<State> {
        let session = self.session;
        let sticks = before.is_some_and(|state| state.is_uncertain(session));
        match (ask, before) {
            (Ask::Start, Some(State::Ended(_))) | (Ask::Release { .. }, Some(State::Ended(_))) | (Ask::Look, _) => None,
            (Ask::Start, Some(State::Started { session: owner, .. })) if *owner == session => None,
            (Ask::Start, _) => Some(State::Started { session, uncertain: sticks }),
            (Ask::Release { uncertain }, _) => Some(State::Waiting { uncertain: *uncertain || sticks }),
            (Ask::End(ended), _) => Some(State::Ended(ended.clone())),
            (Ask::LetterStored, Some(State::Ended(ended))) if ended.letter_pending => {
                Some(State::Ended(RecordedOutcome { letter_pending: false, ..ended.clone() }))
            }
            (Ask::LetterStored, _) => None,
        }
    }

    pub(super) fn put(&mut self, hash: KeyHash, at_ms: i64, state: State) {
        let is_start = matches!(state, State::Started { .. });
        let offset = self.active.put(hash, at_ms, state);
        let held = if is_start { self.held.insert(hash, self.active.number) } else { self.held.remove(&hash) };
        self.undo.push(Undo { hash, offset, held });
    }

    /// Makes the batch durable, or takes it back.
    pub(super) fn commit(&mut self) -> Result<(), Fault> {
        if self.active.pending() == 0 {
            return Ok(());
        }
        let committed = self.active.commit(&*self.tuning.disk);
        if committed.is_err() {
            self.roll_back();
            // Should that fail, too, what stays behind the last batch was told to nobody, and is cut at the next opening.
            let _ = self.active.cut();
        }
        self.undo.clear();
        committed
    }

    /// Takes back what is not durable.
    pub(super) fn roll_back(&mut self) {
        self.active.forget_batch();
        for Undo { hash, offset, held } in self.undo.drain(..).rev() {
            restore(&mut self.active.offsets, hash, offset);
            restore(&mut self.held, hash, held);
        }
    }

    /// How many sends are on record, counted once for each segment that knows them.
    pub(super) fn entries(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|segment| u64::from(segment.summary.entries)).sum();
        sealed.saturating_add(u64::try_from(self.active.offsets.len()).unwrap_or(u64::MAX))
    }

    /// What all of it takes of the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.sealed.iter().map(Sealed::bytes).sum::<u64>().saturating_add(u64::from(self.active.durable))
    }
}

fn restore<V>(map: &mut Keyed<V>, hash: KeyHash, before: Option<V>) {
    match before {
        Some(value) => map.insert(hash, value),
        None => map.remove(&hash),
    };
}
