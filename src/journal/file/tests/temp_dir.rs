//! A temporary directory for a journal.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use uuid::Uuid;

use crate::journal::FileJournalSettings;

/// A directory that is removed on drop.
pub(super) struct JournalTempDir(PathBuf);

impl JournalTempDir {
    /// Chooses a path; the directory is not created.
    pub(super) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("edna-journal-{}", Uuid::new_v4())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn settings(&self) -> FileJournalSettings {
        FileJournalSettings { dir: self.0.clone(), retention: Duration::from_hours(72), max_bytes: 1 << 30 }
    }

    /// Copies the files: the state that a crash would leave now.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::new();
        fs::create_dir_all(&copy.0).expect("a directory");
        for entry in fs::read_dir(&self.0).expect("a directory") {
            let entry = entry.expect("an entry");
            // A draft may be renamed meanwhile.
            let _ = fs::copy(entry.path(), copy.0.join(entry.file_name()));
        }
        copy
    }
}

impl Drop for JournalTempDir {
    fn drop(&mut self) {
        // A journal that was just dropped may still write an index.
        let is_gone = |_: &u32| !self.0.exists() || fs::remove_dir_all(&self.0).is_ok();
        let _ = (0..1_000).find(is_gone);
    }
}
