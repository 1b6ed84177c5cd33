//! What is done beside the batches, little at a time: seal, index, forget, recover.

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
        let is_old = active.oldest_ms.is_some_and(|oldest| age_ms(now, oldest) > limits.retention_ms / 16);
        is_old || active.durable >= self.tuning.segment_bytes || active.offsets.len() >= self.tuning.segment_entries
    }

    /// Seals the segment that is written and begins a new one.
    pub(super) fn rotate(&mut self) -> Result<(), Fault> {
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
    pub(super) fn begin_index(&self) -> Option<Building> {
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
                    if let Some(segment) = self.sealed.iter_mut().find(|segment| segment.number == number) {
                        segment.set_index(index);
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

    /// Removes the oldest segment if all in it is older than the retention, or if there is too much; tells until when, in
    /// ms since 1970, sends may be missing that should be here.
    pub(super) fn forget(&mut self, now: Timestamp, limits: &Limits, tell: &Tell) -> Result<Option<i64>, Fault> {
        let Some(oldest) = self.sealed.front() else { return Ok(None) };
        let summary = oldest.summary;
        let is_early = age_ms(now, summary.newest_ms) <= limits.retention_ms;
        if oldest.to_index().is_some() || (is_early && self.bytes() <= limits.max_bytes) {
            return Ok(None);
        }
        self.carry_forward(now)?;
        let Some(oldest) = self.sealed.pop_front() else { return Ok(None) };
        if let Err(fault) = oldest.remove(self.dir.path()) {
            tell(Notice::Postponed { why: &fault.to_string() });
            self.sealed.push_front(oldest);
            return Ok(None);
        }
        if !is_early {
            return Ok(None);
        }
        let newest = Timestamp::from_millisecond(summary.newest_ms).unwrap_or(now);
        tell(Notice::DroppedEarly { entries: u64::from(summary.entries), newest });
        Ok(Some(summary.newest_ms.saturating_add(limits.retention_ms)))
    }

    /// Writes our attempts that are under way and known only by the oldest segment once more.
    fn carry_forward(&mut self, now: Timestamp) -> Result<(), Fault> {
        let Some(oldest) = self.sealed.front() else { return Ok(()) };
        let only_there = self.held.iter().filter(|(_, segment)| **segment == oldest.number);
        let only_there: Vec<_> = only_there.map(|(hash, _)| *hash).collect();
        for hash in only_there {
            if let Some(entry) = self.find(hash)? {
                self.put(hash, now.as_millisecond(), entry.state);
            }
        }
        self.commit()
    }
}

fn age_ms(now: Timestamp, then_ms: i64) -> i64 {
    now.as_millisecond().saturating_sub(then_ms)
}
