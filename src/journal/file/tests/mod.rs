//! The embedded journal keeps the contract, and what it promises beyond it.

mod faults;
mod kill;
mod opening;
mod reading;
mod retention;
mod walks;
mod world;

use std::{
    fs, mem,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use uuid::Uuid;

use super::{FileJournal, FileJournalSettings, Tuning};
use crate::journal::tests::contract::{Lab, contract};

/// A directory that is gone when the test is over.
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    pub(super) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("edna-journal-{}", Uuid::new_v4())))
    }

    pub(super) fn settings(&self) -> FileJournalSettings {
        FileJournalSettings { dir: self.0.clone(), retention: Duration::from_hours(72), max_bytes: 1 << 30 }
    }

    /// What a crash now would leave: a copy of the directory.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::new();
        copy_files(&self.0, &copy.0);
        copy
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A journal that was let go just now may still write an index.
        let is_gone = |_: &u32| !self.0.exists() || fs::remove_dir_all(&self.0).is_ok();
        let _ = (0..1_000).find(is_gone);
    }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        // A draft may become an index meanwhile.
        let _ = fs::copy(entry.path(), to.join(entry.file_name()));
    }
}

/// Segments of a few records, so that every test goes through many.
pub(super) fn tiny() -> Tuning {
    Tuning { segment_entries: 5, tick: Duration::from_millis(5), ..Tuning::for_size(1 << 30) }
}

/// Owners of one directory. A dead one keeps a copy that nobody uses.
struct Directories {
    tuning: Tuning,
    present: Place,
    former: Vec<Place>,
}

impl Directories {
    fn with(tuning: Tuning) -> Self {
        Self { tuning, present: Place::new(), former: Vec::new() }
    }

    fn open(&self) -> FileJournal {
        let (now, tell) = (Box::new(Timestamp::now), Box::new(|_: super::Notice<'_>| {}));
        FileJournal::open_with(&self.present.settings(), self.tuning.clone(), now, tell).expect("a journal")
    }
}

impl Lab for Directories {
    type Journal = FileJournal;

    async fn first(&mut self) -> FileJournal {
        self.open()
    }

    async fn crash(&mut self, _: FileJournal) -> FileJournal {
        let copy = self.present.copy();
        self.former.push(mem::replace(&mut self.present, copy));
        self.open()
    }
}

mod plain {
    use super::*;

    contract!(Directories::with(Tuning::for_size(1 << 30)));
}

mod in_tiny_segments {
    use super::*;

    contract!(Directories::with(tiny()));
}
