//! The active segment: the one that is written, with the offsets of its sends' newest records.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    directory::{self, JournalDirectory},
    disk::Disk,
    error::StorageError,
    index_file::{Offsets, RecordPlace},
    key::KeyHash,
    record::{self, LOG_HEADER, LogRecord, SendState},
    scan,
};

const MAGIC: &[u8; 8] = b"EDNALOG1";
/// Space that a new segment must have, so that its first batch does not fail at once.
const SPACE_PROBE: usize = 1 << 20;

/// The segment that is written.
pub(super) struct ActiveSegment {
    pub(super) number: u64,
    /// The number of the segment before it, 0 for the first; shows a missing segment.
    pub(super) previous: u64,
    pub(super) path: PathBuf,
    file: File,
    /// The length of the durable part.
    pub(super) durable: u32,
    /// The batch that follows the durable part and is not yet written.
    batch: Vec<u8>,
    pub(super) offsets: Offsets,
    /// The time of the oldest record, ms since 1970; `None` without records.
    pub(super) oldest_ms: Option<i64>,
    /// The time of the newest record.
    pub(super) newest_ms: i64,
}

impl ActiveSegment {
    /// Creates a segment that is durable and has space for a batch.
    pub(super) fn create(
        dir: &JournalDirectory,
        disk: &dyn Disk,
        number: u64,
        previous: u64,
    ) -> Result<Self, StorageError> {
        let path = directory::log_path(dir.path(), number);
        let options = &mut OpenOptions::new();
        let file = directory::private(options.create(true).truncate(true)).open(&path);
        let file = file.map_err(StorageError::io("create", &path))?;
        let mut bytes = [MAGIC.as_slice(), &number.to_le_bytes(), &previous.to_le_bytes()].concat();
        bytes.resize(bytes.len() + SPACE_PROBE, 0);
        let written = disk.write(&file, &bytes, 0).and_then(|()| disk.sync(&file));
        let cut = written.and_then(|()| file.set_len(u64::from(LOG_HEADER))).and_then(|()| disk.sync(&file));
        if let Err(error) = cut {
            // A partial file would only take the space that is missing.
            let _ = directory::remove_file(&path);
            return Err(StorageError::io("write", &path)(error));
        }
        dir.sync()?;
        Ok(Self::new(number, previous, path, file))
    }

    fn new(number: u64, previous: u64, path: PathBuf, file: File) -> Self {
        let (batch, offsets) = (Vec::new(), Offsets::default());
        Self { number, previous, path, file, durable: LOG_HEADER, batch, offsets, oldest_ms: None, newest_ms: i64::MIN }
    }

    /// Opens a segment for writing and reads its records; `None` if its header was never durable.
    pub(super) fn open(dir: &JournalDirectory, number: u64) -> Result<Option<Self>, StorageError> {
        let path = directory::log_path(dir.path(), number);
        let file = directory::private(&mut OpenOptions::new()).open(&path).map_err(StorageError::io("open", &path))?;
        let Some(previous) = read_header(&path, &file, number)? else { return Ok(None) };
        let mut segment = Self::new(number, previous, path, file);
        segment.read_records()?;
        Ok(Some(segment))
    }

    fn read_records(&mut self) -> Result<(), StorageError> {
        let Self { offsets, oldest_ms, newest_ms, .. } = self;
        self.durable = scan::scan_verified(&self.path, &self.file, |offset, record| {
            scan::index_record(offsets, offset, record);
            oldest_ms.get_or_insert(record.at_ms);
            *newest_ms = record.at_ms.max(*newest_ms);
        })?;
        Ok(())
    }

    /// The number of bytes behind the durable part.
    pub(super) fn torn_bytes(&self) -> Result<u64, StorageError> {
        let length = self.file.metadata().map_err(StorageError::io("read", &self.path))?.len();
        Ok(length.saturating_sub(u64::from(self.durable)))
    }

