//! The journal's directory: its lock, its header, and its file names.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::error::{OpenError, StorageError};

const MAGIC: &[u8; 8] = b"EDNAJRN1";
const LOCK: &str = "lock";

/// The directory, locked by this process while the value lives.
#[derive(Debug)]
pub(super) struct JournalDirectory {
    path: PathBuf,
    /// The secret of the key hashes.
    secret: [u8; 16],
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
        let (secret, is_new) = match read_secret(path)? {
            Some(secret) => (secret, false),
            None if segment_numbers(path)?.is_empty() => (write_secret(path)?, true),
            None => return Err(OpenError::NoHeader { path: header_path(path) }),
        };
        let (session, _) = Uuid::new_v4().as_u64_pair();
        // For inspection from another process; the daemon itself never reads it.
        let written = lock.set_len(0).and_then(|()| lock.write_all(session.to_string().as_bytes()));
        written.map_err(StorageError::io("write", &path.join(LOCK)))?;
        Ok((Self { path: path.to_owned(), secret, session, _lock: lock }, is_new))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn secret(&self) -> [u8; 16] {
        self.secret
    }

    pub(super) const fn session(&self) -> u64 {
        self.session
    }

    /// Fails if the path no longer leads to the directory that was opened.
    pub(super) fn check_unchanged(&self) -> Result<(), StorageError> {
        let secret = read_secret(&self.path);
        let same = secret.is_ok_and(|secret| secret == Some(self.secret));
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

/// Opens for reading and writing, and creates with the mode 0600.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.read(true).write(true).mode(0o600)
}

fn header_path(dir: &Path) -> PathBuf {
    dir.join("header")
}

/// Reads the secret of a directory's key hashes; `None` without a header.
pub(super) fn read_secret(dir: &Path) -> Result<Option<[u8; 16]>, OpenError> {
    let path = header_path(dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("read", &path)(error).into()),
    };
    let content = bytes.split_last_chunk::<4>();
    let content = content.filter(|(content, crc)| crc32fast::hash(content) == u32::from_le_bytes(**crc));
    let secret = content.and_then(|(content, _)| content.strip_prefix(MAGIC)).and_then(|secret| secret.try_into().ok());
    secret.map(Some).ok_or(OpenError::NoHeader { path })
}

fn write_secret(dir: &Path) -> Result<[u8; 16], StorageError> {
    let secret = Uuid::new_v4().into_bytes();
    let mut bytes = [MAGIC.as_slice(), &secret].concat();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    replace_file(&header_path(dir), |file| file.write_all(&bytes))?;
    sync_directory(dir)?;
    // The directory may be new, too: its parent makes its name durable.
    let parent = dir.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    parent.filter(|parent| parent.is_dir()).map_or(Ok(()), sync_directory)?;
    Ok(secret)
}

/// Writes a file atomically: under a draft name, synced, then renamed.
pub(super) fn replace_file(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StorageError> {
    let draft = path.with_extension("draft");
    let opened = private(OpenOptions::new().create(true).truncate(true)).open(&draft);
    let written = opened.and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&draft, path)).map_err(StorageError::io("write", path))
}

fn sync_directory(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StorageError::io("sync", path))
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
