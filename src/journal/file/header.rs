//! The header of a journal's directory: the secret of the key hashes, and what is known of the journal's completeness.
//!
//! | bytes | content, little endian |
//! |---|---|
//! | 8 | `EDNAJRN` and the version of the format as a digit |
//! | 16 | the secret |
//! | 8 | since version 2: until when the journal is in doubt, ms since 1970 |
//! | 8, 8, 8 | since version 2: the numbers of the oldest and the newest segment, and how many there are; 0 if unknown |
//! | 4 | CRC-32 of the bytes before |

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use super::{
    error::{OpenError, StorageError},
    files,
};

const MAGIC: &[u8; 7] = b"EDNAJRN";
/// The version of new records. Version 1 can also be read; its records hold no attempts and no publish state.
const VERSION: u8 = b'2';
const VERSION_1: u8 = b'1';

/// The content of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalHeader {
    /// The secret of the key hashes.
    pub(super) secret: [u8; 16],
    /// Until then a missing record proves nothing; ms since 1970.
    pub(super) doubt_until_ms: i64,
    /// The number of the oldest segment, 0 if unknown.
    pub(super) oldest: u64,
    /// The number of the newest segment, 0 if unknown.
    pub(super) newest: u64,
    /// How many segments there are from the oldest to the newest.
    pub(super) segments: u64,
}

impl JournalHeader {
    pub(super) const fn new(secret: [u8; 16]) -> Self {
        Self { secret, doubt_until_ms: i64::MIN, oldest: 0, newest: 0, segments: 0 }
    }

    /// Reads a directory's header; `None` without one.
    ///
    /// # Errors
    /// [`OpenError::NewerVersion`], or if it cannot be read or is damaged.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = Self::path(dir);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("read", &path)(error).into()),
        };
        let content = bytes.split_last_chunk::<4>();
        let content = content.filter(|(content, crc)| crc32fast::hash(content) == u32::from_le_bytes(**crc));
        match content.and_then(|(content, _)| content.strip_prefix(MAGIC)).and_then(<[u8]>::split_first) {
            Some((version, _)) if *version > VERSION => {
                Err(OpenError::NewerVersion { path, version: char::from(*version), newest: char::from(VERSION) })
            }
            Some((version, fields)) => Self::decode(*version, fields).map(Some).ok_or(OpenError::NoHeader { path }),
            None => Err(OpenError::NoHeader { path }),
        }
    }

    /// Replaces the directory's header atomically and durably.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StorageError> {
        let mut bytes = [MAGIC.as_slice(), &[VERSION], &self.secret, &self.doubt_until_ms.to_le_bytes()].concat();
        bytes.extend_from_slice(&self.oldest.to_le_bytes());
        bytes.extend_from_slice(&self.newest.to_le_bytes());
        bytes.extend_from_slice(&self.segments.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        files::replace_file(&Self::path(dir), |file| file.write_all(&bytes))?;
        files::sync_directory(dir)
    }

    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("header")
    }

    fn decode(version: u8, fields: &[u8]) -> Option<Self> {
        let (secret, rest) = fields.split_first_chunk::<16>()?;
        if version == VERSION_1 {
            return rest.is_empty().then_some(Self::new(*secret));
        }
        let (doubt_until, rest) = rest.split_first_chunk::<8>()?;
        let (oldest, rest) = rest.split_first_chunk::<8>()?;
        let (newest, segments) = rest.split_first_chunk::<8>()?;
        Some(Self {
            secret: *secret,
            doubt_until_ms: i64::from_le_bytes(*doubt_until),
            oldest: u64::from_le_bytes(*oldest),
            newest: u64::from_le_bytes(*newest),
            segments: u64::from_le_bytes(segments.try_into().ok()?),
        })
    }
}
