//! The index of a sealed segment as a file: the place in the log of each send's newest record.
//!
//! Pages of 4 KiB hold 204 entries each (hash 16 bytes, place 4), sorted by hash, and their CRC-32. The tail follows
//! and is kept in memory: the fences (the first word of each page's first hash), the Bloom filter, and the footer.

use std::{
    fs::File,
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use super::{
    bloom::BloomFilter,
    directory,
    error::StorageError,
    key::{KeyHash, KeyHashMap},
};

const MAGIC: &[u8; 8] = b"EDNAIDX1";
const PAGE: usize = 4096;
const ENTRY: usize = 20;
const ENTRIES_PER_PAGE: usize = 204;
const FOOTER: usize = 8 + 4 + 4 + 8 + 4;

/// The place in a log of the newest record of each send.
pub(super) type Offsets = KeyHashMap<RecordPlace>;

/// The offset of a record in a log. The highest bit, which no offset needs, is set if a `Published` record follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordPlace(u32);

impl RecordPlace {
    const PUBLISHED: u32 = 1 << 31;

    pub(super) const fn new(offset: u32) -> Self {
        Self(offset)
    }

    pub(super) const fn offset(self) -> u32 {
        self.0 & !Self::PUBLISHED
    }

    pub(super) const fn is_published(self) -> bool {
        self.0 & Self::PUBLISHED != 0
    }

    pub(super) const fn with_published(self) -> Self {
        Self(self.0 | Self::PUBLISHED)
    }
}

/// The figures of a sealed segment that its index keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentSummary {
    /// The number of sends with records in the segment.
    pub(super) entries: u32,
    /// The valid length of the log.
    pub(super) log_len: u32,
    /// The time of the newest record, ms since 1970.
    pub(super) newest_ms: i64,
}

/// An index file, of which the tail is in memory.
#[derive(Debug)]
pub(super) struct IndexFile {
    path: PathBuf,
    filter: BloomFilter,
    fences: Vec<u64>,
    /// The length of the file.
    pub(super) bytes: u64,
}

impl IndexFile {
    /// Writes an index file.
    pub(super) fn build(path: PathBuf, offsets: &Offsets, summary: SegmentSummary) -> Result<Self, StorageError> {
        let mut sorted: Vec<_> = offsets.iter().map(|(hash, place)| (*hash, *place)).collect();
        sorted.sort_unstable_by_key(|(hash, _)| *hash);
        let first_entries = sorted.chunks(ENTRIES_PER_PAGE).filter_map(|page| page.first());
        let fences: Vec<_> = first_entries.map(|(hash, _)| hash.0).collect();
        let mut filter = BloomFilter::new(sorted.len());
        sorted.iter().for_each(|(hash, _)| filter.insert(*hash));
        let tail = encode_tail(&fences, &filter, summary);
        directory::replace_file(&path, |file| {
            let mut file = BufWriter::with_capacity(1 << 18, file);
            sorted.chunks(ENTRIES_PER_PAGE).try_for_each(|page| file.write_all(&encode_page(page)))?;
            file.write_all(&tail)?;
            file.flush()
        })?;
        let bytes = fences.len() * PAGE + tail.len();
        Ok(Self { path, filter, fences, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) })
    }

    /// Reads the tail; `None` if the file is missing or damaged and must be rebuilt.
    pub(super) fn load(path: PathBuf) -> Option<(Self, SegmentSummary)> {
        let file = File::open(&path).ok()?;
        let bytes = file.metadata().ok()?.len();
        let mut footer = [0; FOOTER + 4];
        let footer_at = bytes.checked_sub(footer.len() as u64)?;
        file.read_exact_at(&mut footer, footer_at).ok()?;
        let summary = decode_footer(&footer)?;
        let pages = usize::try_from(summary.entries).ok()?.div_ceil(ENTRIES_PER_PAGE);
        let tail_at = u64::try_from(pages * PAGE).ok()?;
        let mut tail = vec![0; usize::try_from(bytes.checked_sub(tail_at)?).ok()?];
        file.read_exact_at(&mut tail, tail_at).ok()?;
        let (content, crc) = tail.split_last_chunk::<4>()?;
        let is_intact = crc32fast::hash(content) == u32::from_le_bytes(*crc);
        let (fences, rest) = content.split_at_checked(pages * 8).filter(|_| is_intact)?;
        let fences = fences.as_chunks::<8>().0.iter().map(|fence| u64::from_le_bytes(*fence)).collect();
        let filter = BloomFilter::from_bytes(rest.get(..rest.len().checked_sub(FOOTER)?)?);
        Some((Self { path, filter, fences, bytes }, summary))
    }

    /// Returns the place in the log of the send's newest record.
    ///
    /// # Errors
    /// If the page cannot be read or is damaged.
    pub(super) fn find(&self, hash: KeyHash) -> Result<Option<RecordPlace>, StorageError> {
        if !self.filter.may_contain(hash) {
            return Ok(None);
        }
        let Some(page) = self.fences.partition_point(|fence| *fence <= hash.0).checked_sub(1) else { return Ok(None) };
        let page_at = u64::try_from(page * PAGE).unwrap_or(u64::MAX);
        let mut bytes = [0; PAGE];
        let file = File::open(&self.path).map_err(StorageError::io("open", &self.path))?;
        file.read_exact_at(&mut bytes, page_at).map_err(StorageError::io("read", &self.path))?;
        let corrupt = || StorageError::CorruptIndex { path: self.path.clone(), offset: page_at };
        search_page(&bytes, hash).ok_or_else(corrupt)
    }
}

