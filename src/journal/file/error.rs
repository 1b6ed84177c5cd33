//! Errors of the file journal, with their remedies.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A system call failed.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Records that were durable are damaged. Continuing without them could send commands twice.
    #[error(
        "{} is corrupt at byte {offset}: check the disk, then restore the journal's directory from a copy, or stop the \
         daemon and move the directory away; with a new journal, commands that the broker redelivers count as \
         uncertain",
        path.display()
    )]
    Corrupt {
        /// The segment's log.
        path: PathBuf,
        /// The place of the damage.
        offset: u64,
    },
    /// An index is damaged; its log still has every record.
    #[error(
        "{} is corrupt at byte {offset}: check the disk, then stop the daemon, remove this one file and start again; \
         it is rebuilt from the log beside it",
        path.display()
    )]
    CorruptIndex {
        /// The index file.
        path: PathBuf,
        /// The place of the damage.
        offset: u64,
    },
    /// The open files are no longer in the directory.
    #[error(
        "the journal's directory {} was removed or replaced: put it back, or restart the daemon to begin a new \
         journal, with which commands that the broker redelivers count as uncertain",
        dir.display()
    )]
    DirectoryReplaced {
        /// The directory.
        dir: PathBuf,
    },
}

impl StorageError {
    /// Returns a function that adds an action and a path to a system error.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { action, path: path.to_owned(), error }
    }

    pub(super) fn corrupt(path: &Path, offset: u64) -> Self {
        Self::Corrupt { path: path.to_owned(), offset }
    }
}

/// The journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has the directory open.
    #[error(
        "the journal's directory {} is in use by another daemon: stop that one, or give each daemon a journal.dir of \
         its own and, when they share a queue, journal.kind = \"redis\"",
        dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// There are segments, but not the header with the secret of their key hashes.
    #[error(
        "{} is missing or damaged, and without it the segments beside it cannot be read: restore it from a copy, or \
         move the directory away; with a new journal, commands that the broker redelivers count as uncertain",
        path.display()
    )]
    NoHeader {
        /// The header file.
        path: PathBuf,
    },
    /// The directory was written in a format that this version does not know.
    #[error(
        "{} has the format {version} of a newer edna-courier; this one knows the formats up to {newest}: run the newer \
         version, or move the directory away; with a new journal, commands that the broker redelivers count as uncertain",
        path.display()
    )]
    NewerVersion {
        /// The header file.
        path: PathBuf,
        /// The format's version in the header.
        version: char,
        /// The newest version that can be read.
        newest: char,
    },
    /// The directory or a segment cannot be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
