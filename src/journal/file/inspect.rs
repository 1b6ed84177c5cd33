//! Reads a journal's directory from another process, also while a daemon writes to it: takes no lock, changes nothing,
//! and ignores an incomplete tail.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    directory,
    error::{OpenError, StorageError},
    header::JournalHeader,
    key::KeyHash,
    record::{LOG_HEADER, LogRecord, SendState},
    scan,
    sealed::SealedSegment,
};
use crate::domain::journal::{Record, SendKey};

/// The record of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedRecord {
    /// As the session that opened the journal last sees it: [`Record::InProgress`] is its own attempt, if it still
    /// runs.
    pub record: Record,
    /// An attempt before the current one, or of an earlier session, may have reached the API.
    pub uncertain: bool,
    /// The time of the record.
    pub at: Timestamp,
}

/// The size of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Sends, counted once for each segment that has a record of them.
    pub entries: u64,
    /// Bytes of logs and indexes.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// The time of the oldest record.
    pub oldest: Option<Timestamp>,
    /// The time of the newest record.
    pub newest: Option<Timestamp>,
}

/// A directory cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The directory does not exist or has no header.
    #[error(
        "{} is not a journal's directory: check journal.dir; a daemon creates it when it first runs",
        dir.display()
    )]
    NoJournal {
        /// The directory.
        dir: PathBuf,
    },
    /// The journal is damaged or cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Returns the newest record of a send.
///
/// # Errors
/// If the directory is not a journal's, cannot be read, or is damaged at the send's record.
pub fn inspect_record(dir: &Path, key: &SendKey) -> Result<Option<InspectedRecord>, InspectError> {
    let hash = KeyHash::new(key, &read_header(dir)?.secret);
    let session = directory::read_session(dir);
    for number in directory::segment_numbers(dir).map_err(OpenError::from)?.into_iter().rev() {
        let found = unless_removed(&directory::log_path(dir, number), find(dir, number, hash))?;
        if let Some(record) = found.flatten() {
            let uncertain = record.state.history(session).uncertain;
            let at = Timestamp::from_millisecond(record.at_ms).unwrap_or_default();
            return Ok(Some(InspectedRecord { record: record.state.into_record(session), uncertain, at }));
        }
    }
    Ok(None)
}

/// Returns the size of a journal.
///
/// # Errors
/// If the directory is not a journal's, or cannot be read.
pub fn inspect_stats(dir: &Path) -> Result<JournalStats, InspectError> {
    read_header(dir)?;
    let mut stats = JournalStats::default();
    for number in directory::segment_numbers(dir).map_err(OpenError::from)? {
        let segment = unless_removed(&directory::log_path(dir, number), segment_stats(dir, number))?;
        stats = stats.add(segment.unwrap_or_default());
    }
    Ok(stats)
}

fn read_header(dir: &Path) -> Result<JournalHeader, InspectError> {
    JournalHeader::read(dir)?.ok_or_else(|| InspectError::NoJournal { dir: dir.to_owned() })
}

/// Turns the error of a segment that retention has removed meanwhile into `None`.
fn unless_removed<T>(log: &Path, read: Result<T, StorageError>) -> Result<Option<T>, InspectError> {
    match read {
        Err(_) if !log.exists() => Ok(None),
        read => Ok(read.map(Some).map_err(OpenError::from)?),
    }
}

/// Reads the newest record of a send in a segment.
fn find(dir: &Path, number: u64, hash: KeyHash) -> Result<Option<LogRecord>, StorageError> {
    if let Some(sealed) = SealedSegment::open(dir, number)? {
        return sealed.find(hash);
    }
    let mut newest: Option<LogRecord> = None;
    scan_log(&directory::log_path(dir, number), |record| {
        if record.hash == hash {
            newest = match record.state {
                SendState::Published => newest.take().map(|finished| finished.with_published(true)),
                _ => Some(record.clone()),
            };
        }
    })?;
    Ok(newest)
}

fn scan_log(log: &Path, mut visit: impl FnMut(&LogRecord)) -> Result<u32, StorageError> {
    let file = File::open(log).map_err(StorageError::io("open", log))?;
    scan::scan(log, &file, |_, record| visit(record))
}

fn segment_stats(dir: &Path, number: u64) -> Result<JournalStats, StorageError> {
    let log = directory::log_path(dir, number);
    let time = |ms| Timestamp::from_millisecond(ms).ok();
    if let Some(sealed) = SealedSegment::open(dir, number)? {
        let file = File::open(&log).map_err(StorageError::io("open", &log))?;
        let oldest = time(scan::read_record(&log, &file, LOG_HEADER)?.at_ms);
        let (entries, newest) = (u64::from(sealed.summary.entries), time(sealed.summary.newest_ms));
        return Ok(JournalStats { entries, bytes: sealed.bytes(), segments: 1, oldest, newest });
    }
    let (mut sends, mut stats) = (BTreeSet::new(), JournalStats { segments: 1, ..JournalStats::default() });
    let bytes = scan_log(&log, |record| {
        sends.insert(record.hash);
        stats.oldest = stats.oldest.or_else(|| time(record.at_ms));
        stats.newest = stats.newest.max(time(record.at_ms));
    })?;
    Ok(JournalStats { entries: u64::try_from(sends.len()).unwrap_or(u64::MAX), bytes: u64::from(bytes), ..stats })
}

impl JournalStats {
    fn add(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            bytes: self.bytes + other.bytes,
            segments: self.segments + other.segments,
            oldest: [self.oldest, other.oldest].into_iter().flatten().min(),
            newest: self.newest.max(other.newest),
        }
    }
}