/// Encodes entries and their checksum. Unused entries have the offset 0, which no record has.
fn encode_page(entries: &[(KeyHash, RecordPlace)]) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let (slots, rest) = page.split_at_mut(ENTRIES_PER_PAGE * ENTRY);
    for (slot, (hash, place)) in slots.as_chunks_mut::<ENTRY>().0.iter_mut().zip(entries) {
        let (key, value) = slot.split_at_mut(16);
        key.copy_from_slice(&hash.to_bytes());
        value.copy_from_slice(&place.0.to_le_bytes());
    }
    let crc = crc32fast::hash(slots);
    if let Some(slot) = rest.first_chunk_mut::<4>() {
        *slot = crc.to_le_bytes();
    }
    page
}

/// Returns `None` if the page is damaged, `Some(None)` if it has no entry for the hash.
fn search_page(page: &[u8; PAGE], hash: KeyHash) -> Option<Option<RecordPlace>> {
    let (entries, rest) = page.split_at_checked(ENTRIES_PER_PAGE * ENTRY)?;
    let is_intact = rest.first_chunk::<4>().is_some_and(|crc| crc32fast::hash(entries) == u32::from_le_bytes(*crc));
    let wanted = hash.to_bytes();
    let mut entries = entries.as_chunks::<ENTRY>().0.iter();
    let found = entries.find_map(|entry| entry.strip_prefix(&wanted)).and_then(|offset| offset.try_into().ok());
    is_intact.then(|| found.map(u32::from_le_bytes).filter(|offset| *offset > 0).map(RecordPlace))
}

fn encode_tail(fences: &[u64], filter: &BloomFilter, summary: SegmentSummary) -> Vec<u8> {
    let mut tail: Vec<u8> = fences.iter().flat_map(|fence| fence.to_le_bytes()).collect();
    tail.extend(filter.to_bytes());
    tail.extend(MAGIC);
    tail.extend(summary.entries.to_le_bytes());
    tail.extend(summary.log_len.to_le_bytes());
    tail.extend(summary.newest_ms.to_le_bytes());
    tail.extend([0; 4]);
    tail.extend(crc32fast::hash(&tail).to_le_bytes());
    tail
}

fn decode_footer(bytes: &[u8]) -> Option<SegmentSummary> {
    let (entries, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    let (log_len, rest) = rest.split_first_chunk::<4>()?;
    let (newest_ms, _) = rest.split_first_chunk::<8>()?;
    let (entries, log_len) = (u32::from_le_bytes(*entries), u32::from_le_bytes(*log_len));
    Some(SegmentSummary { entries, log_len, newest_ms: i64::from_le_bytes(*newest_ms) })
}
