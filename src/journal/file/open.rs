//! Opens a directory as a store: reads the segments, cuts a torn tail, rebuilds missing indexes.

use std::{collections::VecDeque, fs, path::Path};

use super::{
    active::ActiveSegment,
    directory::{self, JournalDirectory},
    error::{OpenError, StorageError},
    index_file::IndexFile,
    sealed::SealedSegment,
    settings::FileJournalTuning,
    store::Store,
};
use crate::journal::event::{EventListener, JournalEvent};

/// The opened store.
pub(super) struct OpenedStore {
    pub(super) store: Store,
    /// The directory is not new and no segment is missing between others, so every started send has a record.
    pub(super) is_complete: bool,
}

/// Opens the directory, creates missing files, and cuts a torn tail.
pub(super) fn open(path: &Path, tuning: FileJournalTuning, listener: &EventListener) -> Result<OpenedStore, OpenError> {
    let (dir, is_new) = JournalDirectory::open(path)?;
    let mut numbers = directory::segment_numbers(path)?;
    let newest = numbers.pop();
    let mut sealed = VecDeque::with_capacity(numbers.len());
    for number in numbers {
        sealed.extend(open_sealed(&dir, number, listener)?);
    }
    let active = open_active(&dir, newest, sealed.back(), &tuning, listener)?;
    let missing = missing_segment(&sealed, &active);
    if let Some(number) = missing {
        listener(JournalEvent::SegmentMissing { number });
    }
    remove_leftovers(&dir, &sealed)?;
    let store = Store::new(dir, active, sealed, tuning);
    Ok(OpenedStore { store, is_complete: !is_new && missing.is_none() })
}

/// Opens a segment by its index, or else by its log; `None` if nothing in it was ever durable.
fn open_sealed(
    dir: &JournalDirectory,
    number: u64,
    listener: &EventListener,
) -> Result<Option<SealedSegment>, StorageError> {
    if let Some(sealed) = SealedSegment::open(dir.path(), number)? {
        return Ok(Some(sealed));
    }
    let Some(active) = ActiveSegment::open(dir, number)? else {
        directory::remove_file(&directory::log_path(dir.path(), number))?;
        return Ok(None);
    };
    active.truncate()?;
    let mut sealed = SealedSegment::new(active);
    let Some((offsets, summary)) = sealed.missing_index() else { return Ok(Some(sealed)) };
    let path = directory::index_path(dir.path(), number);
    listener(JournalEvent::IndexRebuilt { path: &path });
    sealed.set_index(IndexFile::build(path, &offsets, summary)?);
    Ok(Some(sealed))
}

/// Opens the newest segment for writing, or creates one.
fn open_active(
    dir: &JournalDirectory,
    newest: Option<u64>,
    before: Option<&SealedSegment>,
    tuning: &FileJournalTuning,
    listener: &EventListener,
) -> Result<ActiveSegment, StorageError> {
    let opened = newest.map_or(Ok(None), |number| ActiveSegment::open(dir, number))?;
    let Some(active) = opened else {
        let previous = before.map_or(0, |sealed| sealed.number);
        return ActiveSegment::create(dir, &*tuning.disk, newest.unwrap_or(1), previous);
    };
    let torn_bytes = active.torn_bytes()?;
    if torn_bytes > 0 {
        listener(JournalEvent::TornTailCut { path: &active.path, bytes: torn_bytes });
    }
    // Also syncs: the records just read may be only in the page cache.
    active.truncate()?;
    Ok(active)
}

/// Returns the first segment that its successor names as its predecessor but that is not there.
fn missing_segment(sealed: &VecDeque<SealedSegment>, active: &ActiveSegment) -> Option<u64> {
    let chain = sealed.iter().map(|segment| (segment.number, segment.previous));
    let chain: Vec<_> = chain.chain([(active.number, active.previous)]).collect();
    let broken = chain.iter().zip(chain.iter().skip(1)).find(|((before, _), (_, previous))| before != previous);
    broken.map(|(_, (_, previous))| *previous)
}

/// Removes the leftovers of a crash: drafts, and indexes without a sealed log.
fn remove_leftovers(dir: &JournalDirectory, sealed: &VecDeque<SealedSegment>) -> Result<(), StorageError> {
    for entry in fs::read_dir(dir.path()).map_err(StorageError::io("read", dir.path()))? {
        let path = entry.map_err(StorageError::io("read", dir.path()))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let has_log = || sealed.iter().any(|segment| directory::index_path(dir.path(), segment.number) == path);
        if extension == Some("draft") || (extension == Some("idx") && !has_log()) {
            directory::remove_file(&path)?;
        }
    }
    Ok(())
}
