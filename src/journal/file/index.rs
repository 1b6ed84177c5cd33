//! The index of a sealed segment, as a file: where in the log the newest record of each send is.
//!
//! Pages of 4 KiB, each 204 entries (hash 16 bytes, offset 4) in the order of the hashes, and their CRC-32. Then the tail,
//! which is kept in memory: the first half of the first hash of each page, the filter, and the footer.

use std::{
    fs::File,
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use super::{directory, fault::Fault, filter::Filter, key::KeyHash, segment::Offsets};

const MAGIC: &[u8; 8] = b"EDNAIDX1";
const PAGE: usize = 4096;
const ENTRY: usize = 20;
const PER_PAGE: usize = 204;
const FOOTER: usize = 8 + 4 + 4 + 8 + 4;

/// What an index says of its segment as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many sends have records in it.
    pub(super) entries: u32,
    /// Up to here the log counts.
    pub(super) log_len: u32,
    /// When the newest record was written, ms since 1970.
    pub(super) newest_ms: i64,
}

/// An index file, of which the tail is in memory.
#[derive(Debug)]
pub(super) struct FileIndex {
    path: PathBuf,
    filter: Filter,
    fences: Vec<u64>,
    /// The length of the file.
    pub(super) bytes: u64,
}

impl FileIndex {
    /// Writes it.
    pub(super) fn build(path: PathBuf, offsets: &Offsets, summary: Summary) -> Result<Self, Fault> {
        let mut sorted: Vec<_> = offsets.iter().map(|(hash, offset)| (*hash, *offset)).collect();
        sorted.sort_unstable_by_key(|(hash, _)| *hash);
        let fences: Vec<_> = sorted.chunks(PER_PAGE).filter_map(|page| page.first()).map(|(hash, _)| hash.0).collect();
        let mut filter = Filter::new(sorted.len());
        sorted.iter().for_each(|(hash, _)| filter.insert(*hash));
        let tail = tail(&fences, &filter, summary);
        directory::replace(&path, |file| {
            let mut file = BufWriter::with_capacity(1 << 18, file);
            sorted.chunks(PER_PAGE).try_for_each(|page| file.write_all(&encode_page(page)))?;
            file.write_all(&tail)?;
            file.flush()
        })?;
        let bytes = fences.len() * PAGE + tail.len();
        Ok(Self { path, filter, fences, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) })
    }

    /// Reads the tail; `None` if the file is not there or not whole, so that it must be built anew.
    pub(super) fn load(path: PathBuf) -> Option<(Self, Summary)> {
        let file = File::open(&path).ok()?;
        let bytes = file.metadata().ok()?.len();
        let mut footer = [0; FOOTER + 4];
        let footer_at = bytes.checked_sub(footer.len() as u64)?;
        file.read_exact_at(&mut footer, footer_at).ok()?;
        let summary = parse_footer(&footer)?;
        let pages = usize::try_from(summary.entries).ok()?.div_ceil(PER_PAGE);
        let tail_at = u64::try_from(pages * PAGE).ok()?;
        let mut tail = vec![0; usize::try_from(bytes.checked_sub(tail_at)?).ok()?];
        file.read_exact_at(&mut tail, tail_at).ok()?;
        let (content, crc) = tail.split_last_chunk::<4>()?;
        let sound = crc32fast::hash(content) == u32::from_le_bytes(*crc);
        let (fences, rest) = content.split_at_checked(pages * 8).filter(|_| sound)?;
        let fences = fences.as_chunks::<8>().0.iter().map(|fence| u64::from_le_bytes(*fence)).collect();
        let filter = Filter::from_bytes(rest.get(..rest.len().checked_sub(FOOTER)?)?);
        Some((Self { path, filter, fences, bytes }, summary))
    }

    /// Where the send's newest record is in the log.
    ///
    /// # Errors
    /// When the page cannot be read or is damaged.
    pub(super) fn find(&self, hash: KeyHash) -> Result<Option<u32>, Fault> {
        if !self.filter.may_hold(hash) {
            return Ok(None);
        }
        let Some(page) = self.fences.partition_point(|fence| *fence <= hash.0).checked_sub(1) else { return Ok(None) };
        let at = u64::try_from(page * PAGE).unwrap_or(u64::MAX);
        let mut bytes = [0; PAGE];
        let file = File::open(&self.path).map_err(Fault::io("open", &self.path))?;
        file.read_exact_at(&mut bytes, at).map_err(Fault::io("read", &self.path))?;
        search_page(&bytes, hash).ok_or_else(|| Fault::corrupt(&self.path, at))
    }
}

/// Entries, then their checksum at the page's end; the places of missing ones hold an offset of 0, which no record has.
fn encode_page(entries: &[(KeyHash, u32)]) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let (places, rest) = page.split_at_mut(PER_PAGE * ENTRY);
    for (place, (hash, offset)) in places.as_chunks_mut::<ENTRY>().0.iter_mut().zip(entries) {
        let (key, value) = place.split_at_mut(16);
        key.copy_from_slice(&hash.to_bytes());
        value.copy_from_slice(&offset.to_le_bytes());
    }
    let crc = crc32fast::hash(places);
    if let Some(place) = rest.first_chunk_mut::<4>() {
        *place = crc.to_le_bytes();
    }
    page
}

/// `None` when the page is damaged; else the entry's offset, if it is there.
fn search_page(page: &[u8; PAGE], hash: KeyHash) -> Option<Option<u32>> {
    let (entries, rest) = page.split_at_checked(PER_PAGE * ENTRY)?;
    let sound = rest.first_chunk::<4>().is_some_and(|crc| crc32fast::hash(entries) == u32::from_le_bytes(*crc));
    let wanted = hash.to_bytes();
    let mut entries = entries.as_chunks::<ENTRY>().0.iter();
    let found = entries.find_map(|entry| entry.strip_prefix(&wanted)).and_then(|offset| offset.try_into().ok());
    sound.then(|| found.map(u32::from_le_bytes).filter(|offset| *offset > 0))
}

fn tail(fences: &[u64], filter: &Filter, summary: Summary) -> Vec<u8> {
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

fn parse_footer(bytes: &[u8]) -> Option<Summary> {
    let (entries, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    let (log_len, rest) = rest.split_first_chunk::<4>()?;
    let (newest_ms, _) = rest.split_first_chunk::<8>()?;
    let (entries, log_len) = (u32::from_le_bytes(*entries), u32::from_le_bytes(*log_len));
    Some(Summary { entries, log_len, newest_ms: i64::from_le_bytes(*newest_ms) })
}
