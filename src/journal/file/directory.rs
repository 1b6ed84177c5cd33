//! The journal's directory: its lock, its header, the names in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::fault::{Fault, OpenError};

const MAGIC: &[u8; 8] = b"EDNAJRN1";
const LOCK: &str = "lock";

/// The directory, held by this process while the value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The secret of the key hashes.
    secret: [u8; 16],
    /// This opening of the directory, unlike every other.
    session: u64,
    /// The lock is the open file's.
    _lock: File,
}

impl Directory {
    /// Makes it if it is missing, takes its lock; tells whether it was made anew.
    pub(super) fn open(path: &Path) -> Result<(Self, bool), OpenError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Fault::io("create", path))?;
        let mut lock = lock(path)?;
        let (secret, is_new) = match read_secret(path)? {
            Some(secret) => (secret, false),
            None if segments(path)?.is_empty() => (write_secret(path)?, true),
            None => return Err(OpenError::NoHeader { path: header(path) }),
        };
        let (session, _) = Uuid::new_v4().as_u64_pair();
        // For those who look from outside; the daemon itself never reads it.
        let told = lock.set_len(0).and_then(|()| lock.write_all(session.to_string().as_bytes()));
        told.map_err(Fault::io("write", &path.join(LOCK)))?;
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

    /// Whether it is still the one that was opened.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let secret = read_secret(&self.path);
        let same = secret.is_ok_and(|secret| secret == Some(self.secret));
        if same { Ok(()) } else { Err(Fault::Gone { dir: self.path.clone() }) }
    }

    /// Makes names that were added or removed durable.
    pub(super) fn sync(&self) -> Result<(), Fault> {
        sync_directory(&self.path)
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let file = owned(OpenOptions::new().create(true).truncate(false)).open(&path).map_err(Fault::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Fault::io("lock", &path)(error).into()),
    }
}

/// The session that opened the directory last; 0, which no session is, if nobody knows.
pub(super) fn read_session(dir: &Path) -> u64 {
    fs::read_to_string(dir.join(LOCK)).ok().and_then(|session| session.parse().ok()).unwrap_or(0)
}

/// For files that only their owner may read.
pub(super) fn owned(options: &mut OpenOptions) -> &mut OpenOptions {
    options.read(true).write(true).mode(0o600)
}

fn header(dir: &Path) -> PathBuf {
    dir.join("header")
}

/// The secret of a directory's key hashes; `None` if it has no header yet.
pub(super) fn read_secret(dir: &Path) -> Result<Option<[u8; 16]>, OpenError> {
    let path = header(dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::io("read", &path)(error).into()),
    };
    let content = bytes.split_last_chunk::<4>();
    let content = content.filter(|(content, crc)| crc32fast::hash(content) == u32::from_le_bytes(**crc));
    let secret = content.and_then(|(content, _)| content.strip_prefix(MAGIC)).and_then(|secret| secret.try_into().ok());
    secret.map(Some).ok_or(OpenError::NoHeader { path })
}

fn write_secret(dir: &Path) -> Result<[u8; 16], Fault> {
    let secret = Uuid::new_v4().into_bytes();
    let mut bytes = [MAGIC.as_slice(), &secret].concat();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    replace(&header(dir), |file| file.write_all(&bytes))?;
    sync_directory(dir)?;
    // The directory's own name, too, if it was made just now.
    let parent = dir.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    parent.filter(|parent| parent.is_dir()).map_or(Ok(()), sync_directory)?;
    Ok(secret)
}

/// Writes a file so that its name only ever stands for the whole.
pub(super) fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Fault> {
    let draft = path.with_extension("draft");
    let opened = owned(OpenOptions::new().create(true).truncate(true)).open(&draft);
    let written = opened.and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&draft, path)).map_err(Fault::io("write", path))
}

fn sync_directory(path: &Path) -> Result<(), Fault> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Fault::io("sync", path))
}

/// The numbers of the segments, oldest first.
pub(super) fn segments(dir: &Path) -> Result<Vec<u64>, Fault> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(Fault::io("read", dir))? {
        let name = entry.map_err(Fault::io("read", dir))?.file_name();
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

/// Removes a file; that it is gone already is fine.
pub(super) fn remove(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Fault::io("remove", path)(error)),
        _ => Ok(()),
    }
}
