//! Reads records from a segment's log: all of them in order, or one by its offset.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    fault::Fault,
    record::{self, Entry, PREFIX},
    segment::HEADER,
};

const BUFFER: usize = 1 << 20;

/// Hands over every record with its offset, and tells where the last one ends.
///
/// What follows the end is the rest of a batch that was never told durable: a torn tail, which its owner may cut.
///
/// # Errors
/// When a record is damaged that had been durable, or the file cannot be read.
pub(super) fn scan(path: &Path, file: &File, each: impl FnMut(u32, &Entry)) -> Result<u32, Fault> {
    let end = walk(path, file, each)?;
    if has_later_batch(file, end).map_err(Fault::io("read", path))? {
        return Err(Fault::corrupt(path, u64::from(end)));
    }
    Ok(end)
}

/// The same of a file that another process may be writing: nobody can say what is behind the end.
pub(super) fn walk(path: &Path, file: &File, mut each: impl FnMut(u32, &Entry)) -> Result<u32, Fault> {
    let mut reader = BufReader::with_capacity(BUFFER, file);
    reader.seek(SeekFrom::Start(u64::from(HEADER))).map_err(Fault::io("read", path))?;
    let (mut at, mut body) = (HEADER, Vec::new());
    loop {
        match next(&mut reader, &mut body) {
            Ok(Some((entry, length))) => {
                each(at, &entry);
                at = at.saturating_add(length);
            }
            Ok(None) => break,
            Err(error) => return Err(Fault::io("read", path)(error)),
        }
    }
    Ok(at)
}

/// The next record and its length with the prefix; `None` where no whole and sound one follows.
fn next(reader: &mut impl Read, body: &mut Vec<u8>) -> io::Result<Option<(Entry, u32)>> {
    let mut head = [0; PREFIX];
    if !fill(reader, &mut head)? {
        return Ok(None);
    }
    let Some((length, crc)) = record::prefix(head) else { return Ok(None) };
    body.resize(length, 0);
    if !fill(reader, body)? || crc32fast::hash(body) != crc {
        return Ok(None);
    }
    let whole = u32::try_from(PREFIX + length).unwrap_or(u32::MAX);
    Ok(Entry::decode(body).map(|entry| (entry, whole)))
}

/// `false` when the file ends before.
fn fill(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

/// Whether a sound record follows whose batch began after this place. A batch is only begun when the one before is durable,
/// so what is unreadable here was durable once; a torn batch has nothing behind it.
pub(super) fn has_later_batch(file: &File, bad: u32) -> io::Result<bool> {
    let length = usize::try_from(file.metadata()?.len().saturating_sub(u64::from(bad))).unwrap_or(usize::MAX);
    let mut rest = vec![0; length];
    file.read_exact_at(&mut rest, u64::from(bad))?;
    let mut rest = rest.as_slice();
    while let [_, shorter @ ..] = rest {
        if record::first(rest).is_some_and(|entry| entry.batch > bad) {
            return Ok(true);
        }
        rest = shorter;
    }
    Ok(false)
}

/// The record at this offset.
///
/// # Errors
/// When it is damaged or cannot be read.
pub(super) fn read_one(path: &Path, file: &File, offset: u32) -> Result<Entry, Fault> {
    let at = u64::from(offset);
    let damaged = || Fault::corrupt(path, at);
    let of_read = |error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => damaged(),
        _ => Fault::io("read", path)(error),
    };
    let mut head = [0; PREFIX];
    file.read_exact_at(&mut head, at).map_err(of_read)?;
    let (length, crc) = record::prefix(head).ok_or_else(damaged)?;
    let mut body = vec![0; length];
    file.read_exact_at(&mut body, at + PREFIX as u64).map_err(of_read)?;
    let sound = crc32fast::hash(&body) == crc;
    sound.then(|| Entry::decode(&body)).flatten().ok_or_else(damaged)
}
