//! Says "certainly not here" about nearly every send that a segment does not know, with one look at one cache line.

use super::key::KeyHash;

/// Entries a block of 512 bits: 16 bits an entry, about one false "perhaps" in a thousand.
const PER_BLOCK: usize = 32;
const WORDS: usize = 8;
const PROBES: u32 = 7;

/// A Bloom filter whose bits for one entry are all in one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
struct Block([u64; WORDS]);

impl Filter {
    /// An empty one for this many entries.
    pub(super) fn new(entries: usize) -> Self {
        Self { blocks: vec![Block::default(); entries.div_ceil(PER_BLOCK).max(1)] }
    }

    /// Which block the entry belongs to: the upper half of the hash's second half, scaled.
    fn block(&self, hash: KeyHash) -> usize {
        let blocks = u64::try_from(self.blocks.len()).unwrap_or(u64::MAX);
        usize::try_from(((hash.1 >> 32) * blocks) >> 32).unwrap_or(0)
    }

    pub(super) fn insert(&mut self, hash: KeyHash) {
        let block = self.block(hash);
        if let Some(block) = self.blocks.get_mut(block) {
            for (word, bits) in block.0.iter_mut().zip(mask(hash)) {
                *word |= bits;
            }
        }
    }

    /// `false`: certainly not in it.
    pub(super) fn may_hold(&self, hash: KeyHash) -> bool {
        self.blocks.get(self.block(hash)).is_some_and(|block| probes(hash).all(|bit| has(block, bit)))
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

/// The bits of an entry within its block: nine bits of the hash's first half each.
fn probes(hash: KeyHash) -> impl Iterator<Item = u64> {
    (0..PROBES).map(move |probe| (hash.0 >> (9 * probe)) & 511)
}

fn has(block: &Block, bit: u64) -> bool {
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
    fn knows_its_own_and_few_strangers() {
        let hashes = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            std::iter::repeat_with(move || KeyHash(random.u64(..), random.u64(..))).take(20_000).collect::<Vec<_>>()
        };
        let (own, strangers) = (hashes(1), hashes(2));
        let mut filter = Filter::new(own.len());
        own.iter().for_each(|hash| filter.insert(*hash));
        assert!(own.iter().all(|hash| filter.may_hold(*hash)));
        let mistaken = strangers.iter().filter(|hash| filter.may_hold(**hash)).count();
        assert!(mistaken < 60, "{mistaken} of 20,000 strangers");
        assert_eq!(Filter::from_bytes(&filter.to_bytes()), filter);
        assert!(!Filter::from_bytes(&[]).may_hold(own[0]), "an empty one is asked without a panic");
    }
}