    /// Cuts the file to its durable part.
    pub(super) fn truncate(&self) -> Result<(), StorageError> {
        let cut = self.file.set_len(u64::from(self.durable)).and_then(|()| self.file.sync_all());
        cut.map_err(StorageError::io("cut", &self.path))
    }

    /// Adds a record to the batch; returns the place of the send's previous record in this segment.
    pub(super) fn put(&mut self, hash: KeyHash, at_ms: i64, state: SendState) -> Option<RecordPlace> {
        let offset = self.append(hash, at_ms, state);
        self.offsets.insert(hash, RecordPlace::new(offset))
    }

    /// Adds a `Published` record to the batch, unless there is one, if the send's newest record is in this segment; returns
    /// that record's place before.
    pub(super) fn put_published(&mut self, hash: KeyHash, at_ms: i64) -> Option<RecordPlace> {
        let place = *self.offsets.get(&hash)?;
        if !place.is_published() {
            self.append(hash, at_ms, SendState::Published);
            self.offsets.insert(hash, place.with_published());
        }
        Some(place)
    }

    /// Returns the record's offset.
    fn append(&mut self, hash: KeyHash, at_ms: i64, state: SendState) -> u32 {
        let offset = self.durable.saturating_add(u32::try_from(self.batch.len()).unwrap_or(u32::MAX));
        LogRecord { batch: self.durable, at_ms, hash, state }.encode(&mut self.batch);
        self.oldest_ms.get_or_insert(at_ms);
        self.newest_ms = at_ms.max(self.newest_ms);
        offset
    }

    /// The size of the batch in bytes.
    pub(super) fn batch_bytes(&self) -> usize {
        self.batch.len()
    }

    /// Makes the batch durable.
    pub(super) fn commit(&mut self, disk: &dyn Disk) -> Result<(), StorageError> {
        let written = disk.write(&self.file, &self.batch, u64::from(self.durable));
        written.and_then(|()| disk.sync(&self.file)).map_err(StorageError::io("write", &self.path))?;
        self.durable = self.durable.saturating_add(u32::try_from(self.batch.len()).unwrap_or(u32::MAX));
        self.batch.clear();
        Ok(())
    }

    /// Discards the batch; the caller restores the offsets.
    pub(super) fn discard_batch(&mut self) {
        self.batch.clear();
    }

    /// Reads the record at this place, durable or in the batch.
    pub(super) fn read(&self, place: RecordPlace) -> Result<LogRecord, StorageError> {
        let Some(in_batch) = place.offset().checked_sub(self.durable) else {
            return scan::read_place(&self.path, &self.file, place);
        };
        let bytes = usize::try_from(in_batch).ok().and_then(|start| self.batch.get(start..));
        let record = bytes.and_then(record::decode_first).map(|record| record.with_published(place.is_published()));
        record.ok_or_else(|| StorageError::corrupt(&self.path, u64::from(place.offset())))
    }

    /// Whether the file no longer has a name, as after the directory was removed.
    pub(super) fn is_unlinked(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

/// Reads the number of the segment before this one; `None` if the header was never durable, so that no record was
/// either.
pub(super) fn read_header(path: &Path, file: &File, number: u64) -> Result<Option<u64>, StorageError> {
    let mut header = [0; LOG_HEADER as usize];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other.map_err(StorageError::io("read", path))?,
    }
    let fields = header.strip_prefix(MAGIC.as_slice()).and_then(|rest| rest.split_first_chunk::<8>());
    let fields = fields.filter(|(own, _)| u64::from_le_bytes(**own) == number);
    let previous = fields.and_then(|(_, previous)| previous.try_into().ok()).map(u64::from_le_bytes);
    if previous.is_none() && scan::has_later_batch(file, 0).map_err(StorageError::io("read", path))? {
        return Err(StorageError::corrupt(path, 0));
    }
    Ok(previous)
}
