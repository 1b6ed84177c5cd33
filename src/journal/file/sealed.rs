//! A sealed segment: a log that is only read, with an index in memory until its index file is built.

use std::{
    collections::VecDeque,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    active::{self, ActiveSegment},
    directory,
    error::StorageError,
    index_file::{IndexFile, Offsets, SegmentSummary},
    key::KeyHash,
    record::LogRecord,
    scan,
};

/// A segment that is only read.
pub(super) struct SealedSegment {
    pub(super) number: u64,
    /// The number of the segment before it, 0 for the first.
    pub(super) previous: u64,
    pub(super) summary: SegmentSummary,
    log: PathBuf,
    index: SegmentIndex,
}

enum SegmentIndex {
    Memory(Arc<Offsets>),
    File(IndexFile),
}

/// The number of segments with the active one.
pub(super) fn segment_count(sealed: &VecDeque<SealedSegment>) -> u64 {
    u64::try_from(sealed.len()).unwrap_or(u64::MAX).saturating_add(1)
}

impl SealedSegment {
    pub(super) fn new(active: ActiveSegment) -> Self {
        let summary = SegmentSummary {
            entries: u32::try_from(active.offsets.len()).unwrap_or(u32::MAX),
            log_len: active.durable,
            newest_ms: active.newest_ms,
        };
        let index = SegmentIndex::Memory(Arc::new(active.offsets));
        Self { number: active.number, previous: active.previous, summary, log: active.path, index }
    }

    /// Opens a segment by its index file; `None` if that is missing or damaged, so that the log must be read.
    pub(super) fn open(dir: &Path, number: u64) -> Result<Option<Self>, StorageError> {
        let log = directory::log_path(dir, number);
        let file = File::open(&log).map_err(StorageError::io("open", &log))?;
        let Some(previous) = active::read_header(&log, &file, number)? else { return Ok(None) };
        let Some((index, summary)) = IndexFile::load(directory::index_path(dir, number)) else { return Ok(None) };
        let length = file.metadata().map_err(StorageError::io("read", &log))?.len();
        if length < u64::from(summary.log_len) {
            return Err(StorageError::corrupt(&log, length));
        }
        Ok(Some(Self { number, previous, summary, log, index: SegmentIndex::File(index) }))
    }

    /// Reads the newest record of a send in this segment.
    pub(super) fn find(&self, hash: KeyHash) -> Result<Option<LogRecord>, StorageError> {
        let place = match &self.index {
            SegmentIndex::Memory(offsets) => offsets.get(&hash).copied(),
            SegmentIndex::File(index) => index.find(hash)?,
        };
        let Some(place) = place else { return Ok(None) };
        let file = File::open(&self.log).map_err(StorageError::io("open", &self.log))?;
        let record = scan::read_place(&self.log, &file, place)?;
        let corrupt = || StorageError::corrupt(&self.log, u64::from(place.offset()));
        if record.hash == hash { Ok(Some(record)) } else { Err(corrupt()) }
    }

    /// The content of the index file that is still to be built, if any.
    pub(super) fn missing_index(&self) -> Option<(Arc<Offsets>, SegmentSummary)> {
        match &self.index {
            SegmentIndex::Memory(offsets) => Some((Arc::clone(offsets), self.summary)),
            SegmentIndex::File(_) => None,
        }
    }

    pub(super) fn set_index(&mut self, index: IndexFile) {
        self.index = SegmentIndex::File(index);
    }

    /// The size on disk.
    pub(super) fn bytes(&self) -> u64 {
        let index = match &self.index {
            SegmentIndex::Memory(_) => 0,
            SegmentIndex::File(index) => index.bytes,
        };
        u64::from(self.summary.log_len) + index
    }

    /// Removes the segment's files, the log first: an index without a log is removed at the next opening.
    pub(super) fn remove(&self, dir: &Path) -> Result<(), StorageError> {
        directory::remove_file(&self.log)?;
        directory::remove_file(&directory::index_path(dir, self.number))
    }
}
