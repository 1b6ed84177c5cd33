//! Maintenance beside the batches: seals full segments and builds their index files.

use std::{mem, thread, thread::JoinHandle};

use jiff::Timestamp;

use super::{
    active::ActiveSegment,
    directory,
    error::StorageError,
    index_file::IndexFile,
    sealed::{self, SealedSegment},
    settings::FileJournalLimits,
    store::Store,
};
use crate::journal::event::{EventListener, JournalEvent};

/// The maximum number of sealed segments with their index in memory.
const MAX_UNINDEXED: usize = 2;

/// An index file that a thread is building.
pub(super) struct IndexBuild {
    number: u64,
    thread: JoinHandle<Result<IndexFile, StorageError>>,
}

impl IndexBuild {
    /// Waits for the thread; the next opening finds its file.
    pub(super) fn wait(self) {
        let _ = self.thread.join();
    }
}

impl Store {
    /// Whether the active segment should be sealed.
    pub(super) fn is_full(&self, now: Timestamp, limits: &FileJournalLimits) -> bool {
        let active = &self.active;
        // By age, too, so that records expire soon after their retention even at a low rate.
        let age_ms = active.oldest_ms.map(|oldest_ms| now.as_millisecond().saturating_sub(oldest_ms));
        let is_old = age_ms.is_some_and(|age_ms| age_ms > limits.retention_ms / 16);
        is_old || active.durable >= self.tuning.segment_bytes || active.offsets.len() >= self.tuning.segment_entries
    }

    /// Seals the active segment and begins a new one; discards the batch.
    pub(super) fn rotate(&mut self) -> Result<(), StorageError> {
        self.roll_back();
        self.dir.check_unchanged()?;
        let (old, is_empty) = (&self.active, self.active.offsets.is_empty());
        let previous = if is_empty { old.previous } else { old.number };
        let next = ActiveSegment::create(&self.dir, &*self.tuning.disk, old.number + 1, previous)?;
        let oldest =
            self.sealed.front().map_or(if is_empty { next.number } else { old.number }, |sealed| sealed.number);
        // After the creation: a crash in between must not look like a lost segment.
        let segments = sealed::segment_count(&self.sealed) + u64::from(!is_empty);
        let dropped_until_ms = self.dropped_until_ms;
        let recorded = self.dir.update_header(|header| {
            (header.oldest, header.newest, header.segments) = (oldest, next.number, segments);
            header.doubt_until_ms = header.doubt_until_ms.max(dropped_until_ms);
        });
        if let Err(error) = recorded {
            let _ = directory::remove_file(&next.path);
            return Err(error);
        }
        let old = mem::replace(&mut self.active, next);
        // A failed write may have left bytes behind the durable part. If they stay, they do no harm: none of their
        // calls resolved with success, and a record in a later segment takes precedence.
        let _ = old.truncate();
        if is_empty {
            return directory::remove_file(&old.path);
        }
        self.sealed.push_back(SealedSegment::new(old));
        Ok(())
    }

    /// Starts a thread that builds the index file of the oldest segment without one.
    fn start_index_build(&self) -> Option<IndexBuild> {
        let (number, (offsets, summary)) =
            self.sealed.iter().find_map(|segment| segment.missing_index().map(|content| (segment.number, content)))?;
        let path = directory::index_path(self.dir.path(), number);
        let build = move || IndexFile::build(path, &offsets, summary);
        let thread = thread::Builder::new().name("journal-index".to_owned()).spawn(build).ok()?;
        Some(IndexBuild { number, thread })
    }

    /// Takes over a finished index file and starts the next build. Blocks on a build only above [`MAX_UNINDEXED`].
    pub(super) fn build_indexes(&mut self, build: &mut Option<IndexBuild>, listener: &EventListener) {
        let unindexed = self.sealed.iter().filter(|segment| segment.missing_index().is_some()).count();
        let takes = |build: &mut IndexBuild| build.thread.is_finished() || unindexed > MAX_UNINDEXED;
        if let Some(IndexBuild { number, thread }) = build.take_if(takes) {
            match thread.join() {
                Ok(Ok(index)) => {
                    match self.sealed.iter_mut().find(|segment| segment.number == number) {
                        Some(segment) => segment.set_index(index),
                        // Retention has removed the segment meanwhile.
                        None => drop(directory::remove_file(&directory::index_path(self.dir.path(), number))),
                    }
                }
                Ok(Err(error)) => return listener(JournalEvent::MaintenanceFailed { problem: &error.to_string() }),
                Err(_) => return,
            }
        }
        if build.is_none() {
            *build = self.start_index_build();
        }
    }
}
