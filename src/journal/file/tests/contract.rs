//! The contract, with segments of the usual size and with tiny ones.

use std::mem;

use jiff::Timestamp;

use super::{fixture::tiny_segments, temp_dir::JournalTempDir};
use crate::journal::{
    file::{FileJournal, settings::FileJournalTuning},
    tests::contract::{JournalFixture, contract_tests},
};

/// A directory with one owner at a time. A crashed owner keeps its directory; the next one gets a copy.
struct FileJournalOwners {
    tuning: FileJournalTuning,
    current: JournalTempDir,
    former: Vec<JournalTempDir>,
}

impl FileJournalOwners {
    fn new(tuning: FileJournalTuning) -> Self {
        Self { tuning, current: JournalTempDir::new(), former: Vec::new() }
    }

    fn open_current(&self) -> FileJournal {
        let (settings, tuning) = (self.current.settings(), self.tuning.clone());
        FileJournal::open_with(&settings, tuning, Box::new(Timestamp::now), Box::new(|_| {})).expect("a journal")
    }
}

impl JournalFixture for FileJournalOwners {
    type Journal = FileJournal;

    async fn open(&mut self) -> FileJournal {
        self.open_current()
    }

    async fn crash(&mut self, _: FileJournal) -> FileJournal {
        let copy = self.current.copy();
        self.former.push(mem::replace(&mut self.current, copy));
        self.open_current()
    }
}

mod usual_segments {
    use super::*;

    contract_tests!(FileJournalOwners::new(FileJournalTuning::for_size(1 << 30)));
}

mod small_segments {
    use super::*;

    contract_tests!(FileJournalOwners::new(tiny_segments()));
}
