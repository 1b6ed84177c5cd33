//! The journal's directory: its lock, its header, and its file names.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

pub(super) use super::files::{private, replace_file};
use super::{
    error::{OpenError, StorageError},
    files::sync_directory,
    header::JournalHeader,
};

const LOCK: &str = "lock";

/// The directory, locked by this process while the value lives.
#[derive(Debug)]
pub(super) struct JournalDirectory {
    path: PathBuf,
    /// The content of the header file.
    header: JournalHeader,
    /// A random id of this opening of the directory.
    session: u64,
    /// The lock belongs to the open file.
    _lock: File,
}

impl JournalDirectory {
    /// Creates the directory if it is missing and locks it; returns whether the journal is new.
    pub(super) fn open(path: &Path) -> Result<(Self, bool), OpenError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StorageError::io("create", path))?;
        let mut lock = lock(path)?;
        let (header, is_new) = match JournalHeader::read(path)? {
            Some(header) => (header, false),
            None if segment_numbers(path)?.is_empty() => (JournalHeader::new(Uuid::new_v4().into_bytes()), true),
            None => return Err(OpenError::NoHeader { path: JournalHeader::path(path) }),
        };
        let (session, _) = Uuid::new_v4().as_u64_pair();
        // For inspection from another process; the daemon itself never reads it.
        let written = lock.set_len(0).and_then(|()| lock.write_all(session.to_string().as_bytes()));
        written.map_err(StorageError::io("write", &path.join(LOCK)))?;
        Ok((Self { path: path.to_owned(), header, session, _lock: lock }, is_new))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn header(&self) -> &JournalHeader {
        &self.header
    }

    /// Changes the header, durably.
    ///
    /// # Errors
    /// If it cannot be written; it is unchanged then.
    pub(super) fn update_header(&mut self, change: impl FnOnce(&mut JournalHeader)) -> Result<(), StorageError> {
        let mut header = self.header;
        change(&mut header);
        if header != self.header {
            header.write(&self.path)?;
            self.header = header;
        }
        Ok(())
    }

    /// Makes the name of a new directory durable.
    pub(super) fn sync_parent(&self) -> Result<(), StorageError> {
        let parent = self.path.parent();
        let parent = parent.map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        parent.filter(|parent| parent.is_dir()).map_or(Ok(()), sync_directory)
    }

    pub(super) const fn session(&self) -> u64 {
        self.session
    }

    /// Fails if the path no longer leads to the directory that was opened.
    pub(super) fn check_unchanged(&self) -> Result<(), StorageError> {
        let header = JournalHeader::read(&self.path);
        let same = header.is_ok_and(|header| header.is_some_and(|header| header.secret == self.header.secret));
        if same { Ok(()) } else { Err(StorageError::DirectoryReplaced { dir: self.path.clone() }) }
    }

    /// Makes added and removed file names durable.
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        sync_directory(&self.path)
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let opened = private(OpenOptions::new().create(true).truncate(false)).open(&path);
    let file = opened.map_err(StorageError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StorageError::io("lock", &path)(error).into()),
    }
}

/// The session that opened the directory last; 0, which is no session's id, if it is unknown.
pub(super) fn read_session(dir: &Path) -> u64 {
    fs::read_to_string(dir.join(LOCK)).ok().and_then(|session| session.parse().ok()).unwrap_or(0)
}

/// Lists the numbers of the segments, oldest first.
pub(super) fn segment_numbers(dir: &Path) -> Result<Vec<u64>, StorageError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(StorageError::io("read", dir))? {
        let name = entry.map_err(StorageError::io("read", dir))?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|number| number.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn log_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.log"))
}

pub(super) fn index_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.idx"))
}

/// Removes a file; succeeds if it does not exist.
pub(super) fn remove_file(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
