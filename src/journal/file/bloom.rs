//! A Bloom filter that rules out nearly every send without a record in a segment, at the cost of one cache line.

use super::key::KeyHash;

/// Entries per block of 512 bits: 16 bits an entry, a false positive rate of about 1 in 1,000.
const ENTRIES_PER_BLOCK: usize = 32;
const WORDS: usize = 8;
const PROBES: u32 = 7;

/// A blocked Bloom filter: all bits of an entry are in one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BloomFilter {
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
struct Block([u64; WORDS]);

impl BloomFilter {
    /// Creates an empty filter for this number of entries.
    pub(super) fn new(entries: usize) -> Self {
        Self { blocks: vec![Block::default(); entries.div_ceil(ENTRIES_PER_BLOCK).max(1)] }
    }

    /// The index of the entry's block: the upper half of the hash's second word, scaled to the number of blocks.
    fn block_index(&self, hash: KeyHash) -> usize {
        let blocks = u64::try_from(self.blocks.len()).unwrap_or(u64::MAX);
        usize::try_from(((hash.1 >> 32) * blocks) >> 32).unwrap_or(0)
    }

    pub(super) fn insert(&mut self, hash: KeyHash) {
        let index = self.block_index(hash);
        if let Some(block) = self.blocks.get_mut(index) {
            for (word, bits) in block.0.iter_mut().zip(mask(hash)) {
                *word |= bits;
            }
        }
    }

    /// `false` if the filter certainly does not contain the entry.
    pub(super) fn may_contain(&self, hash: KeyHash) -> bool {
        self.blocks.get(self.block_index(hash)).is_some_and(|block| probes(hash).all(|bit| is_set(block, bit)))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flat_map(|block| block.0).flat_map(u64::to_le_bytes).collect()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let blocks = words.as_chunks::<WORDS>().0.iter();
        Self { blocks: blocks.map(|words| Block(words.map(u64::from_le_bytes))).collect() }
    }
}

/// The entry's bits within its block: nine bits of the hash's first word each.
fn probes(hash: KeyHash) -> impl Iterator<Item = u64> {
    (0..PROBES).map(move |probe| (hash.0 >> (9 * probe)) & 511)
}

fn is_set(block: &Block, bit: u64) -> bool {
    let word = usize::try_from(bit / 64).unwrap_or(0);
    block.0.get(word).is_some_and(|word| (word >> (bit % 64)) & 1 == 1)
}

fn mask(hash: KeyHash) -> [u64; WORDS] {
    let mut mask = [0; WORDS];
    for bit in probes(hash) {
        if let Some(word) = usize::try_from(bit / 64).ok().and_then(|word| mask.get_mut(word)) {
            *word |= 1 << (bit % 64);
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bloom_filter_has_no_false_negatives_and_few_positives() {
        let hashes = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            std::iter::repeat_with(move || KeyHash(random.u64(..), random.u64(..))).take(20_000).collect::<Vec<_>>()
        };
        let (inserted, others) = (hashes(1), hashes(2));
        let mut filter = BloomFilter::new(inserted.len());
        inserted.iter().for_each(|hash| filter.insert(*hash));
        assert!(inserted.iter().all(|hash| filter.may_contain(*hash)));
        let false_positives = others.iter().filter(|hash| filter.may_contain(**hash)).count();
        assert!(false_positives < 60, "{false_positives} of 20,000");
        assert_eq!(BloomFilter::from_bytes(&filter.to_bytes()), filter);
        assert!(!BloomFilter::from_bytes(&[]).may_contain(inserted[0]), "a filter without blocks contains nothing");
    }
}
