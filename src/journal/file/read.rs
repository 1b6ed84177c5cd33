//! Looks into a directory from outside, while a daemon writes in it or not: no lock, no change, and a tail that moves.

use std::{
    fs::{self, File},
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
    /// As the daemon that has opened the journal last would be told it: [`Record::Held`] is its own, if it still runs.
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
        if let Some(entry) = find(dir, number, hash).map_err(OpenError::from)? {
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
        add(&mut stats, dir, number).map_err(OpenError::from)?;
    }
    Ok(stats)
}

fn secret(dir: &Path) -> Result<[u8; 16], Unreadable> {
    directory::read_secret(dir)?.ok_or_else(|| Unreadable::NoJournal { dir: dir.to_owned() })
}

/// The newest record of a send in a segment; nothing if the segment has just been forgotten.
fn find(dir: &Path, number: u64, hash: KeyHash) -> Result<Option<Entry>, Fault> {
    let path = directory::log_path(dir, number);
    let Ok(file) = File::open(&path) else { return gone_or(&path, None) };
    match Sealed::open(dir, number) {
        Ok(Some(sealed)) => sealed.find(hash).or_else(|fault| if path.exists() { Err(fault) } else { Ok(None) }),
        Ok(None) => {
            let mut newest = None;
            scan::walk(&path, &file, |_, entry| {
                if entry.hash == hash {
                    newest = Some(entry.clone());
                }
            })?;
            Ok(newest)
        }
        Err(fault) => {
            if path.exists() {
                Err(fault)
            } else {
                Ok(None)
            }
        }
    }
}

/// A file that is gone was forgotten meanwhile; one that is there should have been readable.
fn gone_or<T>(path: &Path, nothing: T) -> Result<T, Fault> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(nothing),
        Err(error) => Err(Fault::io("read", path)(error)),
        Ok(_) => Err(Fault::io("open", path)(std::io::ErrorKind::PermissionDenied.into())),
    }
}

fn add(stats: &mut Stats, dir: &Path, number: u64) -> Result<(), Fault> {
    let path = directory::log_path(dir, number);
    let Ok(file) = File::open(&path) else { return gone_or(&path, ()) };
    let (mut entries, mut newest_ms) = (std::collections::BTreeSet::new(), None);
    match Sealed::open(dir, number)? {
        Some(sealed) => {
            stats.entries += u64::from(sealed.summary.entries);
            stats.bytes += sealed.bytes();
            newest_ms = Some(sealed.summary.newest_ms);
        }
        None => {
            let length = scan::walk(&path, &file, |_, entry| {
                entries.insert(entry.hash);
                newest_ms = newest_ms.max(Some(entry.at_ms));
            })?;
            stats.entries += entries.len() as u64;
            stats.bytes += u64::from(length);
        }
    }
    stats.segments += 1;
    let oldest_ms = scan::read_one(&path, &file, HEADER).ok().map(|entry| entry.at_ms);
    let time = |ms: Option<i64>| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stats.oldest = [stats.oldest, time(oldest_ms)].into_iter().flatten().min();
    stats.newest = stats.newest.max(time(newest_ms));
    Ok(())
}
