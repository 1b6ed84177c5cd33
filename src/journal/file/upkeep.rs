//! What is done beside the batches: sealing a segment, and giving it an index file.

use std::{mem, thread, thread::JoinHandle};

use jiff::Timestamp;

use super::{
    Limits, directory,
    fault::Fault,
    index::FileIndex,
    notice::{Notice, Tell},
    sealed::Sealed,
    segment::Active,
    store::Store,
};

/// Segments whose index is still in memory; more would be too much memory.
const MAX_UNINDEXED: usize = 2;

/// An index that a helper thread is building.
pub(super) struct Building {
    number: u64,
    thread: JoinHandle<Result<FileIndex, Fault>>,
}

impl Building {
    /// Waits until it is done; what it wrote is found at the next opening.
    pub(super) fn wait(self) {
        let _ = self.thread.join();
    }
}

impl Store {
    /// Whether the segment that is written should be sealed.
    pub(super) fn is_full(&self, now: Timestamp, limits: &Limits) -> bool {
        let active = &self.active;
        // So that records go soon after their time, also where there are few.
        let age_ms = active.oldest_ms.map(|oldest_ms| now.as_millisecond().saturating_sub(oldest_ms));
        let is_old = age_ms.is_some_and(|age_ms| age_ms > limits.retention_ms / 16);
        is_old || active.durable >= self.tuning.segment_bytes || active.offsets.len() >= self.tuning.segment_entries
    }

    /// Seals the segment that is written and begins a new one; what of a batch is not durable is forgotten.
    pub(super) fn rotate(&mut self) -> Result<(), Fault> {
        self.roll_back();
        self.dir.check()?;
        let (old, is_empty) = (&self.active, self.active.offsets.is_empty());
        let previous = if is_empty { old.previous } else { old.number };
        let next = Active::create(&self.dir, &*self.tuning.disk, old.number + 1, previous)?;
        let old = mem::replace(&mut self.active, next);
        // After a failed write something may lie behind the last batch. Should it stay, it does no harm: it was never
        // told durable, and what is in a later segment holds.
        let _ = old.cut();
        if is_empty {
            return directory::remove(&old.path);
        }
        self.sealed.push_back(Sealed::of(old));
        Ok(())
    }

    /// Hands the oldest segment without an index file to a thread.
    fn begin_index(&self) -> Option<Building> {
        let (number, (offsets, summary)) =
            self.sealed.iter().find_map(|segment| segment.to_index().map(|content| (segment.number, content)))?;
        let path = directory::index_path(self.dir.path(), number);
        let build = move || FileIndex::build(path, &offsets, summary);
        let thread = thread::Builder::new().name("journal-index".to_owned()).spawn(build).ok()?;
        Some(Building { number, thread })
    }

    /// Takes over an index that is built, and begins the next; waits for it only when too many are missing.
    pub(super) fn index(&mut self, building: &mut Option<Building>, tell: &Tell) {
        let unindexed = self.sealed.iter().filter(|segment| segment.to_index().is_some()).count();
        let takes = |building: &mut Building| building.thread.is_finished() || unindexed > MAX_UNINDEXED;
        if let Some(Building { number, thread }) = building.take_if(takes) {
            match thread.join() {
                Ok(Ok(index)) => {
                    match self.sealed.iter_mut().find(|segment| segment.number == number) {
                        Some(segment) => segment.set_index(index),
                        // Forgotten meanwhile.
                        None => drop(directory::remove(&directory::index_path(self.dir.path(), number))),
                    }
                }
                Ok(Err(fault)) => return tell(Notice::Postponed { why: &fault.to_string() }),
                Err(_) => return,
            }
        }
        if building.is_none() {
            *building = self.begin_index();
        }
    }
}
