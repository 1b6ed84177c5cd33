//! A segment that is not written any more: a log, and an index in memory until that is a file, too.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    directory,
    fault::Fault,
    index::{FileIndex, Summary},
    key::KeyHash,
    record::Entry,
    scan,
    segment::{self, Active, Offsets},
};

/// A segment that is only read.
pub(super) struct Sealed {
    pub(super) number: u64,
    /// The segment before it, 0 if none.
    pub(super) previous: u64,
    pub(super) summary: Summary,
    log: PathBuf,
    index: Index,
}

enum Index {
    Memory(Arc<Offsets>),
    File(FileIndex),
}

impl Sealed {
    /// Seals what was written.
    pub(super) fn of(active: Active) -> Self {
        let summary = Summary {
            entries: u32::try_from(active.offsets.len()).unwrap_or(u32::MAX),
            log_len: active.durable,
            newest_ms: active.newest_ms,
        };
        let index = Index::Memory(Arc::new(active.offsets));
        Self { number: active.number, previous: active.previous, summary, log: active.path, index }
    }

    /// Opens it by its index; `None` if that is not there or does not fit, so that the log must be read.
    pub(super) fn open(dir: &Path, number: u64) -> Result<Option<Self>, Fault> {
        let log = directory::log_path(dir, number);
        let file = File::open(&log).map_err(Fault::io("open", &log))?;
        let Some(previous) = segment::read_header(&log, &file, number)? else { return Ok(None) };
        let Some((index, summary)) = FileIndex::load(directory::index_path(dir, number)) else { return Ok(None) };
        let length = file.metadata().map_err(Fault::io("read", &log))?.len();
        if length < u64::from(summary.log_len) {
            return Err(Fault::corrupt(&log, length));
        }
        Ok(Some(Self { number, previous, summary, log, index: Index::File(index) }))
    }

    /// The newest record of a send in this segment.
    pub(super) fn find(&self, hash: KeyHash) -> Result<Option<Entry>, Fault> {
        let offset = match &self.index {
            Index::Memory(offsets) => offsets.get(&hash).copied(),
            Index::File(index) => index.find(hash)?,
        };
        let Some(offset) = offset else { return Ok(None) };
        let file = File::open(&self.log).map_err(Fault::io("open", &self.log))?;
        let entry = scan::read_one(&self.log, &file, offset)?;
        if entry.hash == hash { Ok(Some(entry)) } else { Err(Fault::corrupt(&self.log, u64::from(offset))) }
    }

    /// What its index must hold, if that is not a file yet.
    pub(super) fn to_index(&self) -> Option<(Arc<Offsets>, Summary)> {
        match &self.index {
            Index::Memory(offsets) => Some((Arc::clone(offsets), self.summary)),
            Index::File(_) => None,
        }
    }

    pub(super) fn set_index(&mut self, index: FileIndex) {
        self.index = Index::File(index);
    }

    /// What it takes of the disk.
    pub(super) fn bytes(&self) -> u64 {
        let index = match &self.index {
            Index::Memory(_) => 0,
            Index::File(index) => index.bytes,
        };
        u64::from(self.summary.log_len) + index
    }

    /// Removes its files; the log first, as an index alone means nothing.
    pub(super) fn remove(&self, dir: &Path) -> Result<(), Fault> {
        directory::remove(&self.log)?;
        directory::remove(&directory::index_path(dir, self.number))
    }
}
