//! The segment that is written: its log, and where in it the newest record of each send is.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    directory::{self, Directory},
    disk::Disk,
    fault::Fault,
    key::{KeyHash, Keyed},
    record::{Entry, State},
    scan,
};

/// The length of a log's header: magic, the segment's number, and the number of the one before it.
pub(super) const HEADER: u32 = 24;
const MAGIC: &[u8; 8] = b"EDNALOG1";
/// A new segment must have room for a batch, else it would fail again at once.
const PROBE: usize = 1 << 20;

/// Where the newest record of each send is.
pub(super) type Offsets = Keyed<u32>;

/// The segment that is written.
pub(super) struct Active {
    pub(super) number: u64,
    /// The segment before it, 0 if none; a gap shows by it.
    pub(super) previous: u64,
    pub(super) path: PathBuf,
    file: File,
    /// Up to here all is durable.
    pub(super) durable: u32,
    /// The batch that follows it and is not written yet.
    batch: Vec<u8>,
    pub(super) offsets: Offsets,
    /// When the oldest record was written, ms since 1970; `None` as long as there is none.
    pub(super) oldest_ms: Option<i64>,
    /// When the newest was.
    pub(super) newest_ms: i64,
}

impl Active {
    /// Makes a new one, durable, with room for a batch.
    pub(super) fn create(dir: &Directory, disk: &dyn Disk, number: u64, previous: u64) -> Result<Self, Fault> {
        let path = directory::log_path(dir.path(), number);
        let options = &mut OpenOptions::new();
        let file = directory::owned(options.create(true).truncate(true)).open(&path);
        let file = file.map_err(Fault::io("create", &path))?;
        let mut bytes = [MAGIC.as_slice(), &number.to_le_bytes(), &previous.to_le_bytes()].concat();
        bytes.resize(bytes.len() + PROBE, 0);
        let written = disk.write(&file, &bytes, 0).and_then(|()| disk.sync(&file));
        let cut = written.and_then(|()| file.set_len(u64::from(HEADER))).and_then(|()| disk.sync(&file));
        if let Err(error) = cut {
            // What is left of it would only take the room that is missing.
            let _ = directory::remove(&path);
            return Err(Fault::io("write", &path)(error));
        }
        dir.sync()?;
        Ok(Self::new(number, previous, path, file))
    }

    fn new(number: u64, previous: u64, path: PathBuf, file: File) -> Self {
        let (batch, offsets) = (Vec::new(), Offsets::default());
        Self { number, previous, path, file, durable: HEADER, batch, offsets, oldest_ms: None, newest_ms: i64::MIN }
    }

    /// Opens one for writing and learns what is in it; `None` if the crash came before it was begun.
    pub(super) fn open(dir: &Directory, number: u64) -> Result<Option<Self>, Fault> {
        let path = directory::log_path(dir.path(), number);
        let file = directory::owned(&mut OpenOptions::new()).open(&path).map_err(Fault::io("open", &path))?;
        let Some(previous) = read_header(&path, &file, number)? else { return Ok(None) };
        let mut active = Self::new(number, previous, path, file);
        active.learn()?;
        Ok(Some(active))
    }

    fn learn(&mut self) -> Result<(), Fault> {
        let Self { offsets, oldest_ms, newest_ms, .. } = self;
        self.durable = scan::scan(&self.path, &self.file, |offset, entry| {
            offsets.insert(entry.hash, offset);
            oldest_ms.get_or_insert(entry.at_ms);
            *newest_ms = entry.at_ms.max(*newest_ms);
        })?;
        Ok(())
    }

    /// How many bytes lie behind the last record.
    pub(super) fn torn(&self) -> Result<u64, Fault> {
        let length = self.file.metadata().map_err(Fault::io("read", &self.path))?.len();
        Ok(length.saturating_sub(u64::from(self.durable)))
    }

    /// Cuts what was not told durable.
    pub(super) fn cut(&self) -> Result<(), Fault> {
        let cut = self.file.set_len(u64::from(self.durable)).and_then(|()| self.file.sync_all());
        cut.map_err(Fault::io("cut", &self.path))
    }

    /// Adds a record to the batch; tells where the send's newest record was in this segment.
    pub(super) fn put(&mut self, hash: KeyHash, at_ms: i64, state: State) -> Option<u32> {
        let offset = self.durable.saturating_add(u32::try_from(self.batch.len()).unwrap_or(u32::MAX));
        Entry { batch: self.durable, at_ms, hash, state }.encode(&mut self.batch);
        self.oldest_ms.get_or_insert(at_ms);
        self.newest_ms = at_ms.max(self.newest_ms);
        self.offsets.insert(hash, offset)
    }

    /// The bytes of the batch that is not durable yet.
    pub(super) fn pending(&self) -> usize {
        self.batch.len()
    }

    /// Makes the batch durable.
    pub(super) fn commit(&mut self, disk: &dyn Disk) -> Result<(), Fault> {
        let written = disk.write(&self.file, &self.batch, u64::from(self.durable));
        written.and_then(|()| disk.sync(&self.file)).map_err(Fault::io("write", &self.path))?;
        self.durable = self.durable.saturating_add(u32::try_from(self.batch.len()).unwrap_or(u32::MAX));
        self.batch.clear();
        Ok(())
    }

    /// Forgets the batch; the offsets are the caller's to put right.
    pub(super) fn forget_batch(&mut self) {
        self.batch.clear();
    }

    /// The record at this offset, be it durable or of the batch.
    pub(super) fn read(&self, offset: u32) -> Result<Entry, Fault> {
        let Some(in_batch) = offset.checked_sub(self.durable) else {
            return scan::read_one(&self.path, &self.file, offset);
        };
        let bytes = usize::try_from(in_batch).ok().and_then(|start| self.batch.get(start..));
        let entry = bytes.and_then(super::record::first);
        entry.ok_or_else(|| Fault::corrupt(&self.path, u64::from(offset)))
    }

    /// Whether the file has lost its name: somebody removed the directory.
    pub(super) fn is_unlinked(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

/// The number of the segment before this one; `None` when the header was never durable, so that nothing else was.
pub(super) fn read_header(path: &Path, file: &File, number: u64) -> Result<Option<u64>, Fault> {
    let mut header = [0; HEADER as usize];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other.map_err(Fault::io("read", path))?,
    }
    let fields = header.strip_prefix(MAGIC.as_slice()).and_then(|rest| rest.split_first_chunk::<8>());
    let fields = fields.filter(|(own, _)| u64::from_le_bytes(**own) == number);
    let previous = fields.and_then(|(_, previous)| previous.try_into().ok()).map(u64::from_le_bytes);
    if previous.is_none() && scan::has_later_batch(file, 0).map_err(Fault::io("read", path))? {
        return Err(Fault::corrupt(path, 0));
    }
    Ok(previous)
}
