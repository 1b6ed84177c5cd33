//! From a directory to a store.

use std::{collections::VecDeque, fs, path::Path};

use super::{
    Tuning,
    directory::{self, Directory},
    fault::{Fault, OpenError},
    index::FileIndex,
    notice::{Notice, Tell},
    sealed::Sealed,
    segment::Active,
    store::Store,
};

/// What opening has found.
pub(super) struct Opened {
    pub(super) store: Store,
    /// No send without a record was ever started: the directory is not new and no segment is missing between others.
    pub(super) is_complete: bool,
}

/// Opens the directory, makes what is missing, cuts what was never told durable.
pub(super) fn open(path: &Path, tuning: Tuning, tell: &Tell) -> Result<Opened, OpenError> {
    let (dir, is_new) = Directory::open(path)?;
    let mut numbers = directory::segments(path)?;
    let newest = numbers.pop();
    let mut sealed = VecDeque::with_capacity(numbers.len());
    for number in numbers {
        sealed.extend(open_sealed(&dir, number, tell)?);
    }
    let active = open_active(&dir, newest, sealed.back(), &tuning, tell)?;
    let gap = gap(&sealed, &active);
    if let Some(number) = gap {
        tell(Notice::Gap { missing: number });
    }
    tidy(&dir, &sealed)?;
    let store = Store::new(dir, active, sealed, tuning);
    Ok(Opened { store, is_complete: !is_new && gap.is_none() })
}

/// A segment by its index, else by its log; `None` if nothing was ever durable in it.
fn open_sealed(dir: &Directory, number: u64, tell: &Tell) -> Result<Option<Sealed>, Fault> {
    if let Some(sealed) = Sealed::open(dir.path(), number)? {
        return Ok(Some(sealed));
    }
    let Some(active) = Active::open(dir, number)? else {
        directory::remove(&directory::log_path(dir.path(), number))?;
        return Ok(None);
    };
    active.cut()?;
    let mut sealed = Sealed::of(active);
    let Some((offsets, summary)) = sealed.to_index() else { return Ok(Some(sealed)) };
    let path = directory::index_path(dir.path(), number);
    tell(Notice::Reindexed { path: &path });
    sealed.set_index(FileIndex::build(path, &offsets, summary)?);
    Ok(Some(sealed))
}

/// The segment to write on: the newest one, or a new one.
fn open_active(
    dir: &Directory,
    newest: Option<u64>,
    before: Option<&Sealed>,
    tuning: &Tuning,
    tell: &Tell,
) -> Result<Active, Fault> {
    let opened = newest.map_or(Ok(None), |number| Active::open(dir, number))?;
    let Some(active) = opened else {
        let previous = before.map_or(0, |sealed| sealed.number);
        return Active::create(dir, &*tuning.disk, newest.unwrap_or(1), previous);
    };
    let torn = active.torn()?;
    if torn > 0 {
        tell(Notice::TornTail { path: &active.path, bytes: torn });
    }
    // Also without a tail: what was read may be only in the page cache still.
    active.cut()?;
    Ok(active)
}

/// The first segment that another one names as the one before it, but is not there.
fn gap(sealed: &VecDeque<Sealed>, active: &Active) -> Option<u64> {
    let chain = sealed.iter().map(|segment| (segment.number, segment.previous));
    let chain: Vec<_> = chain.chain([(active.number, active.previous)]).collect();
    let broken = chain.iter().zip(chain.iter().skip(1)).find(|((before, _), (_, previous))| before != previous);
    broken.map(|(_, (_, previous))| *previous)
}

/// Removes what a crash left half done: drafts, and indexes without a log or of the segment that is written.
fn tidy(dir: &Directory, sealed: &VecDeque<Sealed>) -> Result<(), Fault> {
    for entry in fs::read_dir(dir.path()).map_err(Fault::io("read", dir.path()))? {
        let path = entry.map_err(Fault::io("read", dir.path()))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let belongs = || sealed.iter().any(|segment| directory::index_path(dir.path(), segment.number) == path);
        if extension == Some("draft") || (extension == Some("idx") && !belongs()) {
            directory::remove(&path)?;
        }
    }
    Ok(())
}
