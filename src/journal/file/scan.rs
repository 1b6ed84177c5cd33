//! Reads records from a segment's log: all in order, or one by its offset.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    error::StorageError,
    index_file::{Offsets, RecordPlace},
    record::{self, LOG_HEADER, LogRecord, PREFIX, SendState},
};

const BUFFER: usize = 1 << 20;

/// Passes every record with its offset to `visit`; returns the end of the last one.
///
/// The bytes after the end are a torn batch, none of whose calls has resolved; the log's owner may cut them.
///
/// # Errors
/// If a record that had been durable is damaged, or the file cannot be read.
pub(super) fn scan_verified(path: &Path, file: &File, visit: impl FnMut(u32, &LogRecord)) -> Result<u32, StorageError> {
    let end = scan(path, file, visit)?;
    if has_later_batch(file, end).map_err(StorageError::io("read", path))? {
        return Err(StorageError::corrupt(path, u64::from(end)));
    }
    Ok(end)
}

/// Like [`scan_verified`], for a file that another process may be writing: the bytes after the end are not checked.
pub(super) fn scan(path: &Path, file: &File, mut visit: impl FnMut(u32, &LogRecord)) -> Result<u32, StorageError> {
    let mut reader = BufReader::with_capacity(BUFFER, file);
    reader.seek(SeekFrom::Start(u64::from(LOG_HEADER))).map_err(StorageError::io("read", path))?;
    let (mut at, mut body) = (LOG_HEADER, Vec::new());
    while let Some((record, length)) = read_next(&mut reader, &mut body).map_err(StorageError::io("read", path))? {
        visit(at, &record);
        at = at.saturating_add(length);
    }
    Ok(at)
}

/// Reads the next record and its length with the prefix; `None` if it is incomplete or damaged.
fn read_next(reader: &mut impl Read, body: &mut Vec<u8>) -> io::Result<Option<(LogRecord, u32)>> {
    let mut head = [0; PREFIX];
    if !read_full(reader, &mut head)? {
        return Ok(None);
    }
    let Some((length, crc)) = record::decode_prefix(head) else { return Ok(None) };
    body.resize(length, 0);
    if !read_full(reader, body)? || crc32fast::hash(body) != crc {
        return Ok(None);
    }
    let total = u32::try_from(PREFIX + length).unwrap_or(u32::MAX);
    Ok(LogRecord::decode(body).map(|record| (record, total)))
}

/// Fills the buffer; `false` if the file ends before.
fn read_full(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

/// Whether an intact record follows whose batch began after `bad`. A batch begins only when the one before is durable,
/// so in that case the unreadable bytes at `bad` were durable; nothing follows a torn batch.
pub(super) fn has_later_batch(file: &File, bad: u32) -> io::Result<bool> {
    let length = usize::try_from(file.metadata()?.len().saturating_sub(u64::from(bad))).unwrap_or(usize::MAX);
    let mut rest = vec![0; length];
    file.read_exact_at(&mut rest, u64::from(bad))?;
    let mut rest = rest.as_slice();
    while let [_, shorter @ ..] = rest {
        if record::decode_first(rest).is_some_and(|record| record.batch > bad) {
            return Ok(true);
        }
        rest = shorter;
    }
    Ok(false)
}

/// Applies a record to the index of its log.
pub(super) fn index_record(offsets: &mut Offsets, offset: u32, record: &LogRecord) {
    match record.state {
        SendState::Published => {
            if let Some(place) = offsets.get_mut(&record.hash) {
                *place = place.with_published();
            }
        }
        _ => drop(offsets.insert(record.hash, RecordPlace::new(offset))),
    }
}

/// Reads the record at this place.
///
/// # Errors
/// If it is damaged or cannot be read.
pub(super) fn read_place(path: &Path, file: &File, place: RecordPlace) -> Result<LogRecord, StorageError> {
    read_record(path, file, place.offset()).map(|record| record.with_published(place.is_published()))
}

/// Reads the record at this offset.
///
/// # Errors
/// If it is damaged or cannot be read.
pub(super) fn read_record(path: &Path, file: &File, offset: u32) -> Result<LogRecord, StorageError> {
    let at = u64::from(offset);
    let corrupt = || StorageError::corrupt(path, at);
    let read_error = |error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => corrupt(),
        _ => StorageError::io("read", path)(error),
    };
    let mut head = [0; PREFIX];
    file.read_exact_at(&mut head, at).map_err(read_error)?;
    let (length, crc) = record::decode_prefix(head).ok_or_else(corrupt)?;
    let mut body = vec![0; length];
    file.read_exact_at(&mut body, at + PREFIX as u64).map_err(read_error)?;
    let is_intact = crc32fast::hash(&body) == crc;
    is_intact.then(|| LogRecord::decode(&body)).flatten().ok_or_else(corrupt)
}
