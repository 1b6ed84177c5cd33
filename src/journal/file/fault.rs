//! What can be wrong with the directory, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system refused.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Bytes that were durable once are not what they were. Going on without them could send commands twice.
    #[error(
        "{} is corrupt at byte {offset}: check the disk, then restore the journal's directory from a copy, or stop the \
         daemon and move the directory away; with a new journal, what the broker delivers again counts as uncertain",
        path.display()
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
    },
    /// The files that are open are not in the directory any more.
    #[error(
        "the journal's directory {} is gone or another one has taken its place: put it back, or restart the daemon to \
         begin a new journal, with which what the broker delivers again counts as uncertain",
        dir.display()
    )]
    Gone {
        /// Which directory.
        dir: PathBuf,
    },
}

impl Fault {
    /// Turns an error of the system into a fault with its place.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { doing, path: path.to_owned(), error }
    }

    pub(super) fn corrupt(path: &Path, offset: u64) -> Self {
        Self::Corrupt { path: path.to_owned(), offset }
    }
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it.
    #[error(
        "the journal's directory {} is in use by another daemon: stop that one, or give each daemon a journal.dir of its \
         own and, when they share a queue, journal.kind = \"redis\"",
        dir.display()
    )]
    Locked {
        /// Which directory.
        dir: PathBuf,
    },
    /// There are segments, but not what is needed to read them.
    #[error(
        "{} is missing or damaged, and without it the segments beside it cannot be read: restore it from a copy, or move \
         the directory away; with a new journal, what the broker delivers again counts as uncertain",
        path.display()
    )]
    NoHeader {
        /// Which file is missing.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    Fault(#[from] Fault),
}
