//! Looks into a directory from outside, while a daemon writes in it or not: no lock, no change, and a tail that moves.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    directory,
    fault::{Fault, OpenError},
    key::KeyHash,
    record::Entry,
    scan,
    sealed::Sealed,
    segment::HEADER,
};
use crate::domain::journal::{Record, SendKey};

/// What is on record of one send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// As the daemon that has opened the journal last would be told it: [`Record::InProgress`] is its own, if it still runs.
    pub record: Record,
    /// An attempt before the present one, or of a daemon that is gone, may have reached the API.
    pub uncertain: bool,
    /// When that was recorded.
    pub at: Timestamp,
}

/// How much is on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sends, counted once for each segment that knows them.
    pub entries: u64,
    /// Bytes of logs and indexes.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// When the oldest record was written that is still there.
    pub oldest: Option<Timestamp>,
    /// When the newest was.
    pub newest: Option<Timestamp>,
}

/// Why a directory tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is none.
    #[error("{} is not a journal's directory: check journal.dir; a daemon makes it when it first runs", dir.display())]
    NoJournal {
        /// Which directory.
        dir: PathBuf,
    },
    /// It is damaged.
    #[error(transparent)]
    Damaged(#[from] OpenError),
}

/// What is on record of a send; `None` if nothing.
///
/// # Errors
/// When the directory is no journal's, or cannot be read, or is damaged where the send's record is.
pub fn show(dir: &Path, key: &SendKey) -> Result<Option<Shown>, Unreadable> {
    let hash = KeyHash::of(key, &secret(dir)?);
    let owner = directory::read_session(dir);
    for number in directory::segments(dir).map_err(OpenError::from)?.into_iter().rev() {
        let found = unless_forgotten(&directory::log_path(dir, number), find(dir, number, hash))?;
        if let Some(entry) = found.flatten() {
            let uncertain = entry.state.is_uncertain(owner);
            let at = Timestamp::from_millisecond(entry.at_ms).unwrap_or_default();
            return Ok(Some(Shown { record: entry.state.told_to(owner), uncertain, at }));
        }
    }
    Ok(None)
}

/// How much is on record.
///
/// # Errors
/// When the directory is no journal's, or cannot be read.
pub fn stats(dir: &Path) -> Result<Stats, Unreadable> {
    secret(dir)?;
    let mut stats = Stats::default();
    for number in directory::segments(dir).map_err(OpenError::from)? {
        let counted = unless_forgotten(&directory::log_path(dir, number), count(dir, number))?;
        stats = stats.and(counted.unwrap_or_default());
    }
    Ok(stats)
}

fn secret(dir: &Path) -> Result<[u8; 16], Unreadable> {
    directory::read_secret(dir)?.ok_or_else(|| Unreadable::NoJournal { dir: dir.to_owned() })
}

/// What a look at a segment tells; nothing if it was forgotten meanwhile.
fn unless_forgotten<T>(log: &Path, looked: Result<T, Fault>) -> Result<Option<T>, Unreadable> {
    match looked {
        Err(_) if !log.exists() => Ok(None),
        looked => Ok(looked.map(Some).map_err(OpenError::from)?),
    }
}

/// The newest record of a send in a segment.
fn find(dir: &Path, number: u64, hash: KeyHash) -> Result<Option<Entry>, Fault> {
    if let Some(sealed) = Sealed::open(dir, number)? {
        return sealed.find(hash);
    }
    let mut newest = None;
    walk(&directory::log_path(dir, number), |entry| {
        if entry.hash == hash {
            newest = Some(entry.clone());
        }
    })?;
    Ok(newest)
}

fn walk(log: &Path, mut each: impl FnMut(&Entry)) -> Result<u32, Fault> {
    let file = File::open(log).map_err(Fault::io("open", log))?;
    scan::walk(log, &file, |_, entry| each(entry))
}

/// The figures of one segment.
fn count(dir: &Path, number: u64) -> Result<Stats, Fault> {
    let log = directory::log_path(dir, number);
    let time = |ms| Timestamp::from_millisecond(ms).ok();
    if let Some(sealed) = Sealed::open(dir, number)? {
        let file = File::open(&log).map_err(Fault::io("open", &log))?;
        let oldest = time(scan::read_one(&log, &file, HEADER)?.at_ms);
        let (entries, newest) = (u64::from(sealed.summary.entries), time(sealed.summary.newest_ms));
        return Ok(Stats { entries, bytes: sealed.bytes(), segments: 1, oldest, newest });
    }
    let (mut sends, mut stats) = (BTreeSet::new(), Stats { segments: 1, ..Stats::default() });
    let bytes = walk(&log, |entry| {
        sends.insert(entry.hash);
        stats.oldest = stats.oldest.or_else(|| time(entry.at_ms));
        stats.newest = stats.newest.max(time(entry.at_ms));
    })?;
    Ok(Stats { entries: u64::try_from(sends.len()).unwrap_or(u64::MAX), bytes: u64::from(bytes), ..stats })
}

impl Stats {
    fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            bytes: self.bytes + other.bytes,
            segments: self.segments + other.segments,
            oldest: [self.oldest, other.oldest].into_iter().flatten().min(),
            newest: self.newest.max(other.newest),
        }
    }
}
