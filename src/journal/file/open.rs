//! Opens a directory as a store: reads the segments, cuts a torn tail, rebuilds missing indexes.

use std::{collections::VecDeque, fs, path::Path, time::UNIX_EPOCH};

use super::{
    active::ActiveSegment,
    directory::{self, JournalDirectory},
    error::{OpenError, StorageError},
    header::JournalHeader,
    index_file::IndexFile,
    sealed::{self, SealedSegment},
    settings::FileJournalTuning,
    store::Store,
};
use crate::journal::event::{EventListener, JournalEvent};

/// The current time, and how long a new doubt lasts.
#[derive(Clone, Copy)]
pub(super) struct DoubtPeriod {
    /// Ms since 1970.
    pub(super) now_ms: i64,
    pub(super) doubt_ms: i64,
}

impl DoubtPeriod {
    const fn end(self) -> i64 {
        self.now_ms.saturating_add(self.doubt_ms)
    }
}

/// Opens the directory, creates missing files, cuts a torn tail, and records in the header whether the journal is in
/// doubt.
pub(super) fn open(
    path: &Path,
    tuning: FileJournalTuning,
    period: DoubtPeriod,
    listener: &EventListener,
) -> Result<Store, OpenError> {
    let (mut dir, is_new) = JournalDirectory::open(path)?;
    let mut doubt_until_ms = former_doubt(&dir, is_new, period)?;
    if is_new {
        // Before anything else: a crash must not leave a new directory that looks complete.
        dir.update_header(|header| header.doubt_until_ms = doubt_until_ms)?;
        dir.sync_parent()?;
    }
    let known = *dir.header();
    let mut numbers = directory::segment_numbers(path)?;
    let newest = numbers.pop();
    let mut sealed = VecDeque::with_capacity(numbers.len());
    for number in numbers {
        sealed.extend(open_sealed(&dir, number, listener)?);
    }
    let OpenedSegment { active, is_created } = open_active(&dir, newest, sealed.back(), &tuning, listener)?;
    if let Some(number) = missing_segment(&known, &sealed, &active, is_created) {
        doubt_until_ms = period.end();
        listener(JournalEvent::SegmentMissing { number });
    }
    dir.update_header(|header| {
        header.doubt_until_ms = doubt_until_ms;
        header.oldest = sealed.front().map_or(active.number, |segment| segment.number);
        header.newest = active.number;
        header.segments = sealed::segment_count(&sealed);
    })?;
    remove_leftovers(&dir, &sealed)?;
    Ok(Store::new(dir, active, sealed, tuning))
}

/// Until when the journal was in doubt before this opening, or is as a new one; ms since 1970.
fn former_doubt(dir: &JournalDirectory, is_new: bool, period: DoubtPeriod) -> Result<i64, StorageError> {
    if is_new {
        return Ok(period.end());
    }
    let header = dir.header();
    if header.newest > 0 || header.doubt_until_ms > i64::MIN {
        // A clock that was ahead must not leave it in doubt for years.
        return Ok(header.doubt_until_ms.min(period.end()));
    }
    // Version 1 did not record doubt; its header was written once, when the directory was new.
    let path = JournalHeader::path(dir.path());
    let written =
        fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(StorageError::io("read", &path))?;
    let written_ms = written.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok());
    let until_ms = written_ms.unwrap_or(period.now_ms).saturating_add(period.doubt_ms);
    Ok(if until_ms > period.now_ms { until_ms.min(period.end()) } else { i64::MIN })
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

/// The segment that is written.
struct OpenedSegment {
    active: ActiveSegment,
    /// There was none, or none that was ever durable.
    is_created: bool,
}

/// Opens the newest segment for writing, or creates one.
fn open_active(
    dir: &JournalDirectory,
    newest: Option<u64>,
    before: Option<&SealedSegment>,
    tuning: &FileJournalTuning,
    listener: &EventListener,
) -> Result<OpenedSegment, StorageError> {
    let opened = newest.map_or(Ok(None), |number| ActiveSegment::open(dir, number))?;
    let Some(active) = opened else {
        let previous = before.map_or(0, |sealed| sealed.number);
        let number = newest.unwrap_or_else(|| dir.header().newest.saturating_add(1));
        let active = ActiveSegment::create(dir, &*tuning.disk, number, previous)?;
        return Ok(OpenedSegment { active, is_created: true });
    };
    let torn_bytes = active.torn_bytes()?;
    if torn_bytes > 0 {
        listener(JournalEvent::TornTailCut { path: &active.path, bytes: torn_bytes });
    }
    // Also syncs: the records just read may be only in the page cache.
    active.truncate()?;
    Ok(OpenedSegment { active, is_created: false })
}

/// Returns a segment that is missing: the number of one that was not there at the last opening is not returned again.
fn missing_segment(
    known: &JournalHeader,
    sealed: &VecDeque<SealedSegment>,
    active: &ActiveSegment,
    is_created: bool,
) -> Option<u64> {
    let active = (!is_created).then_some((active.number, active.previous));
    let chain: Vec<_> = sealed.iter().map(|segment| (segment.number, segment.previous)).chain(active).collect();
    let broken = chain.iter().zip(chain.iter().skip(1)).find(|((before, _), (_, previous))| before != previous);
    let gap = broken.map(|(_, (_, previous))| *previous);
    if known.newest == 0 {
        // Version 1 knows neither the first nor the last one.
        return gap;
    }
    let is_counted = |number: &u64| (known.oldest..=known.newest).contains(number);
    let present = chain.iter().filter(|(number, _)| is_counted(number)).count();
    let is_complete = u64::try_from(present).is_ok_and(|present| present >= known.segments);
    let ends = [known.oldest, known.newest].into_iter().find(|end| !chain.iter().any(|(number, _)| number == end));
    (!is_complete).then(|| ends.or(gap).unwrap_or(known.newest))
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
